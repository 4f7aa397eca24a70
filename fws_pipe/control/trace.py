"""A trace: copies of what passes every joint of the chains, with the time, for one reader that joins them by event.

    feed -> front | stage taps, one behind each stage | link -> sink, and `executed` once what came is

The reader gets first a `joints` for each chain, and a `client` for each client whose request belongs to a trace.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Protocol

import trio

from fws_pipe.chain.spawn import Program
from fws_pipe.clients.client import Client
from fws_pipe.control.stage_taps import Chain, Receiver, StageTaps, stage_labels, wait_taken_out
from fws_pipe.control.tap import Tap, added
from fws_pipe.ledger.introduction import opening_of
from fws_pipe.ledger.link import Link
from fws_pipe.protocol.codec import Frame, encode
from fws_pipe.protocol.control import CLIENT, EXECUTED, FRONT, JOINTS, PASSED, SINK

LIMIT_BYTES = 16 * 1024 * 1024
"""What may wait for a trace's reader: it gets each message several times, once at each joint."""

_SLICE = 128
"""How many clients are looked at before others have a turn."""


class LinkedChain(Chain, Protocol):
    """A supervised chain, and the front's side of it."""

    @property
    def link(self) -> Link:
        """The front's side."""


@dataclass(frozen=True)
class Trace:
    """What waits for the reader, and the taps in each chain."""

    tap: Tap
    programs: Sequence[tuple[Chain, list[Program]]]

    @property
    def ends(self) -> list[Callable[[], Awaitable[object]]]:
        """What returns when another reload has taken the taps out of a chain."""
        return [partial(wait_taken_out, chain, taps) for chain, taps in self.programs]


@contextlib.asynccontextmanager
async def traced(stage_taps: StageTaps, chains: Sequence[LinkedChain]) -> AsyncIterator[Trace]:
    """A trace of these chains, until the end of the block; one reload a chain puts all taps in.

    Raises TapRefusedError.
    """
    tap = Tap(LIMIT_BYTES)
    for chain in chains:
        tap.put(encode(_joints_of(chain)))
        await _put_parents(tap, chain.link.clients)
    async with contextlib.AsyncExitStack() as open_taps:
        programs: list[tuple[Chain, list[Program]]] = []
        for chain in chains:
            receivers = {label: _receiver(tap, chain.name, label) for label in stage_labels(chain)}
            programs.append((chain, await open_taps.enter_async_context(stage_taps.tapped(chain, receivers))))
        for chain in chains:
            open_taps.enter_context(_ends_copied(tap, chain))
        yield Trace(tap, programs)


def _joints_of(chain: LinkedChain) -> Frame:
    joints = [FRONT, *stage_labels(chain), SINK]
    return {"type": JOINTS, "chain": chain.name, "joints": joints, "monotonic": time.monotonic(), "time": time.time()}


async def _put_parents(tap: Tap, clients: Iterable[Client]) -> None:
    """Tell the reader which traces the clients of now belong to."""
    rest = iter(clients)
    while described := list(islice(rest, _SLICE)):
        for client in described:
            opening = opening_of(client)
            if opening is not None and "traceparent" in opening:
                tap.put(encode({"type": CLIENT, "id": client.id, "traceparent": opening["traceparent"]}))
        await trio.lowlevel.checkpoint()


def _receiver(tap: Tap, chain: str, joint: str) -> Receiver:
    def receive(frames: bytes, passed: float) -> None:
        tap.put(encode({"type": PASSED, "chain": chain, "joint": joint, "time": passed, "data": frames}))

    return receive


@contextlib.contextmanager
def _ends_copied(tap: Tap, chain: LinkedChain) -> Iterator[None]:
    """Copy what goes to a chain and what comes back, and tell when that has been executed."""
    at_the_front, at_the_sink = (_receiver(tap, chain.name, joint) for joint in (FRONT, SINK))

    def note_executed(_frames: bytes) -> None:
        tap.put(encode({"type": EXECUTED, "chain": chain.name, "time": time.monotonic()}))

    with (
        added(chain.link.feed, lambda frames: at_the_front(frames, time.monotonic())),
        added(chain.link, lambda frames: at_the_sink(frames, time.monotonic())),
        added(chain.link.after_actions, note_executed),
    ):
        yield
