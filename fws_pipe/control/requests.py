"""What each request does, and its answer: some frames, and last `done`, or `refused` with the exit code of fws-ctl."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import ClassVar, TypeGuard

import trio

from fws_pipe import __version__
from fws_pipe.chain.figures import Reporter, StageFigures, figures_of
from fws_pipe.chain.spawn import wait_for_any
from fws_pipe.chain.successor import Outcome
from fws_pipe.clients.client import Client
from fws_pipe.control.connection import Connection, PeerError
from fws_pipe.control.joints import Joints, UnknownJointError
from fws_pipe.control.stage_taps import TapRefusedError
from fws_pipe.control.tap import Tap
from fws_pipe.control.trace import LinkedChain
from fws_pipe.errors import EXIT_STAGE, EXIT_USAGE
from fws_pipe.front.front import Front
from fws_pipe.ledger.introduction import opening_of
from fws_pipe.ledger.link import Link
from fws_pipe.protocol import actions
from fws_pipe.protocol.actions import EVERYONE, check_action
from fws_pipe.protocol.codec import Frame, describe, type_of
from fws_pipe.protocol.control import (
    CLIENT,
    CLIENTS,
    COPY,
    DRAIN,
    LONGEST_DRAIN_S,
    RELOAD,
    STAGE,
    STAGES,
    STATUS,
    TAP,
    TAP_ENDED,
    TRACE,
    done,
    refused,
)
from fws_pipe.protocol.takeover import TAKEOVER
from fws_pipe.system.processes import Usage

EXIT_NO_CLIENT = 1
"""There is no such client, or none in the group."""

_FIELDS = {
    actions.SEND: ("type", "to", "group", "except", "data"),
    actions.CLOSE: ("type", "to", "code", "reason"),
}
"""What counts of an action from outside: it belongs to no event, and is for this server alone."""

_SLICE = 128
"""How many clients are described before others have a turn."""


@dataclass(frozen=True)
class Controls:
    """What the control socket acts on."""

    front: Front
    chains: Callable[[], Sequence[LinkedChain]]
    """Those that run now."""
    beside: Sequence[Reporter]
    """What else is behind the front."""
    joints: Joints
    urls: Callable[[], Sequence[str]]
    """Where the server listens."""
    reload: Callable[[], Outcome]
    """Replaces the chain."""
    drain: Callable[[float | None], bool]
    """Ends the server in order, its clients closed over so many seconds (None: as configured); False: it ends already.
    """
    hand_over: Callable[[Frame, Connection], Awaitable[None]]
    """Answers another server that wants to take over."""


class Requests:
    """Answers requests."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._started = time.time()

    async def answer(self, request: Frame, connection: Connection) -> None:
        """Answer one. Raises PeerError when the peer doesn't take the answer."""
        kind = type_of(request)
        handler = self._handlers.get(kind or "")
        if handler is None:
            known = ", ".join(self._handlers)
            await connection.answer(refused(EXIT_USAGE, f"expected one of {known}, got {describe(kind)}"))
        else:
            await handler(self, request, connection)

    async def _act(self, request: Frame, connection: Connection) -> None:
        """Carry out a `send` or a `close` as if the chain had asked for it."""
        action = {name: request[name] for name in _FIELDS[request["type"]] if name in request}
        problem = check_action(action)
        if problem:
            answer = refused(EXIT_USAGE, problem)
        elif receivers := sum(_execute(action, link) for link in self._controls.front.links):
            answer = done(receivers=receivers)
        else:
            answer = refused(EXIT_NO_CLIENT, _nobody(action))
        await connection.answer(answer)

    async def _list_clients(self, request: Frame, connection: Connection) -> None:
        for link in self._controls.front.links:
            clients = iter(link.clients)
            while described := list(islice(descriptions(link, clients), _SLICE)):
                await connection.answer(*described)
                await trio.lowlevel.checkpoint()
        await connection.answer(done())

    async def _tell_status(self, request: Frame, connection: Connection) -> None:
        front = self._controls.front
        statistics = front.statistics()
        status = {
            "type": STATUS,
            "name": front.name,
            "pid": os.getpid(),
            "version": __version__,
            "started": self._started,
            "listening": list(self._controls.urls()),
            "counters": {name: count for name, count in statistics.counts.items() if count},
            "gauges": {gauge.value: value for gauge, value in statistics.gauges.items()},
            "outboxes": sum(client.wire.outbox.size for link in front.links for client in link.clients),
        }
        await connection.answer(status, done())

    async def _list_stages(self, request: Frame, connection: Connection) -> None:
        reporters = [*self._controls.chains(), *self._controls.beside]
        await connection.answer(*({"type": STAGE, **fields_of(one)} for one in await figures_of(reporters)), done())

    async def _reload(self, request: Frame, connection: Connection) -> None:
        problem = await self._controls.reload().wait()
        await connection.answer(refused(EXIT_STAGE, problem) if problem else done())

    async def _tap(self, request: Frame, connection: Connection) -> None:
        """Copy frames until the peer has gone, or reads too slowly. Then the connection ends."""
        try:
            async with self._controls.joints.tapped(request.get("stage")) as (tap, ends):
                await _copy_all(tap, connection, *ends)
        except UnknownJointError as error:
            await connection.answer(refused(EXIT_USAGE, str(error)))
        except TapRefusedError as error:
            await connection.answer(refused(EXIT_STAGE, str(error)))

    async def _trace(self, request: Frame, connection: Connection) -> None:
        """Copy what passes all joints until the peer has gone, or reads too slowly. Then the connection ends."""
        try:
            async with self._controls.joints.traced() as trace:
                await _copy_all(trace.tap, connection, *trace.ends)
        except TapRefusedError as error:
            await connection.answer(refused(EXIT_STAGE, str(error)))

    async def _take_copy(self, request: Frame, connection: Connection) -> None:
        """Frames that a tap stage has copied."""
        receiver = self._controls.joints.receiver_of(request.get("key"))
        frames, time_passed = request.get("data"), request.get("time")
        if receiver is None or not isinstance(frames, bytes) or not isinstance(time_passed, float):
            connection.is_over = True
        else:
            connection.is_kept = True
            receiver(frames, time_passed)

    async def _drain(self, request: Frame, connection: Connection) -> None:
        over = request.get("over")
        if not _is_drain_time(over):
            longest = f"{LONGEST_DRAIN_S:.0f}"
            problem = f"drain.over: expected seconds from 0 to {longest}, got {describe(over)}"
            await connection.answer(refused(EXIT_USAGE, problem))
            return
        self._controls.drain(over)
        await connection.answer(done())

    async def _hand_over(self, request: Frame, connection: Connection) -> None:
        await self._controls.hand_over(request, connection)

    _handlers: ClassVar[dict[str, Callable[[Requests, Frame, Connection], Awaitable[None]]]] = {
        actions.SEND: _act,
        actions.CLOSE: _act,
        CLIENTS: _list_clients,
        STAGES: _list_stages,
        STATUS: _tell_status,
        RELOAD: _reload,
        TAP: _tap,
        TRACE: _trace,
        COPY: _take_copy,
        DRAIN: _drain,
        TAKEOVER: _hand_over,
    }


def _execute(action: Frame, link: Link) -> int:
    """Carry out an action among the clients of one chain. Returns how many it has reached."""
    receivers = link.clients.reached_by(action)
    if receivers:
        link.execute(action)
        link.clients.flush()
    return receivers


_NOTHING_KNOWN = dict.fromkeys(Usage._fields)


def fields_of(figures: StageFigures) -> Frame:
    """A stage's figures as `stages` tells them: None for what isn't known."""
    report, usage = figures.report, figures.usage
    return {
        "name": report.name,
        "pid": report.pid,
        "state": report.state,
        "restarts": report.restarts,
        "brake": figures.is_brake,
        "events": report.events,
        "unread": report.input and report.input.waiting,
        "capacity": report.input and report.input.capacity,
        "output": report.output and report.output.waiting,
        "output_capacity": report.output and report.output.capacity,
        **(usage._asdict() if usage else _NOTHING_KNOWN),
    }


async def _copy_all(tap: Tap, connection: Connection, *ends: Callable[[], Awaitable[object]]) -> None:
    """Copy what a tap gets to a peer until it has gone, or is cut off, or one of `ends` returns; then it is over."""
    await connection.answer(done())
    connection.is_over = True
    try:
        await wait_for_any(connection.wait_gone, tap.cut_off.wait, partial(_copy, tap, connection), *ends)
    finally:  # also when the server ends; what that raises may be a group
        if not tap.cut_off.is_set():
            connection.say_at_last({"type": TAP_ENDED})


async def _copy(tap: Tap, connection: Connection) -> None:
    with contextlib.suppress(PeerError):
        while True:
            await connection.write(await tap.take())


def _is_drain_time(over: object) -> TypeGuard[float | None]:
    return over is None or (type(over) in (int, float) and 0 <= over <= LONGEST_DRAIN_S)  # type: ignore[operator]


def _nobody(action: Frame) -> str:
    """Why an action has reached no client."""
    if "group" in action:
        return f"no client is in the group {action['group']}"
    return "no client is connected" if action["to"] == EVERYONE else f"no such client: {action['to']}"


def descriptions(link: Link, clients: Iterator[Client]) -> Iterator[Frame]:
    """Describe those of these clients that are still there, as `clients` tells of them."""
    for client in clients:
        opening = opening_of(client)
        if client in link.clients and opening is not None:
            yield {
                "type": CLIENT,
                "id": client.id,
                "path": opening["path"],
                "remote": opening["remote"],
                "since": opening["time"],
                "groups": sorted(client.groups),
                "subprotocol": client.subprotocol,
                "auth": client.auth,
                "open": client.is_open,
                "outbox": client.wire.outbox.size,
            }
