r"""A link: one chain's side of the front.

    clients -> feed -> the chain -> its actions -> execution -> clients
                 \-- journal, blame, quarantine --/    progress

A link owns the chain's records (feed, progress, quarantine), the clients that the chain has been told of, and their
conversations; and it executes the actions that come back. Another chain is another link. The supervisor drives it as
its `Exchange`. Never: user code, Redis, or a byte of a connection.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Protocol

import trio

from fws_pipe.clients.client import Client, GateAnswer
from fws_pipe.clients.registry import Clients
from fws_pipe.clients.remembered import Remembered
from fws_pipe.clients.slow_client import SlowClient
from fws_pipe.counters import Count, Counters
from fws_pipe.http import handshake
from fws_pipe.http.responses import Refusal
from fws_pipe.ledger.blame import DEATHS_ALONE
from fws_pipe.ledger.feed import JOURNAL_LIMIT_BYTES, Feed, Joint, Taps, copy_to
from fws_pipe.ledger.progress import Progress
from fws_pipe.ledger.quarantine import Quarantine
from fws_pipe.ledger.recovery import Culprit
from fws_pipe.log import Log, Subject
from fws_pipe.pipes.ends import Inlet, Outlet
from fws_pipe.protocol import actions, events
from fws_pipe.protocol.actions import ACTION_TYPES, REMEMBERED_LIMIT_BYTES, REMEMBERED_NAME, check_action
from fws_pipe.protocol.codec import Frame, FrameDecoder, describe, type_of
from fws_pipe.protocol.events import CONFIRM, CONSUMER, DATA, EVENT_TYPES, LOST, TICK
from fws_pipe.websocket.conversation import Conversation
from fws_pipe.websocket.rfc6455 import INTERNAL_ERROR
from fws_pipe.wording import counted


@dataclass(frozen=True)
class LinkLimits:
    """A link's settings; sizes in bytes, times in seconds, 0 is off."""

    journal: int = JOURNAL_LIMIT_BYTES
    stall_timeout: float = 0.0
    max_groups: int = 0
    slow_client: SlowClient = SlowClient.CLOSE
    quarantine: str | None = None
    """The folder for events that kill the chain; None: they are not kept."""
    checks_actions: bool = True
    """Whether the link checks the fields of actions; False where a sink has done so."""


class Surroundings(Protocol):
    """What a link needs of the front."""

    def spawn(self, task: Callable[[], Awaitable[object]]) -> None:
        """Start a task that may outlive the chain."""

    def begin_turn(self) -> None:
        """Clients are about to find room: resume as many of them at once as one turn has time for."""

    async def read_all(self, inlet: Inlet, consume: Callable[[bytes], object]) -> None:
        """Give each block of a pipe to `consume`, until the pipe ends. Raises whatever `consume` raises."""


class Link:
    """One chain's side of the front of the server `name`."""

    def __init__(
        self,
        name: str,
        limits: LinkLimits,
        surroundings: Surroundings,
        counters: Counters,
        log: Log,
        files_name: str | None = None,
    ) -> None:
        """`files_name` is the part of quarantine file names that tells whose they are; None: the server's name."""
        self._name = name
        self._limits = limits
        self._surroundings = surroundings
        self._counters = counters
        self._executed = counters.traffic.actions
        self._log = log
        self._log_of_clients = log.about(Subject.FRONT)
        self.feed = Feed(limits.journal, counters.traffic)
        self.progress = Progress(lambda: self.feed.last_event)
        self.clients = Clients(counters, limits.slow_client, self.feed.owners_of, limits.max_groups)
        """All clients that the chain has been told of."""
        self.conversations: dict[Client, Conversation[Client]] = {}
        """The conversation of each client whose handshake is over."""
        self._held_at_the_gate: set[Client] = set()
        """Clients that a filter has put on hold before their handshake was over."""
        self._flushing: set[Client] = set()
        """Clients whose outbox is awaited empty, because a filter has asked with `flush`."""
        self._quarantine = Quarantine(limits.quarantine, files_name or name)
        self.taps: Taps = ()
        """Each gets all frames that come back from the chain, in whole frames."""
        self.after_actions = Joint()
        """Its taps are called, with nothing, when a block that came back has been executed."""
        self.wants_data = False
        """Whether the chain wants `data` events."""
        self._wants_are_old = False
        """Whether `wants_data` is still the wish of the chain before this one."""
        self._unsettled: dict[Client, Remembered] = {}
        """Clients with remembered values that a crash would take back."""
        self._tick_before = 0
        """The number of the last tick that has come back, acknowledged or not."""
        self._last_tick: Frame | None = None
        """The last tick of the block that is being executed."""
        self.publishes_lost = 0
        """Publishes that the sink has given up when it ended."""

    # Clients.

    async def announce(self, client: Client, event: Frame) -> None:
        """Tell the chain of a client; waits while the feed is full."""
        await self.feed.put(event, client)
        # No checkpoint in between: the chain's first action for this client must find it.
        self.clients.add(client)

    def converse(self, client: Client, conversation: Conversation[Client]) -> None:
        """Register the conversation of a client whose handshake is over."""
        self.conversations[client] = conversation

    def depart(self, client: Client, code: int, reason: str, *, clean: bool) -> None:
        """Forget a client and tell the chain, once."""
        if client in self.clients:
            self.clients.remove(client)
            client.close_code = code
            was_accepted = self.conversations.pop(client, None) is not None
            self._held_at_the_gate.discard(client)
            self.feed.put_disconnect(events.disconnect_event(client.id, code=code, reason=reason, clean=clean), client)
            if was_accepted:  # a refusal at the gate has been counted and logged already
                self._counters.traffic.note_close(code)
                self._log_of_clients.debug(f"{client.id} has gone: {code} {reason!r}", id=client.id, code=code)

    def let_go(self, client: Client) -> None:
        """Forget a client that another server has, and tell the chain nothing."""
        self.clients.remove(client)
        del self.conversations[client]

    def hold_as_asked(self, client: Client) -> None:
        """Hold a client whose conversation has just begun, if a filter has asked for that at the gate."""
        if client in self._held_at_the_gate:
            self._held_at_the_gate.discard(client)
            self._hold(client)

    def _hold(self, client: Client) -> None:
        conversation = self.conversations.get(client)
        if conversation is None:
            self._held_at_the_gate.add(client)
        else:
            conversation.hold()

    def resume_all(self) -> None:
        """End all holds."""
        self._held_at_the_gate.clear()
        for conversation in list(self.conversations.values()):
            conversation.resume()

    def put_data(self, client: Client, block: bytes) -> None:
        """Queue a `data` event: bytes as the client has sent them."""
        self.feed.put_at_once(events.data_event(client.id, block), client)

    def _set_wants(self, wanted: list[str]) -> None:
        if DATA in wanted:
            self._wants_are_old = False
            self._tap_all(wants_data=True)

    def _tap_all(self, *, wants_data: bool) -> None:
        self.wants_data = wants_data
        for conversation in self.conversations.values():
            conversation.tap(is_wanted=wants_data)

    def close(self) -> None:
        """End all waiting for the chain: the server's time is up."""
        self.feed.close(self.clients)

    # The chain's two pipes, as a supervisor drives them.

    @property
    def ready(self) -> trio.Event:
        """Set once a tick has come back through the chain that is running."""
        return self.feed.ticks.ready

    async def write_events(self, pipe: Outlet, known: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Write events to a chain until `finish_events` is called. `known` is what `introduce` has told it."""
        await self.feed.run(pipe, known)

    @property
    def returns_ticks(self) -> bool:
        """Whether any tick has ever come back."""
        return self.feed.ticks.are_returned

    async def wait_stalled(self) -> None:
        """Wait until the chain owes a tick and has returned none for the stall timeout."""
        await self.feed.wait_stalled(self._limits.stall_timeout)

    @property
    def ticks_under_way(self) -> tuple[int | None, int]:
        """The oldest tick that the chain has not returned, or None; and the last one that was written."""
        return self.feed.ticks_under_way

    def nudge(self) -> None:
        """Write a tick now: it will wait in front of the stage that has stopped reading."""
        self.feed.nudge()

    def give_up_on_ticks(self) -> None:
        """Serve without ticks: the chain lets none through."""
        self.feed.ticks.give_up()
        self.progress.expect_no_ticks()
        self._settle_remembered()

    def introduce(self) -> tuple[bytes, Mapping[str, bytes]]:
        """The first bytes for a chain that must prove that it serves, and the snapshot in them by client id."""
        return self.feed.introduce(self.clients)

    async def wait_idle(self) -> None:
        """Wait until every tick is back."""
        await self.feed.wait_idle()

    def finish_events(self) -> None:
        """Let `write_events` return after the frame that it is writing."""
        self.feed.finish()

    def prepare_restart(self, *, is_replaced: bool, is_changed: bool) -> list[str]:
        """Prepare the link for the next run. The chain has died, or (`is_replaced`) a new one takes over.

        `is_changed`: the next chain's text may differ. Returns notes for the log.
        """
        # The next chain states its wants before its first tick. Until then the old ones hold, since it may want bytes
        # that arrive in between.
        self._wants_are_old = True
        self.resume_all()  # the next chain gets the events that led to each hold again, and asks again
        self._take_back_remembered()
        restart = self.feed.restart(self.clients, has_died=not is_replaced)
        self.progress.begin_replay(
            self.feed.ticks.settled, returns_ticks=not self.feed.ticks.are_swallowed, may_regroup=is_changed
        )
        if not self.feed.ticks.are_swallowed:
            self.publishes_lost = 0  # the next sink gets what the last one gave up
        said = []
        if restart.culprit is not None:
            if restart.culprit.barred is not None:
                self._turn_away(restart.culprit.barred)
            self._surroundings.spawn(functools.partial(self._put_into_quarantine, restart.culprit))
        if self.feed.ticks.are_swallowed and not is_replaced:
            said.append("unfinished events are lost: the chain lets no tick through")
        elif restart.events:
            manner = ", one at a time" if restart.is_careful else ""
            said.append(f"the next run gets {counted(restart.events, 'unfinished event')} again{manner}")
        return said

    def _turn_away(self, client: Client) -> None:
        """Close a client that the chain can't be told of any more, or refuse it at the gate."""
        self._counters.add(Count.NOT_SERVED)
        conversation = self.conversations.get(client)
        if conversation is None:
            client.answer(GateAnswer(handshake.NOT_SERVED))
        else:
            conversation.fail(INTERNAL_ERROR, "the chain can't serve this client")

    async def _put_into_quarantine(self, culprit: Culprit) -> None:
        kept = culprit.kept
        whose = f" of {kept.event['id']}" if "id" in kept.event else ""
        what = f"event {kept.event['seq']} ({kept.event['type']}{whose}, {len(kept.raw)} bytes)"
        skipped = "is skipped" if culprit.barred is None else "is skipped, and its client turned away"
        with trio.CancelScope(shield=True):  # also while the server ends
            # In a thread: a disk may be slow.
            fate = await trio.to_thread.run_sync(self._quarantine.keep, kept.event["seq"], culprit.opening + kept.raw)
        self._counters.add(Count.QUARANTINED if fate.is_kept else Count.SKIPPED)
        self._log.always(
            f"{what} has killed the chain {DEATHS_ALONE} times while alone in it; it {skipped}; {fate.text}"
        )

    # Actions.

    async def execute_all(self, inlet: Inlet, source: str) -> None:
        """Execute the action frames of a pipe until it ends. Raises FrameError for bytes that aren't frames."""
        decoder = FrameDecoder(source)

        def consume(block: bytes) -> None:
            decoder.feed(block)
            frames: list[Frame] = []
            try:
                frames.extend(decoder.frames())
            finally:  # the frames before a broken one are whole
                if self.taps:
                    copy_to(self.taps, decoder.run_raw())
                self.execute_block(frames)
                if self.after_actions.taps:
                    copy_to(self.after_actions.taps, b"")

        if inlet.early:
            consume(inlet.early)
        await self._surroundings.read_all(inlet, consume)
        decoder.finish()

    def execute_block(self, frames: list[Frame]) -> None:
        """Execute actions, write the messages that they send, and only then acknowledge the last tick among them."""
        if self.progress.is_replaying:
            frames = list(self.progress.without_done(frames))
        for frame in frames:
            self.execute(frame)
        self.clients.flush()  # before the bookkeeping, since clients wait for this
        if self.feed.ticks.are_swallowed:
            # Nothing is replayed for such a chain, and no tick would let progress forget.
            if frames:
                self.feed.ticks.ready.set()  # any answer proves that the chain serves
        else:
            self.progress.note(frames)
        if self._last_tick is not None:
            self._surroundings.begin_turn()
            self._acknowledge(self._last_tick)
            self._last_tick = None

    def execute(self, frame: Frame) -> None:
        """Execute one action. Messages that it sends wait for `clients.flush`."""
        kind = type_of(frame)
        if kind == actions.SEND and not self._limits.checks_actions:
            self.clients.send(frame)
            return
        if kind == TICK:
            self._note_tick(frame)
            return
        self.clients.deliver()
        if kind in ACTION_TYPES:
            problem = check_action(frame) if self._limits.checks_actions else None
            if problem:
                self._counters.add(Count.BAD_ACTION)
                self._log.always(f"dropped an action: {problem}")
            else:
                if kind != actions.SEND:  # these are counted in runs
                    self._executed[kind] += 1
                self._actions[kind](self, frame)
        elif kind == CONSUMER:
            self._put_consumer(events.consumer_event(frame.get("channel"), frame.get("data"), frame.get("origin")))
        elif kind == CONFIRM:
            if self._was_written(frame):
                self.feed.confirm(frame["seq"])
                self._settle_remembered()
        elif kind == LOST:
            if type(lost := frame.get("publishes")) is int:
                self.publishes_lost += lost
        elif kind not in EVENT_TYPES:
            self._counters.add(Count.UNKNOWN_TYPE)

    def _note_tick(self, tick: Frame) -> None:
        """Note the last tick of a block, which stands for all before it."""
        if self._was_written(tick) and (self._last_tick is None or tick["seq"] >= self._last_tick["seq"]):
            self._last_tick = tick
            self._tick_before = tick["seq"]

    def _was_written(self, tick: Frame) -> bool:
        """Whether the number of a tick, or of a `confirm`, has been written. Counts the others."""
        was_written = self.feed.has_written(tick.get("seq"))
        if not was_written:
            self._counters.add(Count.MADE_UP_TICKS)
        return was_written

    def _acknowledge(self, tick: Frame) -> None:
        if self._wants_are_old:
            self._wants_are_old = False
            self._tap_all(wants_data=False)
        self.feed.acknowledge(tick["seq"], is_confirmed=not tick.get("unconfirmed"))
        self.progress.acknowledge(tick["seq"])
        self._settle_remembered()

    def _execute_publish(self, action: Frame) -> None:
        self._put_consumer(events.consumer_event(action["channel"], action["data"], self._name), action.get("seq"))

    def _execute_enqueue(self, action: Frame) -> None:
        self._put_consumer(events.consumer_event(None, action["data"], self._name), action.get("seq"))

    def _execute_join(self, action: Frame) -> None:
        client_id, group = action["id"], action["group"]
        leaving = self.feed.departures.get(client_id)
        client = leaving or self.clients.get(client_id)
        if client is not None and not self.clients.may_join(client, group):
            self._refuse_group(client, group)
        elif leaving is None:
            self.clients.join(client_id, group)
        else:
            leaving.join(group)

    def _refuse_group(self, client: Client, group: str) -> None:
        if self._counters.add(Count.JOINS_OVER_LIMIT) == 1:
            in_groups = f"{client.id} is in {counted(len(client.groups), 'group')}, as many as --max-groups allows"
            self._log.always(f"dropped join {describe(group)}: {in_groups}; further ones are only counted")

    def _execute_leave(self, action: Frame) -> None:
        leaving = self.feed.departures.get(action["id"])
        if leaving is None:
            self.clients.leave(action["id"], action["group"])
        else:
            leaving.leave(action["group"])

    def _execute_remember(self, action: Frame) -> None:
        client = self.feed.departures.get(action["id"]) or self.clients.of(action["id"])
        if client is None:
            return
        if client.remembered is None:
            client.remembered = Remembered()
        name, value = action.get("name", REMEMBERED_NAME), action["value"]
        if client.remembered.size_with(name, value) > REMEMBERED_LIMIT_BYTES:
            self._refuse_to_remember(client, name)
            return
        client.remembered.note(name, value, self._tick_before if self._comes_again(action.get("seq")) else None)
        if not client.remembered.is_settled:
            self._unsettled[client] = client.remembered

    def _comes_again(self, seq: object) -> bool:
        """Whether the event of this number would be replayed if the chain died now."""
        ticks = self.feed.ticks
        return type(seq) is int and ticks.done < seq <= self.feed.last_event and not ticks.are_swallowed

    def _refuse_to_remember(self, client: Client, name: str) -> None:
        if self._counters.add(Count.NOT_REMEMBERED) == 1:
            limit = f"{client.id} would exceed {REMEMBERED_LIMIT_BYTES} bytes of names and values"
            self._log.always(f"dropped remember {describe(name)}: {limit}; further ones are only counted")

    def _settle_remembered(self) -> None:
        """Settle remembered values whose events will not be replayed any more."""
        if self._unsettled:
            done = math.inf if self.feed.ticks.are_swallowed else self.feed.ticks.done
            for remembered in self._unsettled.values():
                remembered.settle(done)
            self._unsettled = {client: each for client, each in self._unsettled.items() if not each.is_settled}

    def _take_back_remembered(self) -> None:
        """Forget unsettled values: the next chain gets their events again."""
        self._settle_remembered()
        for remembered in self._unsettled.values():
            remembered.forget_unsettled()
        self._unsettled.clear()
        self._tick_before = self.feed.ticks.done

    def _execute_accept(self, action: Frame) -> None:
        client = self.clients.of(action["id"])
        if client is not None:
            client.answer(GateAnswer(None, action.get("auth"), action.get("subprotocol")))

    def _execute_reject(self, action: Frame) -> None:
        client = self.clients.of(action["id"])
        if client is not None:
            status, text = action.get("status", 403), action.get("reason") or "Not allowed."
            client.answer(GateAnswer(Refusal(status, text, reason="the chain has rejected it")))

    def _execute_count(self, action: Frame) -> None:
        self._counters.add_named(action["name"], action.get("by", 1))

    def _execute_hold(self, action: Frame) -> None:
        client = self.clients.of(action["id"])
        if client is not None:
            self._hold(client)

    def _execute_resume(self, action: Frame) -> None:
        client = self.clients.of(action["id"])
        if client is not None:
            self._held_at_the_gate.discard(client)
            if client in self.conversations:
                self.conversations[client].resume()

    def _execute_flush(self, action: Frame) -> None:
        client = self.clients.of(action["id"])
        if client is not None and client not in self._flushing:
            self._flushing.add(client)
            self._surroundings.spawn(functools.partial(self._tell_flushed, client))

    async def _tell_flushed(self, client: Client) -> None:
        await client.wire.wait_all_written()
        self._flushing.discard(client)
        if client in self.clients:
            self.feed.put_at_once(events.flushed_event(client.id), client)

    def _put_consumer(self, event: Frame, seq: object = None) -> None:
        """Queue an event that the chain has caused, charged to the client whose event `seq` is."""
        client = self.feed.owner_of(seq) if type(seq) is int else None
        if not self.feed.put_nowait(event, client) and self.feed.dropped == 1:
            self._log.always(
                "dropped a consumer event: the chain makes more of them than it reads; further ones are only counted"
            )

    _actions: ClassVar[dict[str, Callable[[Link, Frame], None]]] = {
        actions.SEND: lambda self, action: self.clients.send(action),
        actions.CLOSE: lambda self, action: self.clients.close(action),
        actions.JOIN: _execute_join,
        actions.LEAVE: _execute_leave,
        actions.WANT: lambda self, action: self._set_wants(action["events"]),
        actions.ACCEPT: _execute_accept,
        actions.REJECT: _execute_reject,
        actions.COUNT: _execute_count,
        actions.HOLD: _execute_hold,
        actions.RESUME: _execute_resume,
        actions.REMEMBER: _execute_remember,
        actions.FLUSH: _execute_flush,
        actions.ALIVE: lambda self, action: self.feed.ticks.note_life(),
        actions.PUBLISH: _execute_publish,
        actions.ENQUEUE: _execute_enqueue,
    }
