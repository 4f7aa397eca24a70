"""The front: turns what happens to clients into events, and actions into what happens to clients.

Reads: the clients' wires, and action frames. Writes: events into the feed, WebSocket frames to the clients.
Never: user code, Redis.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream
from wsproto.utilities import LocalProtocolError

from fws_pipe.front import handshake
from fws_pipe.front.auth import Admission
from fws_pipe.front.clients import Client, Clients, Ping, Verdict
from fws_pipe.front.entrance import Entrance
from fws_pipe.front.feed import Feed
from fws_pipe.front.rfc6455 import ABNORMAL, INTERNAL_ERROR, PING_FRAME, TOKEN_EXPIRED, TOO_BIG
from fws_pipe.front.wire import RECEIVE_BYTES, Wire
from fws_pipe.log import Log
from fws_pipe.protocol import actions, events
from fws_pipe.protocol.actions import ACTION_TYPES, check_action
from fws_pipe.protocol.codec import Frame, FrameDecoder, type_of
from fws_pipe.protocol.events import CONSUMER, DATA, EVENT_TYPES, TICK

HANDSHAKE_TIMEOUT_S = 10.0

_EXPIRY_CHECK_S = 60.0

_KEEP_ALIVE_CHECKS = 4
"""How many times an interval the idle clients are looked through: a ping is late by a quarter of it at most."""

_WIDEST_CHARACTER_BYTES = 4
"""UTF-8 spends four bytes on a character at most (RFC 3629)."""


@dataclass(frozen=True)
class Limits:
    """The front's settings; sizes in bytes, times in seconds, 0 is off."""

    max_message: int
    max_clients: int
    outbox: int
    ping_interval: float
    ping_timeout: float


class Front:
    """Serves clients on streams that it is given, and executes the actions that it is given."""

    def __init__(self, limits: Limits, log: Log, name: str, entrance: Entrance) -> None:
        self.name = name
        self._limits = limits
        self.entrance = entrance
        self._log = log
        self.feed = Feed()
        self.clients = Clients()
        self._connections = 0
        self._admitted = 0
        self._wants_data = False
        self._wants_are_old = False
        self._wires: set[Wire] = set()
        self.counters: Counter[str] = Counter()
        self._all_gone = trio.lowlevel.ParkingLot()

    # One client.

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one accepted stream to its end. Raises nothing but trio.Cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                wire = Wire(self.entrance.transport_of(stream), self._limits.outbox, nursery)
                self._wires.add(wire)
                try:
                    await self._serve_wire(wire)
                finally:
                    self._wires.discard(wire)
                    wire.abort()
                    nursery.cancel_scope.cancel()
                    if not self._wires:
                        self._all_gone.unpark_all()
        except* Exception as group:  # noqa: BLE001 - whatever one client makes go wrong must not cost the others
            self._log.always(f"a connection ended by an error in the server itself: {group.exceptions[0]!r}")

    async def _serve_wire(self, wire: Wire) -> None:
        self._connections += 1
        client = Client(f"{self.name}-{self._connections:x}", wire, self._limits.outbox)
        self._tap(client)
        with trio.move_on_after(HANDSHAKE_TIMEOUT_S) as deadline:
            request = await wire.read_request()
        answer: Admission | handshake.Refusal
        if deadline.cancelled_caught:
            answer = handshake.TOO_SLOW
        elif request is None:
            return
        elif isinstance(request, handshake.Refusal):
            answer = request
        elif self._is_full:
            answer = handshake.FULL
        else:
            answer = self.entrance.admit(request, time.time())
        if isinstance(answer, handshake.Refusal):
            await self._refuse(client, answer)
        else:
            await self._serve_admitted(client, answer)

    async def _refuse(self, client: Client, refusal: handshake.Refusal) -> None:
        self.counters[f"refused {refusal.status}"] += 1
        await client.wire.refuse(refusal)

    @property
    def _is_full(self) -> bool:
        return 0 < self._limits.max_clients <= self._admitted

    async def _serve_admitted(self, client: Client, admission: Admission) -> None:
        # Counted before the first checkpoint: of many who knock at once no more may enter than there is room for.
        self._admitted += 1
        try:
            refusal = await self._ask_chain(client, admission)
            if refusal is not None:
                self._depart(client, _Ending(reason=f"refused with status {refusal.status}"))
                await self._refuse(client, refusal)
                return
            connection = await self._converse(client, admission)
            if connection is not None:
                self._depart(client, _Ending.of(client.wire, connection))
                await client.wire.finish()
        finally:
            self._admitted -= 1
            self._depart(client, _Ending())

    async def _ask_chain(self, client: Client, admission: Admission) -> handshake.Refusal | None:
        """With a gate: tell the chain of the client, and wait for its answer."""
        if self.entrance.gate_timeout is None:
            return None
        await self._tell_chain(client, admission, _first_subprotocol(admission.request))
        with trio.move_on_after(self.entrance.gate_timeout):
            await client.judged.wait()
        if client.verdict is None:
            return handshake.NO_ANSWER
        if client.verdict.refusal is None and client.open_event is not None and client.verdict.auth is not None:
            client.open_event["auth"] = client.verdict.auth
        return client.verdict.refusal

    def _depart(self, client: Client, ending: _Ending) -> None:
        """Forget a client and tell the chain, once."""
        if client in self.clients:
            self.clients.remove(client)
            self.feed.put_disconnect(ending.event(client.id), client)
            self._log.debug(f"{client.id} has gone: {ending.code} {ending.reason!r}")

    async def _converse(self, client: Client, admission: Admission) -> WebSocketConnection | None:
        """Run a connection until no byte of it is under way any more; None when it never opened."""
        connection = None
        try:
            async with trio.open_nursery() as nursery:  # of trio-websocket's reader
                connection = await self._accept(nursery, client.wire)
                if connection is None:
                    nursery.cancel_scope.cancel()
                else:
                    client.wire.why_failed = functools.partial(_close_code_of, connection)
                    if client not in self.clients:
                        await self._tell_chain(client, admission, connection.subprotocol)
                    if admission.expires is not None:
                        client.wire.run_beside(self._fail_when_expired, client.wire, admission.expires)
                    self._open(client)
                    await self._relay_messages(client, connection)
        except* LocalProtocolError:
            # trio-websocket goes on with what it had received after it has closed for a too large message, and trips
            # over its own state. The client has had its Close frame.
            self._log.debug(f"{client.id}: trio-websocket wanted to answer behind a Close frame")
        return connection

    async def _accept(self, nursery: trio.Nursery, wire: Wire) -> WebSocketConnection | None:
        with trio.move_on_after(HANDSHAKE_TIMEOUT_S):
            request = await wrap_server_stream(
                nursery,
                wire,
                message_queue_size=1,
                max_message_size=self._limits.max_message,
                receive_buffer_size=RECEIVE_BYTES,
            )
            try:
                # A browser gives up when none of the subprotocols that it offers is chosen.
                return await request.accept(subprotocol=next(filter(None, request.proposed_subprotocols), None))
            except ConnectionClosed:
                return None
        return None

    async def _tell_chain(self, client: Client, admission: Admission, subprotocol: str | None) -> None:
        wire, request = client.wire, admission.request
        event = events.open_event(
            client.id,
            path=request.path,
            query=request.query,
            headers=request.headers,
            remote=wire.remote,
            subprotocol=subprotocol,
            tls=wire.describe_tls(),
            auth=admission.claims,
        )
        await self.feed.put(event, client)
        # No checkpoint between the two: the chain's first action for this client must find it.
        self.clients.add(client)

    def _open(self, client: Client) -> None:
        self.clients.open(client)
        self._log.debug(f"{client.id} has come from {client.wire.remote[0]}:{client.wire.remote[1]}")
        self._tap(client)
        client.wire.release()

    async def _fail_when_expired(self, wire: Wire, expires: float) -> None:
        # By the wall clock, which may be set; so no single sleep to the end.
        while (left := expires - time.time()) > 0:
            await trio.sleep(min(left, _EXPIRY_CHECK_S))
        wire.fail(TOKEN_EXPIRED, "the token has expired")

    async def _relay_messages(self, client: Client, connection: WebSocketConnection) -> None:
        while True:
            try:
                message = await connection.get_message()
            except ConnectionClosed:
                return
            if self._is_too_big(message):
                client.wire.fail(TOO_BIG, f"a message may have {self._limits.max_message} bytes")
            if not client.wire.has_failed:
                await self.feed.put(events.message_event(client.id, message), client)

    def _is_too_big(self, message: str | bytes) -> bool:
        # trio-websocket counts characters; the limit is in bytes.
        if isinstance(message, bytes) or len(message) * _WIDEST_CHARACTER_BYTES <= self._limits.max_message:
            return False
        return len(message.encode()) > self._limits.max_message

    # The raw tap.

    def _tap(self, client: Client) -> None:
        # No filter sees a handshake that may hold a token.
        may_see = client.is_open or not (self.entrance.has_auth or self.entrance.gate_timeout is not None)
        wants = self._wants_data and may_see
        client.wire.tap = functools.partial(self._put_data, client) if wants else None

    async def _put_data(self, client: Client, block: bytes) -> None:
        await self.feed.put(events.data_event(client.id, block), client)

    def _set_wants(self, wanted: list[str]) -> None:
        if DATA in wanted:
            self._wants_are_old = False
            self._tap_all(wants_data=True)

    def _tap_all(self, *, wants_data: bool) -> None:
        self._wants_data = wants_data
        for client in self.clients:
            self._tap(client)

    # The chain's two pipes, as a supervisor drives them.

    @property
    def ready(self) -> trio.Event:
        """Set once a tick has come back through the chain that runs now."""
        return self.feed.ready

    async def write_events(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write events to a chain for ever."""
        await self.feed.run(write)

    def give_up_on_ticks(self) -> None:
        """The chain lets no tick through: serve all the same."""
        self.feed.give_up_on_ticks()

    def prepare_restart(self, consumed: int) -> tuple[int, int]:
        """The chain has died, having read so many bytes. Returns how many events are lost, and how many wait."""
        # The next chain says itself what it wants, before its first tick. Until then the old wants hold: bytes that
        # arrive in between may be wanted.
        self._wants_are_old = True
        return self.feed.restart(consumed, self.clients)

    # Actions.

    async def execute_all(self, read: Callable[[], Awaitable[bytes]], source: str) -> None:
        """Execute the action frames of a stream to its end. Raises FrameError for what isn't frames."""
        decoder = FrameDecoder(source)
        while block := await read():
            decoder.feed(block)
            for frame, _ in decoder:
                self.execute(frame)
            self.clients.flush()
        decoder.finish()

    def execute(self, frame: Frame) -> None:
        """Execute one action; `clients.flush` writes what it sends."""
        kind = type_of(frame)
        if kind == TICK:
            self._acknowledge(frame)
        elif kind in ACTION_TYPES:
            problem = check_action(frame)
            if problem:
                self.counters["bad action"] += 1
                self._log.always(f"dropped an action: {problem}")
            else:
                self._actions[kind](self, frame)
        elif kind == CONSUMER:
            self._put_consumer(events.consumer_event(frame.get("channel"), frame.get("data"), frame.get("origin")))
        elif kind not in EVENT_TYPES:
            self.counters["unknown type"] += 1

    def _acknowledge(self, tick: Frame) -> None:
        if self._wants_are_old:
            self._wants_are_old = False
            self._tap_all(wants_data=False)
        if isinstance(tick.get("seq"), int):
            self.feed.acknowledge(tick["seq"])

    def _execute_publish(self, action: Frame) -> None:
        self._put_consumer(events.consumer_event(action["channel"], action["data"], self.name))

    def _execute_enqueue(self, action: Frame) -> None:
        self._put_consumer(events.consumer_event(None, action["data"], self.name))

    def _execute_accept(self, action: Frame) -> None:
        client = self.clients.of(action["id"])
        if client is not None:
            client.judge(Verdict(None, action.get("auth")))

    def _execute_reject(self, action: Frame) -> None:
        client = self.clients.of(action["id"])
        if client is not None:
            client.judge(Verdict(handshake.Refusal(action.get("status", 403), action.get("reason") or "Not allowed.")))

    def _execute_count(self, action: Frame) -> None:
        self.counters[action["name"]] += action.get("by", 1)

    def _put_consumer(self, event: Frame) -> None:
        if not self.feed.put_nowait(event) and self.feed.dropped == 1:
            self._log.always("dropped a consumer event: the chain makes more of them than it reads")

    _actions: dict[str, Callable[[Front, Frame], None]] = {
        actions.SEND: lambda self, action: self.clients.send(action),
        actions.CLOSE: lambda self, action: self.clients.close(action),
        actions.JOIN: lambda self, action: self.clients.join(action["id"], action["group"]),
        actions.LEAVE: lambda self, action: self.clients.leave(action["id"], action["group"]),
        actions.WANT: lambda self, action: self._set_wants(action["events"]),
        actions.ACCEPT: _execute_accept,
        actions.REJECT: _execute_reject,
        actions.COUNT: _execute_count,
        actions.PUBLISH: _execute_publish,
        actions.ENQUEUE: _execute_enqueue,
    }

    # All clients.

    async def keep_alive(self) -> None:
        """Ping clients that have been silent for an interval; end those that then stay silent for the timeout."""
        interval, timeout = self._limits.ping_interval, self._limits.ping_timeout
        if interval <= 0:
            return
        while True:
            await trio.sleep(min(interval, timeout or interval) / _KEEP_ALIVE_CHECKS)
            now = trio.current_time()
            for client in self.clients:
                self._keep_client_alive(client, now)

    def _keep_client_alive(self, client: Client, now: float) -> None:
        wire = client.wire
        # A client that takes what waits for it lives, though the ping may be far behind in its queue.
        signs_of_life = [since for since in (wire.waiting_since, wire.blocked_since) if since is not None]
        if not signs_of_life or wire.is_closing:
            return
        since = max(signs_of_life)
        if client.pinged is None or client.pinged.since != since:
            if now - since >= self._limits.ping_interval:
                client.pinged = Ping(since, now)
                wire.post(PING_FRAME)
                wire.flush()
        elif 0 < self._limits.ping_timeout <= now - client.pinged.sent:
            self.counters["silent"] += 1
            wire.fail(INTERNAL_ERROR, f"no sign of life for {now - since:.0f} s, in spite of a ping")

    async def close_all(self, code: int, reason: str) -> None:
        """Close every client with this code, end unfinished handshakes, and wait until all are gone."""
        open_wires = {client.wire for client in self.clients if client.is_open}
        for wire in list(self._wires):
            if wire in open_wires:
                wire.begin_close(code, reason)
            else:
                wire.abort()
        while self._wires:
            await self._all_gone.park()

    def abort_all(self) -> None:
        """End all connections now, and wait for the chain no more."""
        for wire in list(self._wires):
            wire.abort()
        self.feed.close(self.clients)

    def statistics(self) -> dict[str, int]:
        """What was counted: refusals by status, dropped sends, bad actions, dropped consumer events."""
        return {**self.counters, **self.clients.counters, "consumer events dropped": self.feed.dropped}


@dataclass(frozen=True)
class _Ending:
    """How a connection ended, as its `disconnect` event tells it."""

    code: int = ABNORMAL
    reason: str = ""
    clean: bool = False

    @staticmethod
    def of(wire: Wire, connection: WebSocketConnection) -> _Ending:
        if not wire.clean and wire.close_sent is not None:
            return _Ending(*wire.close_sent)
        code, reason = _close_code_of(connection) or (ABNORMAL, "")
        return _Ending(code, reason, wire.clean)

    def event(self, client_id: str) -> Frame:
        return events.disconnect_event(client_id, code=self.code, reason=self.reason, clean=self.clean)


def _first_subprotocol(request: handshake.Upgrade) -> str | None:
    """The one that the client will get: the first that it offers."""
    offers = ",".join(value for name, value in request.headers if name == "sec-websocket-protocol")
    return next(filter(None, (offer.strip() for offer in offers.split(","))), None)


def _close_code_of(connection: WebSocketConnection) -> tuple[int, str] | None:
    closed = connection.closed
    return None if closed is None else (int(closed.code), closed.reason or "")
