"""Clients that move from one server to another on this machine, without noticing: what of them is moved, and how.

    old server   Leaving: freezes them, and says what each is, in frames without I/O of ours
    new server   Arriving: makes the same clients of these frames and their descriptors, and lets them go on

All that a client is for its chain and for itself moves: id, address, groups, claims, subprotocol, what is remembered of
it, what it has sent and no event tells of yet, what has not been written to it, its rates. Holds don't move: the new
chain says anew whom it holds. Nor does what only times something: it begins again.

Rule: nothing is read from a client, and nothing written to it, between `Leaving` and what comes after.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from typing import Any

import trio

from fws_pipe.clients.client import Client
from fws_pipe.errors import SystemRefusedError
from fws_pipe.front.front import Front
from fws_pipe.front.route import Route
from fws_pipe.ledger.introduction import opening_of, snapshot_of
from fws_pipe.ledger.link import Link
from fws_pipe.protocol.codec import Frame, decode_frame, type_of
from fws_pipe.protocol.events import OPEN, disconnect_event
from fws_pipe.protocol.takeover import ROUTE
from fws_pipe.websocket.conversation import Conversation
from fws_pipe.websocket.rfc6455 import SERVICE_RESTART

TLS_STAYS = "the server restarts: try again in 1 s"
"""The reason for closing a client with TLS: its keys can't leave the process."""


def unmovable(front: Front, *, takes_waiting: bool = False) -> str:
    """Why the clients can't move at this instant; empty: they can. It passes, unless the chain never rests.

    `takes_waiting`: events that no chain has got may move with them.
    """
    routes = _served(front)
    feeds = [route.link.feed for route in routes]
    if unfinished := sum(feed.unfinished - len(feed.waiting) * takes_waiting for feed in feeds):
        return f"the chain has not finished {unfinished} of its events"
    busy = [each for route in routes for each in route.link.conversations.values() if not each.is_movable]
    return f"{busy[0].client.id} is still being dealt with" if busy else ""


def _served(front: Front) -> list[Route]:
    """The routes that have not failed, and have not been removed: the clients of those are being closed."""
    return [route for route in front.open_routes if route.refusal is None]


class Leaving:
    """The clients of a server that are about to move, frozen; `thaw` lets them stay."""

    def __init__(self, front: Front) -> None:
        self._front = front
        routes = _served(front)
        self._all = [(route, each) for route in routes for each in route.link.conversations.values() if _can_move(each)]
        for _, conversation in self._all:
            conversation.wire.freeze()
        self.routes = [_describe_route(route) for route in routes]
        now = trio.current_time()
        self.clients = [(_describe(each, now), each.wire.transport.fileno()) for _, each in self._all]
        """What each of them is, and its descriptor."""

    def thaw(self) -> None:
        """They stay: write to them again."""
        for _, conversation in self._all:
            conversation.wire.thaw()

    def let_go(self) -> None:
        """They have moved: close our descriptors, which ends no connection."""
        for route, conversation in self._all:
            if conversation.is_movable and not conversation.wire.is_closed:
                route.let_go(conversation)
                self._front.forget(conversation.wire)


def _can_move(conversation: Conversation[Client]) -> bool:
    return conversation.is_movable and conversation.wire.transport.descriptor is not None


def _describe_route(route: Route) -> Frame:
    """A route: the number of its last event, and what its next chain is to hear beside the clients that move."""
    link, feed = route.link, route.link.feed
    moving = {client.id for client, conversation in link.conversations.items() if _can_move(conversation)}
    staying = [client for client in link.clients if client.id not in moving]
    departed = [_snapshot(client) for client in (*feed.departures, *staying) if _is_known(link, client)]
    goodbyes = [
        disconnect_event(client.id, code=SERVICE_RESTART, reason=TLS_STAYS, clean=False)
        for client in staying
        if client.is_open
    ]
    at_the_gate = {client.id for client in staying if not client.is_open}
    events = [event for event in feed.waiting if event.get("id") not in at_the_gate]
    return {
        "type": ROUTE,
        "pattern": route.pattern,
        "seq": feed.last_event,
        "departed": departed,
        "events": [*events, *goodbyes],
    }


def _is_known(link: Link, client: Client) -> bool:
    """Whether the chain has been told of a client, and no event that waits will tell it."""
    opening = opening_of(client)
    has_been_told = opening is not None and opening["seq"] <= link.feed.ticks.done
    return has_been_told and (client.is_open or client in link.feed.departures)


def _snapshot(client: Client) -> Frame:
    opening = opening_of(client)
    assert opening is not None, "the chain knows it"
    return decode_frame(snapshot_of(client, opening))


def _describe(conversation: Conversation[Client], now: float) -> dict[str, Any]:
    client, wire = conversation.client, conversation.wire
    return {
        "open": _snapshot(client),
        "remote": list(wire.remote),
        "expires": client.expires,
        "unread": conversation.unread(),
        "outbox": wire.outbox.exported(),
        "close": wire.close_sent,
        "meter": None if conversation.meter is None else conversation.meter.exported(now),
        "addressed": max(now - client.addressed, 0.0),
    }


class Arriving:
    """The clients that move to this server. Nothing happens to them before `begin`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._routes: list[tuple[Route, Frame]] = []
        self._clients: list[tuple[Route, Client, dict[str, Any]]] = []

    def __len__(self) -> int:
        return len(self._clients)

    def add_route(self, frame: Frame) -> None:
        """A route of the old server. Raises SystemRefusedError where this one serves none of that path."""
        route = self._front.routes.get(frame["pattern"])
        if route is not None:
            self._routes.append((route, frame))
        elif frame["departed"] or frame["events"]:
            raise SystemRefusedError(f"the old server has clients on {frame['pattern']}, which is not served here")

    def add(self, state: dict[str, Any], connection: socket.socket) -> None:
        """A client. Raises SystemRefusedError where no route of this server is for its path."""
        path = state["open"]["path"]
        route = self._front.routes.find(path)
        if route is None or route.refusal is not None:
            connection.close()
            raise SystemRefusedError(f"the old server has a client on {path}, which is not served here")
        host, port = state["remote"]
        wire = self._front.wire_of(connection, (host, port))
        client = route.client_of(state["open"]["id"], wire)
        self._clients.append((route, client, state))

    def give_up(self) -> None:
        """Close all descriptors: the clients stay with the old server."""
        for _, client, _ in self._clients:
            client.wire.abort()

    def begin(self) -> None:
        """Let them go on: the chain hears of all of them, and then each is read and written."""
        for route, frame in self._routes:
            route.link.feed.continue_from(frame["seq"])
        told = {event["id"] for _, frame in self._routes for event in frame["events"] if type_of(event) == OPEN}
        for route, client, state in self._clients:
            _settle_in(route, client, state, is_told=client.id in told)
        for route, frame in self._routes:
            _put_all(route, [*frame["departed"], *frame["events"]])
        for route, client, state in self._clients:
            self._front.readmit(client, route, state)
        for route, _ in self._routes:
            route.link.feed.flush()


def _settle_in(route: Route, client: Client, state: dict[str, Any], *, is_told: bool) -> None:
    """Let a route know a client; `is_told`: an event that comes tells the chain."""
    opening, now = state["open"], trio.current_time()
    client.wire.restore(state["outbox"], None if state["close"] is None else tuple(state["close"]))
    client.auth, client.subprotocol, client.expires = opening["auth"], opening["subprotocol"], state["expires"]
    client.addressed = now - state["addressed"]
    client.recall(opening["remembered"])
    if not is_told:
        route.link.feed.put_at_once(_renumbered(opening), client)
    route.link.clients.add(client)
    route.link.clients.open(client)
    for group in opening["groups"]:
        route.link.clients.join(client.id, group)


def _put_all(route: Route, events: Sequence[Frame]) -> None:
    """Queue what the old server's chain had not been written."""
    for event in map(_renumbered, events):
        client = route.link.clients.get(event.get("id", ""))
        if client is not None:
            route.link.feed.put_at_once(event, client)
        else:
            route.link.feed.put_nowait(event)


def _renumbered(event: Frame) -> Frame:
    """The event, which gets the next number of this server, and keeps its time."""
    return {name: value for name, value in event.items() if name != "seq"}


def batches(clients: Sequence[tuple[dict[str, Any], int]], size: int) -> Iterator[Sequence[tuple[dict[str, Any], int]]]:
    """Cut a list into parts of this size."""
    for begin in range(0, len(clients), size):
        yield clients[begin : begin + size]
