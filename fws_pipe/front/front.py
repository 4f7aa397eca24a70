"""The front: turns what happens to clients into events, and actions into what happens to clients.

    an accepted connection -> reception -> a client: its wire, its conversation, and its link to the chain

Never: user code, Redis.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import trio

from fws_pipe.admission.entrance import Entrance
from fws_pipe.admission.lobby import Lobby
from fws_pipe.clients.client import Client, GateAnswer
from fws_pipe.clients.keep_alive import KeepAlive
from fws_pipe.clients.sender import Load
from fws_pipe.counters import Count, Counters, Gauge, Statistics
from fws_pipe.front.bounds import Bounds
from fws_pipe.front.limits import Limits
from fws_pipe.front.reception import Reception
from fws_pipe.http import handshake
from fws_pipe.http.refusals import Refusals
from fws_pipe.ledger.link import Link, LinkLimits
from fws_pipe.log import Log
from fws_pipe.pipes.ends import Inlet
from fws_pipe.websocket.conversation import Readers
from fws_pipe.websocket.intake import Intake
from fws_pipe.websocket.readers import HAS_EPOLL, EpollReaders, Laggards, TaskReaders, readers_for
from fws_pipe.websocket.transport import SocketAddress
from fws_pipe.websocket.wire import OverdueWires, Wire


class Front:
    """Serves clients on connections that it is given, through a link to a chain. `nursery` runs all its tasks."""

    def __init__(
        self,
        limits: Limits,
        link_limits: LinkLimits,
        log: Log,
        name: str,
        entrance: Entrance,
        nursery: trio.Nursery,
        *,
        intake: Intake = Intake.EPOLL,
    ) -> None:
        self.name = name
        self.entrance = entrance
        self.max_message = limits.max_message
        self.max_fragments = limits.max_fragments
        self.is_fast = intake is not Intake.LIBRARY
        self.counters = Counters()
        self._limits = limits
        self._log = log
        self._nursery = nursery
        self._accepted = 0
        """How many connections there have been."""
        self._wires: set[Wire] = set()
        """All connections of now."""
        self._all_gone = trio.lowlevel.ParkingLot()
        self._load = Load()
        self._overdue = OverdueWires()
        self.link = Link(name, link_limits, self, self.counters, log)
        feed, clients = self.link.feed, self.link.clients
        refusals = Refusals(log, nursery.start_soon)
        self._reception = Reception(limits, entrance, self.link, self, self._forget_wire, refusals, log)
        self.keep_alive = KeepAlive(
            limits.ping_interval, limits.ping_timeout, clients, lambda: feed.is_full, self.counters
        )
        self.bounds = Bounds(limits, self.link, self._wires, self.counters, log)
        self.laggards = Laggards(feed, self.tell_error)
        has_epoll = intake is Intake.EPOLL and HAS_EPOLL
        self._epoll_readers = EpollReaders(feed, self.tell_error) if has_epoll else None
        self._task_readers = TaskReaders(feed, self._epoll_readers)
        nursery.start_soon(self._overdue.run)
        nursery.start_soon(self.laggards.run)
        if self._epoll_readers is not None:
            nursery.start_soon(self._epoll_readers.run)

    # One client.

    def serve(self, connection: socket.socket, remote: SocketAddress) -> None:
        """Serve an accepted connection, to its end."""
        self._accepted += 1
        transport = self.entrance.transport_of(connection, remote)
        wire = Wire(transport, self._limits.outbox, self.spawn, self._overdue.add)
        self._wires.add(wire)
        client = Client(f"{self.name}-{self._accepted:x}", wire, self._limits.outbox, self._load)
        self._reception.receive(client, wire)

    def spawn(self, task: Callable[[], Awaitable[object]]) -> None:
        """Start a task whose errors are logged, and end nothing but the task."""
        self._nursery.start_soon(self._guard, task)

    async def _guard(self, task: Callable[[], Awaitable[object]]) -> None:
        try:
            await task()
        except* Exception as group:  # noqa: BLE001 - whatever one client makes go wrong must not cost the others
            self.tell_error(group.exceptions[0])

    def tell_error(self, error: Exception) -> None:
        """Log an error of ours that a connection has met."""
        self._log.always(f"a connection met an error in the server itself: {error!r}")

    def depart(self, client: Client, code: int, reason: str, *, clean: bool) -> None:
        """Forget a client and tell its chain, once."""
        self.link.depart(client, code, reason, clean=clean)

    def leave(self, client: Client) -> None:
        """A client's connection has been closed."""
        self._reception.leave(client)

    def _forget_wire(self, wire: Wire) -> None:
        self._wires.discard(wire)
        if not self._wires:
            self._all_gone.unpark_all()

    def readers_for(self, wire: Wire) -> Readers:
        """What reads a connection."""
        return readers_for(wire, self._task_readers, self._epoll_readers)

    # What the link needs.

    def begin_turn(self) -> None:
        """Clients are about to find room: those go on at once for which a turn has time."""
        self.laggards.begin_turn()

    async def read_all(self, inlet: Inlet, take: Callable[[bytes], object]) -> None:
        """Give each block of a pipe to `take`, to its end. Raises what that raises."""
        if self._epoll_readers is not None and inlet.descriptor is not None:
            await self._epoll_readers.read_pipe(inlet.descriptor, take)
        else:
            while block := await inlet.read():
                take(block)

    # All clients.

    @property
    def lobby(self) -> Lobby:
        """The connections that are no clients yet."""
        return self._reception.lobby

    def let_all_go_on(self) -> None:
        """End rates and holds: the server stops, and what it has read is to be dealt with."""
        self.link.resume_all()
        for conversation in list(self.link.conversations.values()):
            conversation.lift_rate()

    async def close_all(self, code: int, reason: str) -> None:
        """Close every client with this code, end unfinished handshakes, and wait until all are gone."""
        known = {client.wire: client for client in self.link.clients}
        for wire in list(self._wires):
            client = known.get(wire)
            if client is None:
                wire.abort()
            elif client.is_open:
                wire.begin_close(code, reason)
            else:
                client.answer(GateAnswer(handshake.CLOSING))
        while self._wires:
            await self._all_gone.park()

    def abort_all(self) -> None:
        """End all connections now, and wait for the chain no more."""
        for wire in list(self._wires):
            wire.abort()
        self.link.close()

    def statistics(self) -> Statistics:
        """What was counted, and what there is of clients, of handshakes, and of what both make the server keep."""
        lobby, feed = self.lobby, self.link.feed
        counts = {
            **self.counters.copy(),
            Count.CONSUMER_DROPPED: feed.dropped,
            Count.JOURNAL_FULL: feed.times_full,
            Count.SUPPRESSED: self.link.progress.suppressed,
            Count.ACCEPTING_PAUSED: lobby.pauses,
            Count.SILENT_TURNED_OUT: lobby.silent_turned_out,
            Count.CROWDED_OUT: lobby.crowded_out,
        }
        gauges = {
            Gauge.CLIENTS: len(self.link.clients),
            Gauge.HANDSHAKES: len(lobby),
            Gauge.JOURNAL_BYTES: feed.kept,
            Gauge.HELD_BYTES: self.bounds.held(),
        }
        return Statistics(counts, gauges)
