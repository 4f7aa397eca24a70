"""Keeps the events that were written to the chain until the tick behind them is back. No I/O.

Why nothing is lost and nothing is answered twice
-------------------------------------------------

Events and ticks are numbered in one order. Every batch of events is closed by a tick, and kept until that tick has come
out of the sink:

    feed --- e1 e2 t3 | e4 t5 ---> stage ---> stage ---> sink --- a1 a2 t3 ---> execution
      '------- kept: e1 e2, e4                                        | acknowledge(t3): e1 and e2 are forgotten

The invariant: an event is forgotten only when every action that it has caused has been executed. It holds because pipes
keep the order, every filter passes ticks on behind what it has made of the events before them, and the front executes
a block of actions before it acknowledges the tick at its end. So a death can only take events behind the last tick that
is back, and the journal still has all of these.

The schedule that tries to break it: the chain has answered e4, the answer has been executed, and a stage dies before t5
comes back. The next chain gets e4 again, and answers it again. progress.py leaves the second answer out: it remembers
the actions that were executed behind the last tick, by the `seq` that each action has from its event. Events keep their
numbers when they are written again, so e4 has the same number in both runs.

A tick may be back before Redis has confirmed the publishes before it. Then local service goes on, but the events are
not yet forgotten: a sink that dies now would lose the publish. Their batch no longer counts as under way, and stays
until the sink confirms it.

    to be written -> under way -> (back, but unconfirmed ->) forgotten
          ^------------ a new run of the chain -----'

When the chain dies, all kept events are written again, in order. If one of them may be the cause (blame.py), the events
that were in the chain are written one at a time, each with a tick of its own.

Batches are kept as the bytes that were written, so each costs only a few objects, however many events it holds. Some of
them are decoded again, but only after a death.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Generic, NamedTuple, TypeVar

from fws_pipe.protocol.codec import Frame, FrameDecoder, encode

OwnerT = TypeVar("OwnerT")

BATCH_BYTES = 500
"""The bytes of Python's objects that a batch counts beside its text, so that small batches don't exceed the limit."""


class Charge(NamedTuple, Generic[OwnerT]):
    """The part of a batch that is charged to one owner: `size` bytes in consecutive `events`."""

    owner: OwnerT
    size: int
    events: int
    first: int
    """The number of the first event."""


class Batch(NamedTuple, Generic[OwnerT]):
    """Events that are written at once, closed by the tick `seq`; `events` counts them without the tick."""

    data: bytes
    seq: int
    events: int
    charges: Sequence[Charge[OwnerT]]

    @property
    def size(self) -> int:
        """Its memory in bytes."""
        return len(self.data) + BATCH_BYTES


class Kept(NamedTuple):
    """An event that was kept, and its bytes."""

    event: Frame
    raw: bytes


class Journal(Generic[OwnerT]):
    """The batches that are kept, oldest first."""

    def __init__(self) -> None:
        self._unconfirmed: deque[Batch[OwnerT]] = deque()
        self._under_way: deque[Batch[OwnerT]] = deque()
        self._to_write: deque[Batch[OwnerT]] = deque()
        self._alone_until = 0
        """Batches up to this tick are written one at a time."""
        self.size = 0
        """The memory of all kept batches, in bytes."""

    # What is written.

    def add(self, data: bytes, seq: int, events: int, charges: Sequence[Charge[OwnerT]]) -> None:
        """Keep a new batch, which is being written. Not while `is_replaying`."""
        batch = Batch(data, seq, events, charges)
        self._under_way.append(batch)
        self.size += batch.size

    @property
    def is_replaying(self) -> bool:
        """Whether kept batches must still be written, or the one under way must be alone."""
        return bool(self._to_write) or self._is_one_alone

    @property
    def _is_one_alone(self) -> bool:
        return bool(self._under_way) and self._under_way[-1].seq <= self._alone_until

    def next_to_write(self) -> bytes | None:
        """The next batch to write again; None when there is none, or when the one under way must be alone."""
        if not self._to_write or self._is_one_alone:
            return None
        if self._under_way and self._to_write[0].seq <= self._alone_until:
            return None
        batch = self._to_write.popleft()
        self._under_way.append(batch)
        return batch.data

    # What comes back.

    def acknowledge(self, seq: int, *, is_confirmed: bool = True) -> list[Charge[OwnerT]]:
        """Note that the tick `seq` is back. Returns the charges that end with it.

        Forgets the batches up to this tick if `is_confirmed`; otherwise something in them waits for Redis, and a later
        call forgets them.
        """
        charges: list[Charge[OwnerT]] = []
        if is_confirmed:
            while self._unconfirmed and self._unconfirmed[0].seq <= seq:
                self.size -= self._unconfirmed.popleft().size
        while self._under_way and self._under_way[0].seq <= seq:
            batch = self._under_way.popleft()
            charges += batch.charges
            if is_confirmed:
                self.size -= batch.size
            else:
                self._unconfirmed.append(batch._replace(charges=()))
        return charges

    @property
    def awaited(self) -> int | None:
        """The number of the oldest tick that is not back, or None."""
        return self._under_way[0].seq if self._under_way else None

    def owner_of(self, seq: int) -> OwnerT | None:
        """The owner of the event of this number; None if it has no owner, or isn't in the chain."""
        charge = self._charge_of(seq)
        return None if charge is None else charge.owner

    def owners_of(self, seqs: Iterable[object]) -> list[OwnerT | None]:
        """The owner for each of these numbers, as `owner_of`; None also for an element that is no number.

        A client's events mostly follow each other, so one search finds the owner of many.
        """
        owners: list[OwnerT | None] = []
        owner: OwnerT | None = None
        first = end = 0
        for seq in seqs:
            if type(seq) is not int:
                owners.append(None)
                continue
            if not first <= seq < end:
                charge = self._charge_of(seq)
                owner, first, end = (
                    (None, 0, 0) if charge is None else (charge.owner, charge.first, charge.first + charge.events)
                )
            owners.append(owner)
        return owners

    def _charge_of(self, seq: int) -> Charge[OwnerT] | None:
        """The charge that the event of this number is in."""
        if not self._under_way or seq > self._under_way[-1].seq:
            return None
        # The charges of a batch that is written in parts are with the last of these.
        batches = chain(self._under_way, self._to_write)
        batch = next((batch for batch in batches if batch.seq >= seq and batch.charges), None)
        if batch is None:
            return None
        charge = batch.charges[max(bisect_right(batch.charges, seq, key=_first_of) - 1, 0)]
        return charge if charge.first <= seq < charge.first + charge.events else None

    @property
    def batches_under_way(self) -> int:
        """How many batches are in the chain."""
        return len(self._under_way)

    # What happens when a chain dies.

    @property
    def events(self) -> int:
        """How many events are kept."""
        return sum(batch.events for batches in self._all for batch in batches)

    @property
    def events_under_way(self) -> int:
        """How many events are in the chain."""
        return sum(batch.events for batch in self._under_way)

    @property
    def newest_under_way(self) -> int:
        """The number of the newest tick that is not back; 0: there is none."""
        return self._under_way[-1].seq if self._under_way else 0

    def oldest_under_way(self) -> Kept | None:
        """The oldest event in the chain, or None."""
        batch = next((batch for batch in self._under_way if batch.events), None)
        return None if batch is None else next(frames_of([batch.data]))

    def restart(self, *, careful_until: int = 0) -> None:
        """Prepare all batches to be written again, events up to the tick `careful_until` one at a time."""
        self._alone_until = max(self._alone_until, careful_until)
        kept = [batch for batches in self._all for batch in batches]
        self._unconfirmed.clear()
        self._under_way.clear()
        self._to_write.clear()
        self.size = 0
        before = 0
        for batch in kept:
            parts = _parts_of(batch) if before < self._alone_until and batch.events > 1 else [batch]
            self._to_write.extend(parts)
            self.size += sum(part.size for part in parts)
            before = batch.seq

    def skip(self, seq: int) -> None:
        """Leave out an event that has a batch of its own and is to be written again; the batch's tick stays."""
        for index, batch in enumerate(self._to_write):
            if batch.seq >= seq:
                *_, tick = frames_of([batch.data])
                self._to_write[index] = batch._replace(data=tick.raw, events=0)
                self.size -= len(batch.data) - len(tick.raw)
                return

    def leave_out(self, client_id: str) -> None:
        """Leave out a client's events from the batches to be written again; the ticks stay."""
        for index, batch in enumerate(self._to_write):
            frames = [kept for kept in frames_of([batch.data]) if kept.event.get("id") != client_id]
            data = b"".join(kept.raw for kept in frames)
            self.size -= len(batch.data) - len(data)
            self._to_write[index] = batch._replace(data=data, events=len(frames) - 1)

    @property
    def _all(self) -> tuple[deque[Batch[OwnerT]], ...]:
        return self._unconfirmed, self._under_way, self._to_write


def _first_of(charge: Charge[OwnerT]) -> int:
    return charge.first


def _parts_of(batch: Batch[OwnerT]) -> list[Batch[OwnerT]]:
    """A batch for each event, closed by a tick of the event's number; the last keeps its tick and charges."""
    *events, tick = frames_of([batch.data])
    parts: list[Batch[OwnerT]] = [
        Batch(raw + encode({**tick.event, "seq": event["seq"]}), event["seq"], 1, ()) for event, raw in events[:-1]
    ]
    return [*parts, batch._replace(data=events[-1].raw + tick.raw, events=1)]


def frames_of(blocks: Iterable[bytes]) -> Iterator[Kept]:
    """Decode blocks of whole frames that this server has encoded."""
    decoder = FrameDecoder("our own journal")
    for block in blocks:
        decoder.feed(block)
        for event, raw in decoder:
            yield Kept(event, raw)
