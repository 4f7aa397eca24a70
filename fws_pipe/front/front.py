"""The front: accepts clients, and brings each to the route of its path.

    an accepted connection -> reception -> a client of a route: its wire, its conversation, its link to a chain

Never: user code, Redis.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from fws_pipe.admission.entrance import Entrance
from fws_pipe.admission.lobby import Lobby
from fws_pipe.clients.client import Client
from fws_pipe.counters import Count, Counters, Gauge, Statistics
from fws_pipe.front.access_log import AccessLog
from fws_pipe.front.bounds import Bounds
from fws_pipe.front.downloads import Downloads
from fws_pipe.front.limits import Limits
from fws_pipe.front.reception import Reception
from fws_pipe.front.route import Route
from fws_pipe.http.pages import Pages
from fws_pipe.http.refusals import Refusals
from fws_pipe.http.responses import Refusal
from fws_pipe.http.routes import EVERY_PATH, RouteTable
from fws_pipe.ledger.link import Link, LinkLimits
from fws_pipe.log import Log
from fws_pipe.websocket.intake import Intake
from fws_pipe.websocket.readers import HAS_EPOLL, SharedWait
from fws_pipe.websocket.transport import PlainTransport, SocketAddress, Transport
from fws_pipe.websocket.wire import OverdueWires, Wire


class Front:
    """Serves accepted connections, each by the route of its path. `nursery` runs all its tasks."""

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
        pages: Pages | None = None,
    ) -> None:
        self.name = name
        self.entrance = entrance
        self.is_fast = intake is not Intake.LIBRARY
        self.counters = Counters()
        self._limits = limits
        self._link_limits = link_limits
        self._log = log
        self._nursery = nursery
        self._accepted = 0
        """How many connections there have been."""
        self._wires: set[Wire] = set()
        """All connections of now."""
        self._overdue = OverdueWires()
        self._shared_wait = SharedWait() if intake is Intake.EPOLL and HAS_EPOLL else None
        self.open_routes: list[Route] = []
        """All routes that run: also those that take no client yet, or no more."""
        self.routes: RouteTable[Route] = RouteTable()
        """The routes that new clients get, by their patterns."""
        refusals, access = Refusals(log, nursery.start_soon), AccessLog(log)
        self.downloads = Downloads(limits.max_downloads, self.forget, self.counters, refusals)
        self._reception = Reception(
            limits,
            entrance,
            self.routes,
            pages or Pages(None, has_console=False),
            self.downloads,
            self.forget,
            refusals,
            access,
            self.counters,
            log,
        )
        self.bounds = Bounds(limits, lambda: self.links, self._wires, self.counters, log)
        nursery.start_soon(self._overdue.run)

    # Routes.

    def open_route(self, pattern: str = EVERY_PATH, log: Log | None = None) -> Route:
        """A new route, which runs, and takes clients once it is put into `routes`. `log` is for what happens in it."""
        route = Route(pattern, self._limits, self._link_limits, self, self._shared_wait, log or self._log)
        self.open_routes.append(route)
        self._nursery.start_soon(route.run)
        return route

    def end_route(self, route: Route) -> None:
        """End a route whose clients and whose chain have gone; what it has counted stays counted."""
        self.open_routes.remove(route)
        route.end()
        for count, number in route.counts().items():
            self.counters.add(count, number)

    # One connection.

    def serve(self, connection: socket.socket, remote: SocketAddress) -> None:
        """Start to serve an accepted connection."""
        self._accepted += 1
        wire = self._wire_on(self.entrance.transport_of(connection, remote))
        self._reception.receive(f"{self.name}-{self._accepted:x}", wire)

    def _wire_on(self, transport: Transport) -> Wire:
        wire = Wire(transport, self._limits.outbox, self.spawn, self._overdue.add)
        self._wires.add(wire)
        return wire

    def spawn(self, task: Callable[[], Awaitable[object]]) -> None:
        """Start a task whose errors are logged, and end only that task."""
        self._nursery.start_soon(self._guard, task)

    async def _guard(self, task: Callable[[], Awaitable[object]]) -> None:
        try:
            await task()
        except* Exception as group:  # noqa: BLE001 - a fault that one client brings about must not cost the others
            self.tell_error(group.exceptions[0])

    def tell_error(self, error: Exception) -> None:
        """Log an error in the server itself that a connection has met."""
        self._log.always(f"a connection met an error in the server itself: {error!r}")

    def leave(self, client: Client) -> None:
        """Take back the place of an admitted client, whose connection has been closed."""
        self._reception.take_back_place(client)
        self.forget(client.wire)

    def forget(self, wire: Wire) -> None:
        """A connection is not ours any more."""
        self._wires.discard(wire)

    # Clients of another server, which this one continues (moving.py).

    @property
    def accepted(self) -> int:
        """How many connections there have been: the last one's number is in the id of its client."""
        return self._accepted

    def continue_from(self, accepted: int) -> None:
        """Number the next connection higher than this one."""
        self._accepted = max(self._accepted, accepted)

    def wire_of(self, connection: socket.socket, remote: SocketAddress) -> Wire:
        """The wire of a client without TLS whose handshake is over."""
        return self._wire_on(PlainTransport(connection, remote))

    def readmit(self, client: Client, route: Route, state: Mapping[str, Any]) -> None:
        """Let a client go on that another server had let in."""
        self._reception.readmit(client, route, state)

    # All clients.

    @property
    def links(self) -> list[Link]:
        """The links of all routes that run."""
        return [route.link for route in self.open_routes]

    @property
    def lobby(self) -> Lobby:
        """The connections whose handshake is under way."""
        return self._reception.lobby

    async def close_all(self, refusal: Refusal, code: int, reason: str) -> None:
        """Close the clients of all routes, as `Route.close` does, and wait until they are gone."""
        async with trio.open_nursery() as nursery:
            for route in self.open_routes:
                nursery.start_soon(route.close, refusal, code, reason)

    def abort_all(self) -> None:
        """End all connections now, and end all waiting for chains."""
        for wire in list(self._wires):
            wire.abort()
        for link in self.links:
            link.close()

    def own_counts(self) -> Counter[str]:
        """The counters of `Count`, by their values: also those that the lobby and the routes keep."""
        counts = self.counters.own
        counts[Count.ACCEPTING_PAUSED] = self.lobby.pauses
        counts[Count.SILENT_TURNED_OUT] = self.lobby.silent_turned_out
        counts[Count.CROWDED_OUT] = self.lobby.crowded_out
        for route in self.open_routes:
            counts.update(route.counts())
        return counts

    def gauges(self) -> dict[Gauge, int]:
        """How many clients and handshakes there are, and what both make the server keep."""
        return {
            Gauge.CLIENTS: sum(len(link.clients) for link in self.links),
            Gauge.HANDSHAKES: len(self.lobby),
            Gauge.JOURNAL_BYTES: sum(link.feed.kept for link in self.links),
            Gauge.HELD_BYTES: self.bounds.held(),
        }

    def statistics(self) -> Statistics:
        """What was counted, also by filters, and the gauges."""
        return Statistics(self.own_counts() + self.counters.others(), self.gauges())
