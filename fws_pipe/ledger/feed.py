"""The events' way to the chain: numbered, batched, each batch closed by a tick, kept until that is back.

Reads: events from clients, and from the chain's own actions (which never wait: see `put_nowait`). Writes: one block a
batch, at once where the pipe takes it, through a task where it doesn't; to a new chain a snapshot of who is here, and
then again what the dead one had not finished. Never: drops an event of a client, except one that kills the chain; if
that is its `open`, all of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import trio

from fws_pipe.ledger.blame import LAST_CHANCE_S, Blame, Introductions, Remedy
from fws_pipe.ledger.journal import Charge, Journal, Kept, frames_of
from fws_pipe.pipes.ends import Outlet
from fws_pipe.protocol.codec import Frame, encode
from fws_pipe.protocol.events import OPEN, disconnect_event, stamp
from fws_pipe.websocket.frames import event_time, take_messages, tick_frame
from fws_pipe.websocket.rfc6455 import ABNORMAL

if TYPE_CHECKING:
    from fws_pipe.clients.client import Client

WAITING_LIMIT_BYTES = 1024 * 1024
"""How much waits before clients have to: as much as the pipe behind it holds."""

LOOP_LIMIT_BYTES = 64 * 1024 * 1024
"""How much the chain's own consumer events may add; only a chain that makes more of them than it reads gets there."""

JOURNAL_LIMIT_BYTES = 64 * 1024 * 1024
"""How much is kept until it is through the chain, unless the user says otherwise."""

BATCH_EVENTS = 512
"""A tick stands behind so many events at the latest, so that a chain that works slowly doesn't pass for one that hangs:
at 50 ms an event ticks come back every 26 s.
"""

HEARTBEAT_S = 5.0
"""An idle chain gets a tick this often: often enough to notice a hung stage, too seldom to cost anything."""

_STALL_CHECKS = 10
"""How many times within a stall timeout the oldest tick is looked at. Counted, not timed: when we ourselves have been
stopped for a while, the chain may have been as well.
"""


class Culprit(NamedTuple):
    """An event that is skipped because it kills the chain; `opening` is its client's `open` as a snapshot has it.

    `barred`: the client of which no chain hears any more, where the event is its `open`.
    """

    kept: Kept
    opening: bytes
    barred: Client | None = None


class Restart(NamedTuple):
    """What a new chain gets: how many events again, whether one at a time, and which one not."""

    events: int
    is_careful: bool
    culprit: Culprit | None


class Feed:
    """What waits for the chain, and what is under way in it."""

    def __init__(self, journal_limit: int = JOURNAL_LIMIT_BYTES) -> None:
        self._journal: Journal[Client] = Journal()
        self._journal_limit = journal_limit
        self._blame = Blame()
        self._introductions = Introductions()
        self._is_introduced = True
        """Whether the chain of now has heard of all clients that it is to hear of first."""
        self._ticks_back = 0
        self._snapshot: dict[str, bytes] = {}
        """What a new chain is to hear of each client, by id."""
        self._last_tick = 1
        self._waiting: list[bytes] = []
        self._charges: list[Charge[Client]] = []
        self._size = 0
        self._seq = 1
        self._done_seq = 1
        """The last tick before which nothing need be kept. Number 1 is the one that the first chain gets."""
        self._work = trio.Event()
        self._room = trio.lowlevel.ParkingLot()
        self._settled = trio.lowlevel.ParkingLot()
        self._settled_seq = 1
        self._closed = False
        self._is_shut_out = False
        """Whether nothing is taken from outside any more."""
        self._is_finishing = False
        """Whether `run` is to end where a frame ends."""
        self._is_nudged = False
        """Whether a tick is to be written though nothing waits."""
        self._pipe: Outlet | None = None
        """The chain's, while it takes events and none is being written."""
        self._rest = b""
        """What the pipe had no room for at once."""
        self._leaving: dict[str, tuple[Client, int]] = {}
        """Those whose `disconnect` is kept: a new chain must hear of their `open` first."""
        self.ready = trio.Event()
        """Set once a tick of this run has come back."""
        self.returns_ticks = False
        """Whether a tick has ever come back: then a chain that returns none hangs."""
        self.swallows_ticks = False
        """True when the chain has been found to let no tick through: nothing is kept for the next one."""
        self.untracked = 0
        """Events that were written to a chain which lets no tick through: nothing tells how far it got with them."""
        self._signs_of_life = 0
        """Other than ticks."""
        self.dropped = 0
        """Consumer events that found no room."""
        self.times_full = 0
        """How often the journal has been filled up."""

    # What comes in.

    def put_messages(self, client: Client, block: bytes, position: int, limit: int) -> int:
        """Queue the plain messages at the beginning of what a client has sent; returns where the rest begins.

        Never waits: it takes what the client has room for, and who calls it stops reading all when `is_full` says so.
        `flush` writes.
        """
        middle = event_time(time.time()) + client.event_tail
        events, position, self._seq = take_messages(
            block, position, limit, client.budget, client.count_budget, middle, self._seq
        )
        if events:
            self._waiting += events
            self._add(client, sum(map(len, events)), len(events))
        return position

    def _add(self, client: Client, size: int, count: int) -> None:
        """The events that have just been numbered are a client's."""
        client.charge(size, count)
        self._charges.append(Charge(client, size, count, self._seq - count + 1))
        self._size += size

    async def put(self, event: Frame, client: Client) -> None:
        """Queue a client's event; waits while the chain, or this client's share of it, is full."""
        size = _weight(event)
        while not self._closed and ((must_wait := client.must_wait(size)) or self.is_full):
            await (client.wait_share() if must_wait else self._room.park())
        self.put_at_once(event, client)

    def put_at_once(self, event: Frame, client: Client) -> None:
        """Queue a client's event that can't wait, or has waited already. No-op for a client that is barred."""
        if not client.is_barred:
            self._put(event, client)

    def _put(self, event: Frame, client: Client) -> None:
        """Queue an event that takes of a client's share."""
        stamped = self._stamped(event)
        frame = encode(stamped)
        if stamped["type"] == OPEN:
            client.open_event = frame
        self._waiting.append(frame)
        self._add(client, len(frame), 1)
        self._work.set()

    @property
    def is_full(self) -> bool:
        """Whether the chain is so slow that nobody may be read."""
        return self._size >= WAITING_LIMIT_BYTES or self._journal.size >= self._journal_limit

    @property
    def is_calm(self) -> bool:
        """Whether the chain is known to be at work on one batch at most."""
        return not self.swallows_ticks and self._journal.batches_under_way <= 1

    async def wait_room(self) -> None:
        """Wait while the feed is full."""
        while not self._closed and self.is_full:
            await self._room.park()

    def close(self, clients: Iterable[Client]) -> None:
        """There is no time left: whoever waits to put an event, or will, need not."""
        self._closed = True
        self._room.unpark_all()
        self._settled.unpark_all()
        for client in clients:
            client.stop_waiting()

    async def put_from_outside(self, event: Frame) -> None:
        """Queue an event that is no client's; waits while the chain is full. No-op after `shut_out`."""
        await self.wait_room()
        if not self._is_shut_out:
            self._append(event)

    def shut_out(self) -> None:
        """Take no more events from outside: the server ends, and a busy channel would keep the chain from settling."""
        self._is_shut_out = True

    def put_disconnect(self, event: Frame, client: Client) -> None:
        """Queue a client's last event, which never waits: its `open` has waited, and it is smaller."""
        self.put_at_once(event, client)
        if not client.is_barred:
            self._leaving[client.id] = client, self._seq

    def leaving(self, client_id: str) -> Client | None:
        """A client that has gone, while a new chain would still get its last events, and what groups it was in."""
        client, _ = self._leaving.get(client_id, (None, 0))
        return client

    def put_nowait(self, event: Frame, client: Client | None = None) -> bool:
        """Queue an event that the chain itself has caused. False, and counted, when there is no room.

        `client` had caused what the chain was at work on: the event takes of its share.

        Waiting would be a deadlock: the chain would wait for the front to take its actions, and the front for the
        chain to take this event. Clients wait instead, since these events fill the queue first.
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
        return stamp(event, self._seq, time.time())

    @property
    def kept(self) -> int:
        """How many bytes the journal holds: events that the chain has not finished."""
        return self._journal.size

    # What goes out.

    async def run(self, pipe: Outlet, known: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Write batches until `finish` is called. Raises OSError when nobody reads them.

        The first one at once: the snapshot, but for what the chain has been told (`known`, see `introduce`), and a tick
        that tells when the chain serves. Events follow when it is back, so that one which kills the chain does not pass
        for a chain that can't start: first again what is kept, then what waits.
        """
        self._rest = b""
        self._is_finishing = False
        snapshot, self._snapshot = self._snapshot, {}
        try:
            await self._introduce_all(pipe, list(self._news(snapshot, known)))
            if not self.swallows_ticks:
                await self.ready.wait()
            self._is_introduced = True
            if self._blame.last_chance > self._settled_seq:
                await self._give_time()
            await self._replay(pipe)
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
                elif (heartbeat.cancelled_caught or self._is_nudged) and not self._is_journal_full:
                    self._is_nudged = False
                    await pipe.write(self._take_batch())
                    self._note_written()
        finally:
            self._pipe = None

    def introduce(self, clients: Iterable[Client]) -> tuple[bytes, Mapping[str, bytes]]:
        """A snapshot of now and a tick, for a chain that is to show that it serves; and what it tells of whom."""
        known = {}
        for client in clients:
            opening = _opening_of(client) if client.is_open else None
            if opening is not None and opening["seq"] <= self._done_seq:
                known[client.id] = _snapshot_of(client, opening)
        return b"".join(known.values()) + self._first_tick(), known

    async def _introduce_all(self, pipe: Outlet, news: list[tuple[str, bytes]]) -> None:
        """Write what a chain hears first, and a tick; client by client where an earlier one has died before that."""
        self._is_introduced = not news
        if self._introductions.is_careful and not self.swallows_ticks:
            await self._write_and_wait_tick(pipe, b"")
            for client_id, event in news:
                if self._introductions.is_last_chance(client_id):
                    await self._give_time()
                self._introductions.at_hand = client_id
                await self._write_and_wait_tick(pipe, event)
            self._introductions.at_hand = None
            news = []
        await pipe.write(b"".join(event for _, event in news) + self._first_tick())

    async def _write_and_wait_tick(self, pipe: Outlet, event: bytes) -> None:
        ticks_back = self._ticks_back
        await pipe.write(event + self._first_tick())
        while self._ticks_back == ticks_back and not self._is_finishing:
            await self._settled.park()

    async def _give_time(self) -> None:
        """Wait before an event gets its last chance."""
        with trio.move_on_after(LAST_CHANCE_S):
            while not self._is_finishing:
                await self._settled.park()

    def _news(self, snapshot: Mapping[str, bytes], known: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """What a chain that knows so much must still hear; a client that has changed since goes, and comes again."""
        for client_id, opening in snapshot.items():
            if known.get(client_id) != opening:
                if client_id in known:
                    yield client_id, self._farewell(client_id)
                yield client_id, opening
        for client_id in known:
            if client_id not in snapshot:
                yield client_id, self._farewell(client_id)

    def _farewell(self, client_id: str) -> bytes:
        event = {**disconnect_event(client_id, code=ABNORMAL, reason="", clean=False), "replay": True}
        return encode(stamp(event, self._done_seq, time.time()))

    def _first_tick(self) -> bytes:
        """What tells, when it is back, that a chain serves.

        It repeats a number that is done with: what filters make of old numbers is suppressed.
        """
        return tick_frame(self._done_seq, event_time(time.time()))

    def finish(self) -> None:
        """Let `run` end where a frame ends: another chain gets what comes now."""
        self._is_finishing = True
        self._work.set()
        self._settled.unpark_all()

    async def _replay(self, pipe: Outlet) -> None:
        """Write again what is kept."""
        while self._journal.is_replaying and not self._is_finishing:
            batch = self._journal.next_to_write()
            if batch is None:
                await self._settled.park()
            else:
                await pipe.write(batch)

    @property
    def _is_journal_full(self) -> bool:
        return self._journal.size >= self._journal_limit

    async def _wait_journal(self) -> None:
        """Wait until another batch may be kept."""
        while self._is_journal_full and not self._is_finishing:
            await self._settled.park()

    def flush(self) -> None:
        """Write what waits, if the chain takes it at once; otherwise `run` does when it can."""
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
        if self.swallows_ticks:
            self._note_done(self._last_tick)
            self._settle(self._last_tick)

    def _take_batch(self) -> bytes:
        """What waits, with its tick; with one in between where it is much."""
        events, self._waiting = self._waiting, []
        charges, self._charges = self._charges, []
        self._size = 0
        if self._room:
            self._room.unpark_all()
        parts = []
        while len(events) > BATCH_EVENTS:
            # This tick has no number of its own, but that of the event before it.
            seq = next(frames_of(events[BATCH_EVENTS - 1 : BATCH_EVENTS])).event["seq"]
            parts.append(self._keep(events[:BATCH_EVENTS], seq, []))
            del events[:BATCH_EVENTS]
        self._seq += 1
        last = self._keep(events, self._seq, charges)
        if self._is_journal_full:
            self.times_full += 1
        return b"".join([*parts, last]) if parts else last

    def _keep(self, events: list[bytes], seq: int, charges: list[Charge[Client]]) -> bytes:
        count = len(events)
        events.append(tick_frame(seq, event_time(time.time())))
        batch = b"".join(events)
        if self.swallows_ticks:
            self.untracked += count
            _release(charges)
        else:
            self._journal.add(batch, seq, count, charges)
        self._last_tick = seq
        return batch

    # What comes back.

    def _settle(self, seq: int) -> None:
        self._settled_seq = max(seq, self._settled_seq)
        if self._settled:
            self._settled.unpark_all()
        if self._room and not self._is_journal_full:
            self._room.unpark_all()

    @property
    def acknowledged(self) -> int:
        """The last tick that is back: what the chain has answered up to there has been executed."""
        return self._settled_seq

    def has_written(self, tick: object) -> bool:
        """Whether a tick of this number can come back: what else comes has been made up by a filter."""
        return type(tick) is int and tick <= self._last_tick

    @property
    def last_event(self) -> int:
        """The number of the last event that there has been."""
        return self._seq

    def acknowledge(self, seq: int, *, is_confirmed: bool = True) -> None:
        """A tick that was written has come back; `is_confirmed`: nothing before it waits for Redis."""
        self.swallows_ticks = False
        self.untracked = 0
        self.returns_ticks = True
        self._ticks_back += 1
        self.ready.set()
        _release(self._journal.acknowledge(seq, is_confirmed=is_confirmed))
        if is_confirmed:
            self._note_done(seq)
        self._settle(seq)

    def note_life(self) -> None:
        """A filter waits for something else: the chain doesn't hang."""
        self._signs_of_life += 1

    def confirm(self, seq: int) -> None:
        """Nothing before this tick, which is back, waits for Redis any more; an old one is a sign of life."""
        self._signs_of_life += 1
        _release(self._journal.acknowledge(seq))
        self._note_done(seq)
        self._settle(seq)

    def _note_done(self, seq: int) -> None:
        self._done_seq = max(seq, self._done_seq)
        while self._leaving:
            client, departure = next(iter(self._leaving.values()))
            if departure > self._done_seq:
                break
            del self._leaving[client.id]

    def give_up_on_ticks(self) -> None:
        """No tick will come back: what is written counts as done, and recovery is at most once."""
        self.swallows_ticks = True
        self.ready.set()

    async def wait_idle(self) -> None:
        """Wait until every tick that was written is back; for ever with a chain that swallows them."""
        while self.swallows_ticks or self._journal.awaited is not None:
            await self._settled.park()

    def owner_of(self, seq: int) -> Client | None:
        """The client whose event has this number, as long as the chain is at work on it."""
        return self._journal.owner_of(seq)

    def owners_of(self, seqs: Iterable[object]) -> list[Client | None]:
        """The clients whose events have these numbers, as `owner_of`; None also for what is no number."""
        return self._journal.owners_of(seqs)

    @property
    def unfinished(self) -> int:
        """How many events the chain has not been seen to be done with."""
        return self._journal.events + len(self._waiting)

    async def wait_settled(self) -> None:
        """Wait until all that has been put so far is through the chain, or written to one that swallows ticks."""
        target = self._seq
        while self._settled_seq < target and not self._closed:
            await self._settled.park()

    async def wait_stalled(self, timeout_s: float) -> None:
        """Wait until the chain has returned no tick for so many seconds though it owes one; 0: for ever."""
        awaited, checks = (self._awaited_tick, self._ticks_back, self._signs_of_life), 0
        while not timeout_s or checks < _STALL_CHECKS:
            await trio.sleep(timeout_s / _STALL_CHECKS if timeout_s else math.inf)
            now = self._awaited_tick, self._ticks_back, self._signs_of_life
            checks = checks + 1 if now[0] is not None and now == awaited else 0
            awaited = now

    @property
    def ticks_under_way(self) -> tuple[int | None, int]:
        """The oldest tick that the chain has not returned, or None; and the last one that was written."""
        return self._journal.awaited, self._last_tick

    def nudge(self) -> None:
        """Write a tick now: it waits before a stage that does not read, which shows which one that is."""
        self._is_nudged = True
        self._work.set()

    @property
    def _awaited_tick(self) -> int | None:
        if not self.returns_ticks:
            return None  # how long its start takes nobody knows
        return self._journal.awaited if self.ready.is_set() else self._done_seq

    def restart(self, clients: Iterable[Client], *, has_died: bool = True) -> Restart:
        """The chain has died, or has made room for another one: prepare what the next one gets.

        First a snapshot: an `open` with `replay` for each client whose own one is not kept. Then all that is kept. A
        client that still waits at the gate is new to the next chain: nobody else will answer it.
        """
        culprit, is_careful = None, False
        if has_died:
            culprit, is_careful = self._find_culprit(clients)
        else:
            self._journal.restart()
            self._introductions.at_hand = None
        leaving = [client for client, _ in self._leaving.values()]
        self.untracked = 0  # they were lost with the chain, which was told
        self._snapshot = {}
        for client in [*clients, *leaving]:
            event = _opening_of(client)
            if event is None or event["seq"] > self._done_seq:
                continue
            if client.is_open or client.id in self._leaving:
                self._snapshot[client.id] = _snapshot_of(client, event)
            else:
                self.put_at_once({name: event[name] for name in event if name not in ("seq", "time")}, client)
        self._rest = b""
        self._work.set()
        self.ready = trio.Event()
        return Restart(self._journal.events + len(self._waiting), is_careful, culprit)

    def _opened(self, client_id: str | None, clients: Iterable[Client]) -> tuple[Client | None, Frame | None]:
        """The client of an id, also one that is leaving, and its `open`; None where there is none."""
        leaving = [client for client, _ in self._leaving.values()]
        client = next((client for client in [*clients, *leaving] if client.id == client_id), None)
        return client, None if client is None else _opening_of(client)

    def _find_culprit(self, clients: Iterable[Client]) -> tuple[Culprit | None, bool]:
        victim = self._introductions.note_death(is_over=self._is_introduced)
        if victim is not None:
            self._journal.restart()
            client, opening = self._opened(victim, clients)
            if client is None or opening is None:
                return None, False
            kept = next(frames_of([_snapshot_of(client, opening)]))
            self._bar(client)
            return Culprit(kept, b"", client), False
        oldest = self._journal.oldest_under_way()
        remedy = self._blame.note_death(
            None if oldest is None else oldest.event["seq"],
            self._journal.newest_under_way,
            self._journal.events_under_way,
        )
        is_careful = remedy is Remedy.BE_CAREFUL
        self._journal.restart(careful_until=self._blame.careful_until if is_careful else 0)
        if oldest is None or remedy is not Remedy.SKIP:
            return None, is_careful
        self._journal.skip(oldest.event["seq"])
        client, opening = self._opened(oldest.event.get("id"), clients)
        if client is None or opening is None:
            return Culprit(oldest, b""), False
        if oldest.event["type"] == OPEN:
            self._bar(client)
            return Culprit(oldest, b"", client), False
        return Culprit(oldest, _snapshot_of(client, opening)), False

    def _bar(self, client: Client) -> None:
        """Let no chain hear of a client again: whatever else it has sent makes no sense without its `open`."""
        client.is_barred = True
        client.open_event = b""
        self._leaving.pop(client.id, None)
        self._journal.leave_out(client.id)
        self._waiting = [raw for event, raw in frames_of(self._waiting) if event.get("id") != client.id]
        self._size = sum(map(len, self._waiting))
        self._is_nudged = True  # somebody may wait for the tick behind what is left out


def _weight(event: Frame) -> int:
    data = event.get("data", b"")
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())


def _opening_of(client: Client) -> Frame | None:
    """The `open` that told the chain of a client; None where none has, or may."""
    return next((event for event, _ in frames_of([client.open_event])), None)


def _snapshot_of(client: Client, opening: Frame) -> bytes:
    """The same as a new chain gets it."""
    now = {"auth": client.auth, "subprotocol": client.subprotocol, "groups": sorted(client.groups)}
    return encode({**opening, **now, "replay": True})


def _release(charges: Iterable[Charge[Client]]) -> None:
    """Free the owners of their charges."""
    for client, size, count, _ in charges:
        client.discharge(size, count)
