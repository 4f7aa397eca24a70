"""Numbers events, writes them to the chain in batches, and keeps each batch until the tick that closes it is back.

Reads: events of clients, and those that the chain's own actions cause (these never wait: see `put_nowait`). Writes:
each batch as one block, at once if the pipe has room, otherwise from a task; a new chain first gets a snapshot of the
clients, and then the events that the last chain had not finished. Never: drops an event of a client, except one that
kills the chain; if that is the client's `open`, the feed drops all of its events.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import trio

from fws_pipe.counters import Traffic
from fws_pipe.ledger.blame import LAST_CHANCE_S
from fws_pipe.ledger.introduction import Departures, news, opening_of, snapshot_of
from fws_pipe.ledger.journal import Charge, Journal, frames_of
from fws_pipe.ledger.phases import TRANSITIONS, Phase, PhaseEvent
from fws_pipe.ledger.recovery import Culprit, Recovery
from fws_pipe.ledger.ticks import FIRST, Ticks
from fws_pipe.pipes.ends import Outlet
from fws_pipe.protocol.codec import Frame, decode_frame, encode
from fws_pipe.protocol.events import MESSAGE, OPEN, TICK, stamp
from fws_pipe.websocket.frames import event_time, take_messages, tick_frame
from fws_pipe.websocket.states import after

if TYPE_CHECKING:
    from fws_pipe.clients.client import Client

WAITING_LIMIT_BYTES = 1024 * 1024
"""Clients wait while this much waits for the pipe: it is as much as the pipe itself holds."""

LOOP_LIMIT_BYTES = 64 * 1024 * 1024
"""The limit for consumer events that the chain causes; only a chain that makes more of them than it reads gets there.
"""

JOURNAL_LIMIT_BYTES = 64 * 1024 * 1024
"""The default limit of the events that are kept until they are through the chain."""

BATCH_EVENTS = 512
"""The most events between two ticks, so that a slow chain isn't taken for one that hangs: at 50 ms an event a tick
comes back every 26 s.
"""

HEARTBEAT_S = 5.0
"""An idle chain gets a tick this often: often enough to notice a hung stage, too seldom to cost anything."""


class Door(enum.Enum):
    """The sources from which a feed takes events."""

    OPEN = enum.auto()
    """Clients, the chain, and sources outside."""
    CLIENTS_ONLY = enum.auto()
    """Clients and the chain: the server drains, and a busy channel would keep the chain from settling."""
    CLOSED = enum.auto()
    """The server's time is up: events are queued without waiting for room."""


Taps = tuple[Callable[[bytes], object], ...]
"""Functions that get copies of frames, in blocks."""


class Joint:
    """A place that taps can be put at."""

    def __init__(self) -> None:
        self.taps: Taps = ()


def copy_to(taps: Taps, frames: bytes) -> None:
    """Give each tap a copy."""
    for tap in taps:
        tap(frames)


class Restart(NamedTuple):
    """What a new chain gets."""

    events: int
    """Unfinished events, which are replayed."""
    is_careful: bool
    """Whether they are written one at a time."""
    culprit: Culprit | None
    """The event that is left out, if any."""


class Feed:
    """The events of one link that wait for the chain, and those that are under way in it."""

    def __init__(self, journal_limit: int = JOURNAL_LIMIT_BYTES, traffic: Traffic | None = None) -> None:
        traffic = traffic or Traffic()
        self._events = traffic.events
        self._journal: Journal[Client] = Journal()
        self._journal_limit = journal_limit
        self.ticks = Ticks(traffic.chain_seconds)
        self._recovery = Recovery(self._journal, self._find)
        self._clients: Iterable[Client] = ()
        """The clients as of the last restart."""
        self.departures = Departures()
        self._phase = Phase.RESTING
        self._snapshot: dict[str, bytes] = {}
        """The `open` events with which a new chain learns of the clients, by client id."""
        self._waiting: list[bytes] = []
        self._charges: list[Charge[Client]] = []
        self._size = 0
        self._seq = FIRST
        self._batches = 0
        """How many batches have been made: the last tick of each has a number of its own."""
        self._work = trio.Event()
        self._room = trio.lowlevel.ParkingLot()
        self._door = Door.OPEN
        self._is_frozen = False
        """Whether no client is read, and nothing taken from outside, since another server is about to take over."""
        self._is_nudged = False
        """Whether to write a tick though no event waits."""
        self._pipe: Outlet | None = None
        """The chain's stdin while `flush` may write to it; None while `run` writes, or there is no chain."""
        self._rest = b""
        """The end of a batch that the pipe had no room for."""
        self.taps: Taps = ()
        """Each gets the events and ticks, in whole frames, when they are written for the first time."""
        self.untracked = 0
        """Events written to a chain that lets no tick through, so that its progress is unknown."""
        self.dropped = 0
        """Consumer events that found no room."""
        self.times_full = 0
        """How often the journal has reached its limit."""

    # What comes in.

    def put_messages(self, client: Client, block: bytes, position: int, limit: int) -> int:
        """Queue the plain messages at the beginning of a client's bytes; returns the position of the rest.

        Never waits: it takes as much as the client's share has room for; the caller must stop reading clients while
        `is_full`. `limit` is the largest message, in bytes. `flush` writes.
        """
        middle = event_time(time.time()) + client.event_tail
        events, position, self._seq = take_messages(
            block, position, limit, client.budget, client.count_budget, middle, self._seq
        )
        if events:
            client.messages_in += len(events)
            self._waiting += events
            self._events[MESSAGE] += len(events)
            self._add(client, sum(map(len, events)), len(events))
        return position

    def _add(self, client: Client, size: int, count: int) -> None:
        """Charge the last `count` events to a client; they have `size` bytes."""
        client.charge(size, count)
        self._charges.append(Charge(client, size, count, self._seq - count + 1))
        self._size += size

    async def put(self, event: Frame, client: Client) -> None:
        """Queue a client's event; waits while the chain, or this client's share of it, is full."""
        size = _weight(event)
        while self._door is not Door.CLOSED and ((must_wait := client.must_wait(size)) or self._has_no_room):
            await (client.wait_share() if must_wait else self._room.park())
        self.put_at_once(event, client)

    def put_at_once(self, event: Frame, client: Client) -> None:
        """Queue a client's event that can't wait, or has waited already. No-op for a client that has ended."""
        if not client.has_ended:
            self._put(event, client)

    def _put(self, event: Frame, client: Client) -> None:
        """Queue an event, charged to a client's share."""
        stamped = self._stamped(event)
        frame = encode(stamped)
        if stamped["type"] == OPEN:
            client.open_event = frame
        elif stamped["type"] == MESSAGE:
            client.messages_in += 1
        self._waiting.append(frame)
        self._add(client, len(frame), 1)
        self._work.set()

    def freeze(self) -> None:
        """Let no client be read, and take nothing from outside; what has been read goes on."""
        self._is_frozen = True

    def thaw(self) -> None:
        """Let them be read again."""
        self._is_frozen = False
        self._room.unpark_all()

    @property
    def waiting(self) -> list[Frame]:
        """The events that have not been written to a chain."""
        return [decode_frame(event) for event in self._waiting]

    def continue_from(self, seq: int) -> None:
        """Number the next event higher than `seq`, the last one of a server that this one continues."""
        self._seq = max(self._seq, seq)

    @property
    def is_full(self) -> bool:
        """Whether no client may be read, since the chain is behind."""
        return self._is_frozen or self._has_no_room

    @property
    def _has_no_room(self) -> bool:
        return self._size >= WAITING_LIMIT_BYTES or self._journal.size >= self._journal_limit

    @property
    def is_calm(self) -> bool:
        """Whether the chain is known to work on one batch at most."""
        return not self.ticks.are_swallowed and self._journal.batches_under_way <= 1

    async def wait_room(self) -> None:
        """Wait while the feed is full."""
        while self._door is not Door.CLOSED and self.is_full:
            await self._room.park()

    def close(self, clients: Iterable[Client]) -> None:
        """End all waiting for room, now and later: the server's time is up."""
        self._door = Door.CLOSED
        self._room.unpark_all()
        self.ticks.tell()
        for client in clients:
            client.stop_waiting()

    async def put_from_outside(self, event: Frame) -> bool:
        """Queue an event that is no client's; waits while the feed is full. False after `shut_out`: it is dropped."""
        await self.wait_room()
        if self._door is not Door.OPEN:
            return False
        self._append(event)
        return True

    def shut_out(self) -> None:
        """Take no more events from outside: the server drains, and a busy channel would keep it from an end."""
        if self._door is Door.OPEN:
            self._door = Door.CLIENTS_ONLY

    def put_disconnect(self, event: Frame, client: Client) -> None:
        """Queue a client's last event. It never waits: the `open`, which is larger, has waited for room."""
        if not client.has_ended:
            self.put_at_once(event, client)
            self.departures.add(client, self._seq)
            client.has_ended = True

    def put_nowait(self, event: Frame, client: Client | None = None) -> bool:
        """Queue an event that the chain itself has caused. Returns False when there is no room, and counts it.

        The event is charged to `client`, whose event had made the chain cause it.

        Waiting would be a deadlock: the chain would wait for the front to take its actions, and the front for the
        chain to take this event. Clients wait instead, since these events fill the queue too.
        """
        if self._size >= LOOP_LIMIT_BYTES:
            self.dropped += 1
            return False
        if client is None:
            self._append(event)
        else:
            self._put(event, client)
        return True

    def _append(self, event: Frame) -> None:
        frame = encode(self._stamped(event))
        self._waiting.append(frame)
        self._size += len(frame)
        self._work.set()

    def _stamped(self, event: Frame) -> Frame:
        self._seq += 1
        self._events[event["type"]] += 1
        return stamp(event, self._seq, time.time())

    @property
    def kept(self) -> int:
        """Bytes in the journal: the events that the chain has not finished."""
        return self._journal.size

    # What goes out.

    async def run(self, pipe: Outlet, known: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Write batches to a chain until `finish` is called. Raises OSError when the chain has gone.

        It first writes the snapshot, without what the chain has been told already (`known`, see `introduce`), and a
        tick. When that is back the chain serves, and the kept events follow, then the waiting ones. So an event that
        kills the chain isn't taken for a chain that can't start. One call at a time.
        """
        self._move_on(PhaseEvent.BEGINS)
        self._rest = b""
        snapshot, self._snapshot = self._snapshot, {}
        try:
            await self._introduce_all(pipe, list(news(snapshot, known, self.ticks.done, time.time())))
            if not self.ticks.are_swallowed:
                await self.ticks.ready.wait()
            self._move_on(PhaseEvent.INTRODUCED)
            if self._recovery.last_chance > self.ticks.settled:
                await self._give_time()
            await self._replay(pipe)
            self._move_on(PhaseEvent.REPLAYED)
            while not self._is_finishing:
                if self._waiting:
                    await self._wait_journal()
                    if self._is_finishing:
                        break
                    await pipe.write(self._take_batch())
                    self._note_written()
                self._pipe = pipe
                with trio.move_on_after(HEARTBEAT_S) as heartbeat:
                    await self._work.wait()
                self._pipe = None
                self._work = trio.Event()
                if self._rest:
                    rest, self._rest = self._rest, b""
                    await pipe.write(rest)
                    self._note_written()
                elif (self._is_beat(heartbeat) or self._is_nudged) and not self._is_journal_full:
                    self._is_nudged = False
                    await pipe.write(self._take_batch())
                    self._note_written()
        finally:
            self._pipe = None
            self._move_on(PhaseEvent.ENDS)

    def _is_beat(self, heartbeat: trio.CancelScope) -> bool:
        """Whether an idle chain is to get a tick: not one that lets none through, for which it may be garbage."""
        return heartbeat.cancelled_caught and not self.ticks.are_swallowed

    def _move_on(self, event: PhaseEvent) -> None:
        self._phase = after(TRANSITIONS, self._phase, event)

    @property
    def _is_finishing(self) -> bool:
        return self._phase is Phase.FINISHING

    def introduce(self, clients: Iterable[Client]) -> tuple[bytes, Mapping[str, bytes]]:
        """The first bytes for a chain that must prove that it serves, and the snapshot in them by client id."""
        known = {}
        for client in clients:
            opening = opening_of(client) if client.is_open else None
            if opening is not None and opening["seq"] <= self.ticks.done:
                known[client.id] = snapshot_of(client, opening)
        return b"".join(known.values()) + self.ticks.first(), known

    async def _introduce_all(self, pipe: Outlet, news: list[tuple[str, bytes]]) -> None:
        """Write the snapshot's `news` and a tick; one client at a time if an earlier chain has died of its snapshot."""
        if not news:
            self._move_on(PhaseEvent.INTRODUCED)
        if self._recovery.introductions.is_careful and not self.ticks.are_swallowed:
            await self._write_and_wait_tick(pipe, b"")
            for client_id, event in news:
                if self._recovery.introductions.is_last_chance(client_id):
                    await self._give_time()
                self._recovery.introductions.at_hand = client_id
                await self._write_and_wait_tick(pipe, event)
            self._recovery.introductions.at_hand = None
            news = []
        await pipe.write(b"".join(event for _, event in news) + self.ticks.first())

    async def _write_and_wait_tick(self, pipe: Outlet, event: bytes) -> None:
        ticks_back = self.ticks.count
        await pipe.write(event + self.ticks.first())
        while self.ticks.count == ticks_back and not self._is_finishing:
            await self.ticks.wait_change()

    async def _give_time(self) -> None:
        """Wait a while before an event gets its last chance."""
        with trio.move_on_after(LAST_CHANCE_S):
            while not self._is_finishing:
                await self.ticks.wait_change()

    def finish(self) -> None:
        """Let `run` return after the frame that it is writing: another chain gets the events to come."""
        self._move_on(PhaseEvent.FINISH)
        self._work.set()
        self.ticks.tell()

    async def _replay(self, pipe: Outlet) -> None:
        """Write the kept events again."""
        while self._journal.is_replaying and not self._is_finishing:
            batch = self._journal.next_to_write()
            if batch is None:
                await self.ticks.wait_change()
            else:
                await pipe.write(batch)

    @property
    def _is_journal_full(self) -> bool:
        return self._journal.size >= self._journal_limit

    async def _wait_journal(self) -> None:
        """Wait until the journal has room for another batch."""
        while self._is_journal_full and not self._is_finishing:
            await self.ticks.wait_change()

    def flush(self) -> None:
        """Write the waiting events if the pipe has room now; otherwise `run` writes them later."""
        if not self._waiting:
            return
        if self._pipe is None or self._rest or self._journal.size >= self._journal_limit:
            self._work.set()
            return
        batch = self._take_batch()
        count = self._pipe.write_nowait(batch)
        if count < len(batch):
            self._rest = batch[count:]
            self._work.set()
        else:
            self._note_written()

    def _note_written(self) -> None:
        if self.ticks.are_swallowed:
            self._note_done(self.ticks.written)
            self._settle(self.ticks.written)

    def _take_batch(self) -> bytes:
        """Take the waiting events, closed by a tick, with further ticks in between after each BATCH_EVENTS."""
        events, self._waiting = self._waiting, []
        charges, self._charges = self._charges, []
        self._size = 0
        if self._room:
            self._room.unpark_all()
        parts = []
        while len(events) > BATCH_EVENTS:
            # Such a tick has the number of the event before it, and none of its own.
            seq = decode_frame(events[BATCH_EVENTS - 1])["seq"]
            parts.append(self._keep(events[:BATCH_EVENTS], seq, []))
            del events[:BATCH_EVENTS]
        self._seq += 1
        self._batches += 1
        last = self._keep(events, self._seq, charges)
        if self._is_journal_full:
            self.times_full += 1
        batch = b"".join([*parts, last]) if parts else last
        if self.taps:
            copy_to(self.taps, batch)
        return batch

    def _keep(self, events: list[bytes], seq: int, charges: list[Charge[Client]]) -> bytes:
        count = len(events)
        events.append(tick_frame(seq, event_time(time.time())))
        batch = b"".join(events)
        if self.ticks.are_swallowed:
            self.untracked += count
            _release(charges)
        else:
            self._journal.add(batch, seq, count, charges)
        self._events[TICK] += 1
        self.ticks.note_written(seq)
        return batch

    # What comes back.

    def _settle(self, seq: int) -> None:
        self.ticks.settle(seq)
        if self._room and not self._is_journal_full:
            self._room.unpark_all()

    def has_written(self, tick: object) -> bool:
        """Whether this is the number of a tick that was written; a filter has made up any other."""
        return type(tick) is int and tick <= self.ticks.written

    @property
    def last_event(self) -> int:
        """The number of the last event or tick."""
        return self._seq

    @property
    def events(self) -> int:
        """How many events there have been, ticks left out."""
        return self._seq - FIRST - self._batches

    def has_settled(self, seq: int) -> bool:
        """Whether the events up to this number are through the chain; they may still wait for Redis."""
        return self.ticks.settled >= seq

    def acknowledge(self, seq: int, *, is_confirmed: bool = True) -> None:
        """Note that a tick has come back. `is_confirmed`: nothing before it waits for Redis."""
        self.untracked = 0
        self.ticks.note_back(seq)
        _release(self._journal.acknowledge(seq, is_confirmed=is_confirmed))
        if is_confirmed:
            self._note_done(seq)
        self._settle(seq)

    def confirm(self, seq: int) -> None:
        """Note that nothing before a returned tick waits for Redis any more. A repetition is a sign of life."""
        self.ticks.note_life()
        _release(self._journal.acknowledge(seq))
        self._note_done(seq)
        self._settle(seq)

    def _note_done(self, seq: int) -> None:
        self.ticks.note_done(seq)
        self.departures.forget_until(self.ticks.done)

    async def wait_idle(self) -> None:
        """Wait until every tick is back; for ever with a chain that swallows them."""
        while self.ticks.are_swallowed or self._journal.awaited is not None:
            await self.ticks.wait_change()

    def owner_of(self, seq: int) -> Client | None:
        """The client whose event has this number; None unless the event is in the chain."""
        return self._journal.owner_of(seq)

    def owners_of(self, seqs: Iterable[object]) -> list[Client | None]:
        """The clients of many numbers, as `owner_of`; None also where the element is no number."""
        return self._journal.owners_of(seqs)

    @property
    def unfinished(self) -> int:
        """Events that the chain is not known to have finished."""
        return self._journal.events + len(self._waiting)

    async def wait_settled(self, seq: int | None = None) -> None:
        """Wait until the events up to the number `seq` are through the chain; None: all that have been queued so far.

        With a chain that swallows ticks: until they are written.
        """
        target = self._seq if seq is None else seq
        while not self.has_settled(target) and self._door is not Door.CLOSED:
            await self.ticks.wait_change()

    async def wait_stalled(self, timeout_s: float) -> None:
        """Wait until the chain owes a tick and has returned none for `timeout_s` seconds; 0: for ever."""
        await self.ticks.wait_stalled(timeout_s, lambda: self._journal.awaited)

    @property
    def ticks_under_way(self) -> tuple[int | None, int]:
        """The oldest tick that the chain has not returned, or None; and the last one that was written."""
        return self._journal.awaited, self.ticks.written

    def nudge(self) -> None:
        """Write a tick now: it will wait in front of the stage that has stopped reading, and so show which."""
        self._is_nudged = True
        self._work.set()

    def restart(self, clients: Iterable[Client], *, has_died: bool = True) -> Restart:
        """Prepare what the next chain gets, after the last one has died or was replaced.

        That is a snapshot (an `open` with `replay` for each client whose own `open` is not kept), then all kept events.
        A client that still waits at the gate is new to the next chain, which has to answer it.

        Raises ImpossibleEventError while `run` is still at work.
        """
        is_introduced = self._phase is not Phase.CUT_OFF
        self._move_on(PhaseEvent.RESTARTS)
        self._clients = clients
        finding = None
        if has_died:
            finding = self._recovery.after_death(is_introduced=is_introduced)
        else:
            self._recovery.after_replacement()
        culprit = finding.culprit if finding is not None else None
        if culprit is not None and culprit.barred is not None:
            self._bar(culprit.barred)
        self.untracked = 0  # they were lost with the chain, and the log says so
        self._snapshot = {}
        for client in [*clients, *self.departures]:
            self._reintroduce(client)
        self._rest = b""
        self._work.set()
        self.ticks.begin_run()
        return Restart(self.unfinished, finding is not None and finding.is_careful, culprit)

    def _reintroduce(self, client: Client) -> None:
        """Let the next chain hear of a client, unless the client's own `open` is replayed."""
        event = opening_of(client)
        if event is None or event["seq"] > self.ticks.done:
            return
        if client.is_open or client in self.departures:
            self._snapshot[client.id] = snapshot_of(client, event)
        else:
            self.put_at_once({name: event[name] for name in event if name not in ("seq", "time")}, client)

    def _find(self, client_id: object) -> Client | None:
        """The client with an id, also one that is leaving; None if there is none."""
        return next((client for client in [*self._clients, *self.departures] if client.id == client_id), None)

    def _bar(self, client: Client) -> None:
        """Let no chain hear of a client again: its events make no sense without its `open`."""
        client.has_ended = True
        client.open_event = b""
        self.departures.discard(client)
        self._journal.leave_out(client.id)
        self._waiting = [raw for event, raw in frames_of(self._waiting) if event.get("id") != client.id]
        self._size = sum(map(len, self._waiting))
        self._is_nudged = True  # a task may wait for the tick behind the events that are left out


def _weight(event: Frame) -> int:
    data = event.get("data", b"")
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())


def _release(charges: Iterable[Charge[Client]]) -> None:
    """Free the owners of their charges."""
    for client, size, count, _ in charges:
        client.discharge(size, count)
