"""The front: turns what happens to clients into events, and actions into what happens to clients.

Reads: the clients' wires, and action frames. Writes: events into the feed, WebSocket frames to the clients.
Never: user code, Redis.
"""

from __future__ import annotations

import enum
import math
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import trio

from fws_pipe.admission.entrance import Entrance
from fws_pipe.admission.lobby import Lobby, Places
from fws_pipe.admission.proxy_protocol import ProxyHeaderError, missing, source_of
from fws_pipe.admission.tokens import Admission
from fws_pipe.clients.memory import SWEEP_S, greediest
from fws_pipe.clients.registry import Client, Clients, Load, Ping, SlowClient, Verdict, weight_of_group
from fws_pipe.http import handshake
from fws_pipe.http.refusals import Refusals
from fws_pipe.http.request import Request, read_block, read_request
from fws_pipe.ledger.blame import DEATHS_ALONE
from fws_pipe.ledger.feed import JOURNAL_LIMIT_BYTES, Culprit, Feed
from fws_pipe.ledger.progress import Progress
from fws_pipe.ledger.quarantine import Quarantine
from fws_pipe.log import Level, Log
from fws_pipe.pipes.ends import Inlet, Outlet
from fws_pipe.protocol import actions, events
from fws_pipe.protocol.actions import ACTION_TYPES, check_action
from fws_pipe.protocol.codec import Frame, FrameDecoder, describe, type_of
from fws_pipe.protocol.events import CONFIRM, CONSUMER, DATA, EVENT_TYPES, TICK
from fws_pipe.websocket.conversation import READ_BYTES, Conversation
from fws_pipe.websocket.meter import Meter, Pace
from fws_pipe.websocket.readers import HAS_EPOLL, EpollReaders, Laggards, TaskReaders, readers_for
from fws_pipe.websocket.rfc6455 import (
    ABNORMAL,
    GOING_AWAY,
    INTERNAL_ERROR,
    PING_FRAME,
    POLICY_VIOLATION,
    TOKEN_EXPIRED,
    TRY_AGAIN_LATER,
)
from fws_pipe.websocket.transport import SocketAddress, Transport
from fws_pipe.websocket.wire import OverdueWires, Wire

_EXPIRY_CHECK_S = 60.0

_NEARLY = 0.999
"""What a sum of floats may lack."""

_KEEP_ALIVE_CHECKS = 4
"""How many times an interval the idle clients are looked through: a ping is early by a quarter of it at most."""

MOST_COUNTERS = 1000
"""How many names are counted; a filter that counts under a new name each time must not fill our memory."""


@dataclass(frozen=True)
class Limits:
    """The front's settings; sizes in bytes, times in seconds, 0 is off."""

    max_message: int
    max_clients: int
    outbox: int
    ping_interval: float
    ping_timeout: float
    max_clients_per_address: int = 0
    max_handshakes: int = 0
    max_header: int = 16 * 1024
    handshake_timeout: float = 10.0
    max_fragments: int = 65536
    message_timeout: float = 0.0
    max_groups: int = 0
    memory: int = 0
    idle_timeout: float = 0.0
    pace: Pace = Pace()
    slow_client: SlowClient = SlowClient.CLOSE
    journal: int = JOURNAL_LIMIT_BYTES
    stall_timeout: float = 0.0


class Intake(enum.StrEnum):
    """How what clients send is read and taken apart. The same for everybody outside; the tests take each."""

    EPOLL = "epoll"
    """All plain connections in one epoll object."""
    TASKS = "tasks"
    """A task for each connection, as where there is no epoll."""
    LIBRARY = "library"
    """And every frame through trio-websocket."""


class Front:
    """Serves clients on connections that it is given, and executes the actions that it is given.

    `nursery` runs all its tasks. `checks_actions`: nobody has checked what `execute_all` reads. `quarantine` is
    the folder for events that kill the chain.
    """

    def __init__(
        self,
        limits: Limits,
        log: Log,
        name: str,
        entrance: Entrance,
        nursery: trio.Nursery,
        *,
        intake: Intake = Intake.EPOLL,
        checks_actions: bool = True,
        quarantine: str | None = None,
    ) -> None:
        self.name = name
        self.entrance = entrance
        self.max_message = limits.max_message
        self.max_fragments = limits.max_fragments
        self.is_fast = intake is not Intake.LIBRARY
        self._limits = limits
        self._log = log
        self._nursery = nursery
        self._checks_actions = checks_actions
        self.feed = Feed(limits.journal)
        self.progress = Progress(lambda: self.feed.last_event)
        self._quarantine = Quarantine(quarantine, name)
        self.clients = Clients(limits.slow_client, self.feed.owners_of, limits.max_groups)
        self._connections = 0
        self._refusals = Refusals(log, nursery.start_soon)
        self.lobby = Lobby(limits.max_handshakes, self._refusals.tell)
        self._places = Places(limits.max_clients, limits.max_clients_per_address)
        self._checks = 0
        """How often the keep-alive has looked at the clients while they were read."""
        self._wants_data = False
        self._wants_are_old = False
        self._last_tick: Frame | None = None
        self._conversations: dict[Client, Conversation[Client]] = {}
        self._wires: set[Wire] = set()
        self._load = Load()
        self._overdue = OverdueWires()
        self.laggards = Laggards(self.feed, self._tell_error)
        self.counters: Counter[str] = Counter()
        self._all_gone = trio.lowlevel.ParkingLot()
        has_epoll = intake is Intake.EPOLL and HAS_EPOLL
        self._epoll_readers = EpollReaders(self.feed, self._tell_error) if has_epoll else None
        self._task_readers = TaskReaders(self.feed, self._epoll_readers)
        nursery.start_soon(self._overdue.run)
        nursery.start_soon(self.laggards.run)
        if self._epoll_readers is not None:
            nursery.start_soon(self._epoll_readers.run)

    # One client.

    def serve(self, connection: socket.socket, remote: SocketAddress) -> None:
        """Serve an accepted connection, to its end."""
        self._connections += 1
        transport = self.entrance.transport_of(connection, remote)
        wire = Wire(transport, self._limits.outbox, self._spawn, self._overdue.add)
        client = Client(f"{self.name}-{self._connections:x}", wire, self._limits.outbox, self._load)
        self._wires.add(wire)
        self.lobby.enter(wire, self.entrance.known_host(remote))
        wire.hand_over(_Newcomer(self, wire))
        wire.run_beside(self._receive, client, wire)

    def _spawn(self, task: Callable[[], Awaitable[object]]) -> None:
        self._nursery.start_soon(self._guard, task)

    async def _guard(self, task: Callable[[], Awaitable[object]]) -> None:
        try:
            await task()
        except* Exception as group:  # noqa: BLE001 - whatever one client makes go wrong must not cost the others
            self._tell_error(group.exceptions[0])

    def _tell_error(self, error: Exception) -> None:
        self._log.always(f"a connection met an error in the server itself: {error!r}")

    def leave_lobby(self, wire: Wire) -> None:
        """A connection that is no client has been closed."""
        self.lobby.leave(wire)
        self._forget_wire(wire)

    def _forget_wire(self, wire: Wire) -> None:
        self._wires.discard(wire)
        if not self._wires:
            self._all_gone.unpark_all()

    async def _receive(self, client: Client, wire: Wire) -> None:
        """See a client through its handshake."""
        is_open = False
        try:
            is_open = await self._shake_hands(client, wire)
        finally:
            if not is_open:
                wire.abort()

    async def _shake_hands(self, client: Client, wire: Wire) -> bool:
        """Whether the client is open now."""
        request = None
        peer = wire.remote
        with trio.move_on_after(self._limits.handshake_timeout) as deadline:
            request = await self._read_request(client, wire)
        if request is None or wire.is_closed:
            await self._refuse_unheard(wire, is_late=deadline.cancelled_caught)
            return False
        answer = self._judge(request.verdict, wire, peer)
        if isinstance(answer, handshake.Page):
            await self._respond(wire, answer)
        elif isinstance(answer, handshake.Refusal):
            await self._refuse(wire, answer, request.origins)
        return isinstance(answer, Admission) and await self._admit(client, wire, answer, request.early)

    async def _read_request(self, client: Client, wire: Wire) -> Request | None:
        """Read all that comes before the handshake's answer; None: the client has gone."""
        limit = self._limits.max_header
        if self.entrance.begins_with_proxy_header(wire.remote):
            try:
                header = await read_proxy_header(wire.transport, limit)
                if header is None:
                    return None
                self._recognise(wire, source_of(header) or wire.remote)
            except ProxyHeaderError as error:
                return Request(handshake.no_proxy_header(str(error)))
        return await read_request(wire.transport, limit, self._tap_of_handshakes(client), self.entrance.judge)

    def _judge(self, verdict: handshake.Verdict, wire: Wire, peer: SocketAddress) -> Admission | handshake.Response:
        """Whether the client may come in; the cheap questions first."""
        if isinstance(verdict, handshake.Response):
            return verdict
        remote = self.entrance.client_of(verdict, wire.remote, peer)
        if isinstance(remote, handshake.Refusal):
            return remote
        request = self.entrance.with_site(verdict, peer[0])
        self._recognise(wire, remote)
        refusal = self.entrance.refusal_of_page(request) or self._places.refusal_for(remote[0])
        return refusal or self.entrance.admit(request, time.time())

    def _recognise(self, wire: Wire, remote: SocketAddress) -> None:
        """Note a client's address, which a proxy may have told."""
        if remote != wire.remote:
            wire.transport.remote = remote
            self.lobby.recognise(wire, self.entrance.known_host(remote))

    async def _refuse(self, wire: Wire, refusal: handshake.Refusal, origins: Sequence[str]) -> None:
        """Refuse a client, which has named these pages."""
        self.counters[f"refused {refusal.status}"] += 1
        self._refusals.tell(wire.remote, f"{refusal.status}, {refusal.reason or refusal.text}", origins)
        await self._respond(wire, refusal)

    async def _refuse_unheard(self, wire: Wire, *, is_late: bool) -> None:
        """End a connection without a request, if it has not gone by itself."""
        if is_late and wire.transport.has_begun:
            await self._refuse(wire, handshake.TOO_SLOW, ())
        elif is_late:
            self.counters["TLS handshake too slow"] += 1
            self._refusals.tell(wire.remote, "the TLS handshake was too slow")
        elif wire.transport.problem:
            self.counters["TLS handshake failed"] += 1
            self._refusals.tell(wire.remote, wire.transport.problem)

    async def _respond(self, wire: Wire, response: handshake.Response) -> None:
        if wire.is_closed or not wire.transport.has_begun:
            return  # with TLS nothing can be said before its handshake
        wire.send_response(response.encode())
        # Of a client that was too slow everything has been read; a full lobby must not wait for such any longer.
        await wire.finish(lingers=response is not handshake.TOO_SLOW)

    async def _admit(self, client: Client, wire: Wire, admission: Admission, early: bytes) -> bool:
        # Counted before the first checkpoint: of many who knock at once no more may enter than there is room for.
        self.lobby.leave(wire)
        self._places.take(wire.remote[0])
        wire.hand_over(_Admitted(self, client))
        request = admission.request
        client.auth, client.subprotocol = admission.claims, self.entrance.subprotocol_for(request)
        event = events.open_event(
            client.id,
            path=request.path,
            query=request.query,
            headers=request.headers,
            remote=wire.remote,
            subprotocol=client.subprotocol,
            tls=wire.transport.describe_tls(),
            auth=admission.claims,
        )
        if self.entrance.gate_timeout is None:
            await self._announce(client, event)
        else:
            said_meanwhile = await self._pass_gate(client, wire, event, request)
            if said_meanwhile is None:
                return False
            early += said_meanwhile
        return client in self.clients and not wire.is_closed and self._open(client, wire, admission, early)

    async def _announce(self, client: Client, event: Frame) -> None:
        """Tell the chain of a client."""
        await self.feed.put(event, client)
        # No checkpoint between the two: the chain's first action for this client must find it.
        self.clients.add(client)

    async def _pass_gate(self, client: Client, wire: Wire, event: Frame, request: handshake.Upgrade) -> bytes | None:
        """Ask the chain; returns what the client has sent meanwhile, None when it does not come in."""
        said_meanwhile = b""
        with trio.move_on_after(self.entrance.gate_timeout or 0.0) as gate:
            await self._announce(client, event)
            said_meanwhile = await self._wait_judged(client, wire)
        refusal = self._refusal_of(client, request.subprotocols)
        if client not in self.clients or wire.is_closed:
            if gate.cancelled_caught:
                # The chain is so slow that it has not even been asked.
                await self._refuse(wire, handshake.NO_ANSWER, request.origins)
            return None
        if refusal is not None:
            self.depart(client, ABNORMAL, f"refused with status {refusal.status}", clean=False)
            await self._refuse(wire, refusal, request.origins)
            return None
        return said_meanwhile

    async def _wait_judged(self, client: Client, wire: Wire) -> bytes:
        """Wait for the chain's answer; returns what the client has sent meanwhile."""
        early = b""

        async def watch() -> None:
            """Notice a client that leaves; one block is enough to know that it is there."""
            nonlocal early
            if wire.transport.descriptor is not None:  # TLS does not let go of what it is about to read
                try:
                    early = await wire.transport.receive_some(READ_BYTES)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass  # gone without a word
                if not early:
                    wire.abort()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await client.wait_judged()
            nursery.cancel_scope.cancel()
        return early

    def _refusal_of(self, client: Client, offers: Collection[str]) -> handshake.Refusal | None:
        verdict = client.verdict
        if verdict is None:
            return handshake.NO_ANSWER
        if verdict.subprotocol is not None and verdict.subprotocol not in offers:
            self._note_not_offered(verdict.subprotocol)
            return handshake.NOT_OFFERED
        if verdict.auth is not None:
            client.auth = verdict.auth
        client.subprotocol = verdict.subprotocol or client.subprotocol
        return verdict.refusal

    def _note_not_offered(self, subprotocol: str) -> None:
        """Tell it once: each client that comes may make the chain do it again."""
        if not self.counters["accepted with a subprotocol that was not offered"]:
            self._log.always(
                f"accept.subprotocol: {subprotocol!r} is not among those that the client offers, so it is refused; "
                "leave the field out for a client whose Sec-WebSocket-Protocol does not name it"
            )
        self.counters["accepted with a subprotocol that was not offered"] += 1

    def _open(self, client: Client, wire: Wire, admission: Admission, early: bytes) -> bool:
        """Let a client in. False when it has gone meanwhile: the first write to it is what tells that."""
        wire.send_response(handshake.accept(admission.request, client.subprotocol))
        if wire.is_closed:
            return False
        if admission.expires is not None:
            wire.run_beside(self._fail_when_expired, wire, admission.expires)
        self.clients.open(client)
        wire.release()
        if wire.is_closed:
            return False
        readers = readers_for(wire, self._task_readers, self._epoll_readers)
        conversation = Conversation(client, wire, readers, self.feed, self, self._meter())
        self._conversations[client] = conversation
        if self._log.level >= Level.DEBUG:
            self._log.debug(f"{client.id} has come from {wire.remote[0]}:{wire.remote[1]}")
        was_tapped = self._tap_of_handshakes(client) is not None
        conversation.tap(is_wanted=self._wants_data and not was_tapped)
        conversation.start(early)
        conversation.tap(is_wanted=self._wants_data)
        if early:
            self.feed.flush()
        return True

    def _meter(self) -> Meter | None:
        """What counts a client's messages, where anything depends on that."""
        pace = self._limits.pace
        is_wanted = pace.frames is not None or pace.bytes is not None or self._limits.idle_timeout > 0
        return Meter(pace, trio.current_time()) if is_wanted else None

    async def _fail_when_expired(self, wire: Wire, expires: float) -> None:
        # By the wall clock, which may be set; so no single sleep to the end.
        while (left := expires - time.time()) > 0:
            await trio.sleep(min(left, _EXPIRY_CHECK_S))
        wire.fail(TOKEN_EXPIRED, "the token has expired")

    def depart(self, client: Client, code: int, reason: str, *, clean: bool) -> None:
        """Forget a client and tell the chain, once."""
        if client in self.clients:
            self.clients.remove(client)
            has_come = self._conversations.pop(client, None) is not None
            self.feed.put_disconnect(events.disconnect_event(client.id, code=code, reason=reason, clean=clean), client)
            if has_come:  # of a client that is refused at the gate there is a line already
                self._log.debug(f"{client.id} has gone: {code} {reason!r}")

    def leave(self, client: Client) -> None:
        """An admitted client's connection has been closed."""
        self._places.give_back(client.wire.remote[0])
        self.depart(client, ABNORMAL, "", clean=False)
        self._forget_wire(client.wire)

    # The raw tap.

    def _tap_of_handshakes(self, client: Client) -> Callable[[bytes], None] | None:
        """What sees the bytes of a handshake. No filter sees one that may hold a token."""
        if not self._wants_data or self.entrance.has_auth or self.entrance.gate_timeout is not None:
            return None
        return lambda block: self.feed.put_at_once(events.data_event(client.id, block), client)

    def _set_wants(self, wanted: list[str]) -> None:
        if DATA in wanted:
            self._wants_are_old = False
            self._tap_all(wants_data=True)

    def _tap_all(self, *, wants_data: bool) -> None:
        self._wants_data = wants_data
        for conversation in self._conversations.values():
            conversation.tap(is_wanted=wants_data)

    # The chain's two pipes, as a supervisor drives them.

    @property
    def ready(self) -> trio.Event:
        """Set once a tick has come back through the chain that runs now."""
        return self.feed.ready

    async def write_events(self, pipe: Outlet, known: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Write events to a chain that has been told so much, until `finish_events` is called."""
        await self.feed.run(pipe, known)

    @property
    def returns_ticks(self) -> bool:
        """Whether a tick has ever come back."""
        return self.feed.returns_ticks

    async def wait_stalled(self) -> None:
        """Wait until the chain has returned no tick for the stall timeout though it owes one."""
        await self.feed.wait_stalled(self._limits.stall_timeout)

    @property
    def ticks_under_way(self) -> tuple[int | None, int]:
        """The oldest tick that the chain has not returned, or None; and the last one that was written."""
        return self.feed.ticks_under_way

    def nudge(self) -> None:
        """Write a tick now: it waits before a stage that does not read."""
        self.feed.nudge()

    def give_up_on_ticks(self) -> None:
        """The chain lets no tick through: serve all the same."""
        self.feed.give_up_on_ticks()
        self.progress.expect_no_ticks()

    def introduce(self) -> tuple[bytes, Mapping[str, bytes]]:
        """What a chain gets first that is to show that it serves, and what that tells of whom."""
        return self.feed.introduce(self.clients)

    async def wait_idle(self) -> None:
        """Wait until the chain owes nothing."""
        await self.feed.wait_idle()

    def finish_events(self) -> None:
        """Let `write_events` end where a frame ends."""
        self.feed.finish()

    def prepare_restart(self, *, is_replaced: bool, is_changed: bool) -> list[str]:
        """The chain has died, or (`is_replaced`) gives way to another, which may work otherwise (`is_changed`).

        Returns what people should know of what that means.
        """
        # The next chain says itself what it wants, before its first tick. Until then the old wants hold: bytes that
        # arrive in between may be wanted.
        self._wants_are_old = True
        restart = self.feed.restart(self.clients, has_died=not is_replaced)
        self.progress.begin_replay(
            self.feed.acknowledged, returns_ticks=not self.feed.swallows_ticks, may_regroup=is_changed
        )
        if not self.feed.swallows_ticks:
            del self.counters["publishes lost"]  # by the sink that has ended; the next one gets them again
        said = []
        if restart.culprit is not None:
            if restart.culprit.barred is not None:
                self._turn_away(restart.culprit.barred)
            self._nursery.start_soon(self._put_into_quarantine, restart.culprit)
        if self.feed.swallows_ticks and not is_replaced:
            said.append("what was under way is lost: the chain lets no tick through")
        elif restart.events:
            manner = ", one at a time" if restart.is_careful else ""
            said.append(f"{restart.events} events wait for the next one{manner}")
        return said

    def _turn_away(self, client: Client) -> None:
        """Close a client of which the chain does not hear any more, or refuse it at the gate."""
        self.counters["clients that the chain can't serve"] += 1
        conversation = self._conversations.get(client)
        if conversation is None:
            client.judge(Verdict(handshake.NOT_SERVED))
        else:
            conversation.fail(INTERNAL_ERROR, "the chain can't serve this client")

    async def _put_into_quarantine(self, culprit: Culprit) -> None:
        kept = culprit.kept
        whose = f" of {kept.event['id']}" if "id" in kept.event else ""
        what = f"event {kept.event['seq']} ({kept.event['type']}{whose}, {len(kept.raw)} bytes)"
        skipped = "is skipped" if culprit.barred is None else "is skipped, its client turned away"
        with trio.CancelScope(shield=True):  # also at the server's end
            # In a thread: a disk may take its time.
            fate = await trio.to_thread.run_sync(self._quarantine.keep, kept.event["seq"], culprit.opening + kept.raw)
        self.counters["events quarantined" if fate.is_kept else "events skipped and not kept"] += 1
        self._log.always(f"{what} has killed the chain {DEATHS_ALONE} times, alone in it, and {skipped}; {fate.text}")

    # Actions.

    async def execute_all(self, inlet: Inlet, source: str) -> None:
        """Execute the action frames of a stream to its end. Raises FrameError for what isn't frames."""
        decoder = FrameDecoder(source)

        def take(block: bytes) -> None:
            decoder.feed(block)
            frames: list[Frame] = []
            try:
                frames.extend(decoder.frames())
            finally:  # the frames before a broken one are whole
                self.execute_block(frames)

        if inlet.early:
            take(inlet.early)
        if self._epoll_readers is not None and inlet.descriptor is not None:
            await self._epoll_readers.read_pipe(inlet.descriptor, take)
        else:
            while block := await inlet.read():
                take(block)
        decoder.finish()

    def execute_block(self, frames: list[Frame]) -> None:
        """Execute actions, and write what they send; the clients are free of what they sent only when that is done."""
        if self.progress.is_replaying:
            frames = list(self.progress.without_done(frames))
        for frame in frames:
            self.execute(frame)
        self.clients.flush()  # before what nobody waits for
        if self.feed.swallows_ticks and frames:
            self.feed.ready.set()  # an answer shows as well that the chain serves
        if not self.feed.swallows_ticks:  # of such a chain nothing is replayed, and nothing would end the remembering
            self.progress.note(frames)
        if self._last_tick is not None:
            self.laggards.begin_turn()
            self._acknowledge(self._last_tick)
            self._last_tick = None

    def execute(self, frame: Frame) -> None:
        """Execute one action; what it sends is written by `clients.flush`."""
        kind = type_of(frame)
        if kind == actions.SEND and not self._checks_actions:
            self.clients.send(frame)
            return
        if kind == TICK:
            self._note_tick(frame)
            return
        self.clients.deliver()
        if kind in ACTION_TYPES:
            problem = check_action(frame) if self._checks_actions else None
            if problem:
                self.counters["bad action"] += 1
                self._log.always(f"dropped an action: {problem}")
            else:
                self._actions[kind](self, frame)
        elif kind == CONSUMER:
            self._put_consumer(events.consumer_event(frame.get("channel"), frame.get("data"), frame.get("origin")))
        elif kind == CONFIRM:
            if self._was_written(frame):
                self.feed.confirm(frame["seq"])
        elif kind not in EVENT_TYPES:
            self.counters["unknown type"] += 1

    def _note_tick(self, tick: Frame) -> None:
        """Remember the last tick of a block: it stands for those before it."""
        if self._was_written(tick) and (self._last_tick is None or tick["seq"] >= self._last_tick["seq"]):
            self._last_tick = tick

    def _was_written(self, tick: Frame) -> bool:
        """Whether a tick, or a frame that confirms one, has a number that was written; counts those that have not."""
        was_written = self.feed.has_written(tick.get("seq"))
        if not was_written:
            self.counters["made-up ticks"] += 1
        return was_written

    def _acknowledge(self, tick: Frame) -> None:
        if self._wants_are_old:
            self._wants_are_old = False
            self._tap_all(wants_data=False)
        self.feed.acknowledge(tick["seq"], is_confirmed=not tick.get("unconfirmed"))
        self.progress.acknowledge(tick["seq"])

    def _execute_publish(self, action: Frame) -> None:
        self._put_consumer(events.consumer_event(action["channel"], action["data"], self.name), action.get("seq"))

    def _execute_enqueue(self, action: Frame) -> None:
        self._put_consumer(events.consumer_event(None, action["data"], self.name), action.get("seq"))

    def _execute_join(self, action: Frame) -> None:
        client_id, group = action["id"], action["group"]
        leaving = self.feed.leaving(client_id)
        client = leaving or self.clients.get(client_id)
        if client is not None and not self.clients.may_join(client, group):
            self._refuse_group(client, group)
        elif leaving is None:
            self.clients.join(client_id, group)
        else:
            leaving.groups = leaving.groups | {group}

    def _refuse_group(self, client: Client, group: str) -> None:
        self.counters["joins over --max-groups"] += 1
        if self.counters["joins over --max-groups"] == 1:
            in_groups = f"{client.id} is in {len(client.groups)} groups, as many as --max-groups allows"
            self._log.always(f"dropped join {describe(group)}: {in_groups}; further ones are only counted")

    def _execute_leave(self, action: Frame) -> None:
        leaving = self.feed.leaving(action["id"])
        if leaving is None:
            self.clients.leave(action["id"], action["group"])
        else:
            leaving.groups = leaving.groups - {action["group"]}

    def _execute_accept(self, action: Frame) -> None:
        client = self.clients.of(action["id"])
        if client is not None:
            client.judge(Verdict(None, action.get("auth"), action.get("subprotocol")))

    def _execute_reject(self, action: Frame) -> None:
        client = self.clients.of(action["id"])
        if client is not None:
            status, text = action.get("status", 403), action.get("reason") or "Not allowed."
            client.judge(Verdict(handshake.Refusal(status, text, reason="the chain has rejected it")))

    def _execute_count(self, action: Frame) -> None:
        name = action["name"]
        is_known = name in self.counters or len(self.counters) < MOST_COUNTERS
        self.counters[name if is_known else "counts under further names"] += action.get("by", 1)

    def _put_consumer(self, event: Frame, seq: object = None) -> None:
        """Queue an event that the chain has caused, on behalf of whose event `seq` is."""
        client = self.feed.owner_of(seq) if type(seq) is int else None
        if not self.feed.put_nowait(event, client) and self.feed.dropped == 1:
            self._log.always("dropped a consumer event: the chain makes more of them than it reads")

    _actions: dict[str, Callable[[Front, Frame], None]] = {
        actions.SEND: lambda self, action: self.clients.send(action),
        actions.CLOSE: lambda self, action: self.clients.close(action),
        actions.JOIN: _execute_join,
        actions.LEAVE: _execute_leave,
        actions.WANT: lambda self, action: self._set_wants(action["events"]),
        actions.ACCEPT: _execute_accept,
        actions.REJECT: _execute_reject,
        actions.COUNT: _execute_count,
        actions.ALIVE: lambda self, action: self.feed.note_life(),
        actions.PUBLISH: _execute_publish,
        actions.ENQUEUE: _execute_enqueue,
    }

    # All clients.

    async def keep_alive(self) -> None:
        """Ping clients that have sent, or been sent, nothing for an interval; end those that then stay silent.

        A proxy in between may end a connection of which one direction is idle, whatever passes in the other.
        """
        interval, timeout = self._limits.ping_interval, self._limits.ping_timeout
        if interval <= 0:
            return
        pause = min(interval, timeout or interval) / _KEEP_ALIVE_CHECKS
        while True:
            await trio.sleep(pause)
            if self.feed.is_full:
                continue  # nobody is read, so nobody's silence says anything
            self._checks += 1
            now = trio.current_time()
            for client in self.clients:
                if client.is_open and not client.wire.is_closing:
                    self._keep_client_alive(client, now, pause)

    def _keep_client_alive(self, client: Client, now: float, pause: float) -> None:
        """`pause`: the seconds between two checks. A ping is due when at the next one it would be late."""
        patience = self._limits.ping_interval - pause
        wire = client.wire
        if wire.forget_sent() or wire.outbox:
            client.addressed = now
        # A client that takes what waits for it lives, though the ping may be far behind in its queue.
        signs_of_life = [since for since in (wire.waiting_since, wire.blocked_since) if since is not None]
        since = max(signs_of_life, default=now)
        is_unanswered = client.pinged is not None and client.pinged.since == since
        if is_unanswered and self._is_silent(client.pinged, now, pause):
            self.counters["silent"] += 1
            wire.fail(INTERNAL_ERROR, f"no sign of life for {now - since:.0f} s, in spite of a ping")
        elif now - client.addressed >= patience or (now - since >= patience and not is_unanswered):
            if not is_unanswered:
                client.pinged = Ping(since, self._checks)
            wire.send_control(PING_FRAME)

    def _is_silent(self, pinged: Ping | None, now: float, pause: float) -> bool:
        """Whether a client that has not answered this ping has had its time for that, and been silent before it.

        Its time is counted in checks, not by the clock: when we ourselves have been stopped, or have read nobody
        since the chain was too slow, the answer may have been there all the time.
        """
        interval, timeout = self._limits.ping_interval, self._limits.ping_timeout
        if pinged is None or timeout <= 0 or now - pinged.since < interval + timeout:
            return False
        return (self._checks - pinged.check) * pause >= timeout * _NEARLY

    async def close_idle(self) -> None:
        """Close clients that have sent no message for the idle timeout, as long as it is them whom we wait for."""
        timeout = self._limits.idle_timeout
        nobody_read = -math.inf
        while timeout > 0:
            await trio.sleep(timeout / _KEEP_ALIVE_CHECKS)
            now = trio.current_time()
            if self.feed.is_full:
                nobody_read = now
            for conversation in list(self._conversations.values()):
                wire, meter = conversation.wire, conversation.meter
                is_idle = meter is not None and now - max(meter.last_message, nobody_read) >= timeout
                if is_idle and wire.waiting_since is not None and not wire.is_closing:
                    self.counters["idle"] += 1
                    wire.begin_close(GOING_AWAY, f"no message for {timeout:g} s")

    async def bound_holdings(self) -> None:
        """Close clients that take too long for a message, and those that hold most when all hold too much."""
        patience = self._limits.message_timeout / SWEEP_S
        while True:
            await trio.sleep(SWEEP_S)
            for conversation in [] if self.feed.is_full else list(self._conversations.values()):
                if 0 < patience < conversation.sweep():
                    self._fail_unfinished(conversation.wire)
            if 0 < self._limits.memory < self._held():
                self._close_greediest()

    def _fail_unfinished(self, wire: Wire) -> None:
        if not wire.is_closing:
            self.counters["message too slow"] += 1
            wire.fail(POLICY_VIOLATION, f"a message may take {self._limits.message_timeout:g} s to arrive")

    def _held(self) -> int:
        """About how much memory all that clients hold takes, in bytes."""
        begun = sum(conversation.weight for conversation in self._conversations.values())
        return begun + sum(wire.weight for wire in self._wires) + self.clients.groups_weight

    def _close_greediest(self) -> None:
        conversations = {conversation.wire: conversation for conversation in self._conversations.values()}

        def weight_of(wire: Wire) -> int:
            conversation = conversations.get(wire)
            if conversation is None:
                return wire.weight
            return wire.weight + conversation.weight + sum(map(weight_of_group, conversation.client.groups))

        if not self.counters["memory full"]:
            self._log.always(
                f"clients hold more than --memory-limit, {self._limits.memory} bytes: "
                "those that hold most are closed with 1013; further ones are only counted"
            )
        for wire in greediest(((wire, weight_of(wire)) for wire in self._wires), self._limits.memory):
            self.counters["memory full"] += 1
            if wire in conversations and not wire.is_closing:
                wire.outbox.drop_unstarted()
                wire.fail(TRY_AGAIN_LATER, "the server has no memory left for what you send, or don't read")
            else:
                wire.abort()

    def lift_rates(self) -> None:
        """Hold no client to its rate any more: the server stops, and what it has read is to be dealt with."""
        for conversation in list(self._conversations.values()):
            conversation.lift_rate()

    async def close_all(self, code: int, reason: str) -> None:
        """Close every client with this code, end unfinished handshakes, and wait until all are gone."""
        known = {client.wire: client for client in self.clients}
        for wire in list(self._wires):
            client = known.get(wire)
            if client is None:
                wire.abort()
            elif client.is_open:
                wire.begin_close(code, reason)
            else:
                client.judge(Verdict(handshake.CLOSING))
        while self._wires:
            await self._all_gone.park()

    def abort_all(self) -> None:
        """End all connections now, and wait for the chain no more."""
        for wire in list(self._wires):
            wire.abort()
        self.feed.close(self.clients)

    def statistics(self) -> dict[str, int]:
        """What was counted: refusals by status, limits met, what was dropped, by reason, what crashes have led to."""
        return {
            **self.counters,
            **self.clients.counters,
            "consumer events dropped": self.feed.dropped,
            "journal full": self.feed.times_full,
            "suppressed": self.progress.suppressed,
            "accepting paused": self.lobby.pauses,
            "silent while others waited": self.lobby.silent_turned_out,
            "slow while others waited": self.lobby.crowded_out,
        }


class _Newcomer:
    """Owns a wire while its handshake is under way."""

    __slots__ = ("_front", "_wire")

    def __init__(self, front: Front, wire: Wire) -> None:
        self._front = front
        self._wire = wire

    def note_room(self) -> None:
        """No-op: nothing waits for room."""

    def note_failed(self) -> None:
        """No-op: nothing but its end is of interest."""

    def note_closed(self) -> None:
        """It leaves the lobby."""
        self._front.leave_lobby(self._wire)


class _Admitted:
    """Owns the wire of a client that has a place, until there is a conversation: perhaps it waits at the gate."""

    __slots__ = ("_client", "_front", "note_room")

    def __init__(self, front: Front, client: Client) -> None:
        self._front = front
        self._client = client
        self.note_room = client.note_room

    def note_failed(self) -> None:
        """No-op: nothing is read yet."""

    def note_closed(self) -> None:
        """It gives its place back."""
        self._front.leave(self._client)


async def read_proxy_header(transport: Transport, limit: int) -> bytes | None:
    """Read the whole header of the PROXY protocol, of `limit` bytes at most; None when the connection has ended.

    Raises ProxyHeaderError.
    """
    header = b""
    while count := missing(header, limit):
        if not (block := await read_block(transport.receive_first, count)):
            return None
        header += block
    return header
