"""Hands the clients over to a new server that asks for them on the control socket (app/taking_over.py is its side).

    new server serves, and asks -> accept no more, read no client, take nothing from outside
        -> the chain finishes its events, and ends as one that is replaced
        -> freeze the clients; what they are, and their descriptors, in batches
        -> the new server has them all: it says `taken`, and goes on with them
        -> let go of them, close those that can't move (TLS) with 1012, end

The invariant: at each instant one server alone reads and writes a client. Until `taken` has been read that is this one:
when the new server is refused, dies, or takes too long, the clients are thawed and the chain starts again. So that the
two can't decide differently, reading is shut down before giving up, and what has arrived by then is still looked at:
after that the new server can't write `taken` any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import trio

from fws_pipe.app.backend import Backend
from fws_pipe.app.routes import Routes
from fws_pipe.app.stopping import Stopping
from fws_pipe.control.connection import Connection, PeerError
from fws_pipe.errors import EXIT_SYSTEM
from fws_pipe.front.front import Front
from fws_pipe.front.listener import Listener, file_of, let_go_of_file
from fws_pipe.front.moving import TLS_STAYS, Leaving, batches, unmovable
from fws_pipe.http.handshake import CLOSING
from fws_pipe.log import Log
from fws_pipe.protocol.codec import Frame, encode, type_of
from fws_pipe.protocol.control import refused
from fws_pipe.protocol.takeover import (
    ALL,
    CLIENTS,
    DESCRIPTORS_AT_ONCE,
    PROTOCOL,
    RECEIVED,
    SERVER,
    TAKEN,
)
from fws_pipe.websocket.rfc6455 import SERVICE_RESTART
from fws_pipe.wording import counted

_HANDSHAKES_S = 2.0
"""How long handshakes under way may take; they don't move."""

_REST_S = 10.0
"""How long the chain may take to finish its events."""

_CHECK_S = 0.01
"""How often it is looked at whether all is at rest."""

_CHAIN_ENDS_S = 20.0
"""How long the chain may take to end after that: as long as signals may take."""

_PEER_S = 10.0
"""How long the new server may take for each answer."""

_FAREWELL_S = 5.0
"""How long clients that can't move may take for their Close frames."""

_LEAVE_S = 2.0
"""How long what is behind the front may take to end."""


class HandingOver:
    """Hands over at most once; `listeners` are those that the server accepts on."""

    def __init__(
        self, front: Front, routes: Routes, listeners: Sequence[Listener], stopping: Stopping, log: Log
    ) -> None:
        self._front = front
        self._routes = routes
        self._listeners = listeners
        self._stopping = stopping
        self._log = log
        self._is_under_way = False

    async def answer(self, request: Frame, connection: Connection) -> None:
        """Answer the request of a new server. Raises PeerError."""
        if problem := self._refusal_of(request):
            await connection.answer(refused(EXIT_SYSTEM, problem))
            return
        self._is_under_way = True
        try:
            await self._hand_over(connection)
        finally:
            self._is_under_way = False

    def _refusal_of(self, request: Frame) -> str:
        if request.get("protocol") != PROTOCOL:
            return (
                f"the old server hands over by protocol {PROTOCOL}, and this one asks for {request.get('protocol')!r}: "
                "their releases are too far apart; drain the old one instead"
            )
        if self._is_under_way:
            return "another server is taking over already"
        if self._stopping.is_set() or not self._routes.serving.is_set():
            return "the old server is stopping" if self._stopping.is_set() else "the old server does not serve yet"
        return ""

    async def _hand_over(self, connection: Connection) -> None:
        self._log.info("another server takes over: the clients wait")
        self._front.lobby.shut()
        for link in self._front.links:
            link.feed.freeze()
        problem = "the new server has ended before it had taken all"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_when_stopping, nursery)
                problem = await self._try(connection) or problem
                nursery.cancel_scope.cancel()
        finally:
            if not self._stopping.has_handed_over:
                self._go_on(problem)

    async def _cancel_when_stopping(self, nursery: trio.Nursery) -> None:
        """A signal ends this server: then it does so with its clients."""
        await self._stopping.wait()
        nursery.cancel_scope.cancel()

    async def _try(self, connection: Connection) -> str:
        """Hand over. Returns why that was impossible."""
        try:
            problem = await self._come_to_rest()
            if problem:
                await connection.answer(refused(EXIT_SYSTEM, problem))
            else:
                await self._move(connection)
        except PeerError as error:
            return f"the new server: {error}"
        return problem

    def _go_on(self, problem: str) -> None:
        """Serve as before."""
        self._routes.resume()
        for link in self._front.links:
            link.feed.thaw()
        self._front.lobby.reopen()
        self._log.always(f"the clients stay with this server: {problem}")

    async def _come_to_rest(self) -> str:
        """Wait until nothing is under way, and end the chain. Returns why that is impossible."""
        with trio.move_on_after(_HANDSHAKES_S):
            while len(self._front.lobby) or not all(
                client.is_open for link in self._front.links for client in link.clients
            ):
                await trio.sleep(_CHECK_S)
        with trio.move_on_after(_REST_S):
            while unmovable(self._front):
                await trio.sleep(_CHECK_S)
        if problem := unmovable(self._front):
            return problem
        with trio.move_on_after(_CHAIN_ENDS_S) as ending:
            await self._routes.suspend()
        if ending.cancelled_caught:
            return "the chain does not end"
        with trio.move_on_after(_REST_S):
            while unmovable(self._front, takes_waiting=True):
                await trio.sleep(_CHECK_S)
        return unmovable(self._front, takes_waiting=True)

    async def _move(self, connection: Connection) -> None:
        """Give the new server all clients. Raises PeerError where it has not taken them."""
        leaving = Leaving(self._front)
        has_taken = False
        try:
            await self._send_all(connection, leaving)
            has_taken = await is_taken(connection)
        finally:
            if not has_taken:
                leaving.thaw()
        if not has_taken:
            raise PeerError("it has ended before it had taken all")
        self._stopping.hand_over()  # first: whatever goes wrong from here on, they are not ours any more
        for listener in self._listeners:
            let_go_of_file(listener)
        leaving.let_go()
        count = counted(len(leaving.clients), "client")
        self._log.notice(f"another server has taken over {count}; this one ends")

    async def _send_all(self, connection: Connection, leaving: Leaving) -> None:
        """Write everything, with an answer to each part. Raises PeerError."""
        server = {
            "type": SERVER,
            "accepted": self._front.accepted,
            "files": [file_of(listener) for listener in self._listeners],
        }
        await _send(connection, server, [listener.fileno() for listener in self._listeners])
        for route in leaving.routes:
            await _send(connection, route, [])
        for batch in batches(leaving.clients, DESCRIPTORS_AT_ONCE):
            clients = {"type": CLIENTS, "clients": [state for state, _ in batch]}
            await _send(connection, clients, [descriptor for _, descriptor in batch])
        await connection.answer({"type": ALL})


async def _send(connection: Connection, frame: Frame, descriptors: Sequence[int]) -> None:
    """Write a part, and wait for its answer. Raises PeerError."""
    await connection.write(encode(frame), _PEER_S, descriptors)
    with trio.move_on_after(_PEER_S):
        answer = await connection.next_request()
        if answer is None or type_of(answer) != RECEIVED:
            raise PeerError("it has ended" if answer is None else "it has answered with something else")
        return
    raise PeerError("it has not answered in time")


async def is_taken(connection: Connection) -> bool:
    """Whether the new server says that it has taken all: it decides, unless it is silent for too long or ends."""
    with trio.CancelScope(shield=True):
        has_said_so = False
        with trio.move_on_after(_PEER_S) as patience:
            has_said_so = await _says_taken(connection)
        if patience.cancelled_caught:
            connection.shut_reading()  # it can't say so any more; it may have by now
            has_said_so = await _says_taken(connection)
    return has_said_so


async def _says_taken(connection: Connection) -> bool:
    try:
        answer = await connection.next_request()
    except PeerError:
        return False
    return answer is not None and type_of(answer) == TAKEN


async def leave(front: Front, backend: Backend) -> None:
    """End a server whose clients have moved: close those that could not, and stop what is behind the front."""
    backend.expect_stop()
    with trio.move_on_after(_FAREWELL_S):
        async with trio.open_nursery() as nursery:
            for route in front.open_routes:
                nursery.start_soon(partial(route.close, CLOSING, SERVICE_RESTART, TLS_STAYS))
            await front.lobby.wait_empty()
    front.abort_all()
    backend.stop(_LEAVE_S)
