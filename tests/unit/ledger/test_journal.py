"""The journal: whatever happens, every event that isn't confirmed is written to the next chain, in order, once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fws_pipe.ledger.journal import BATCH_BYTES, Charge, Journal, frames_of
from fws_pipe.protocol.codec import encode


def event_of(number: int, size: int = 1) -> bytes:
    return encode({"type": "message", "seq": number, "data": "x" * size})


def tick_of(number: int) -> bytes:
    return encode({"type": "tick", "seq": number})


def numbers_in(block: bytes) -> tuple[list[int], int]:
    """The events' numbers, and the tick's."""
    *events, tick = (kept.event for kept in frames_of([block]))
    assert tick["type"] == "tick"
    assert all(event["type"] == "message" for event in events)
    return [event["seq"] for event in events], tick["seq"]


class JournalMachine(RuleBasedStateMachine):
    """A journal between a front that writes batches and a chain that returns ticks, confirms them, and dies."""

    @initialize()
    def begin(self) -> None:
        self.journal: Journal[str] = Journal()
        self.seq = 0
        self.kept: list[int] = []
        """The events that are neither confirmed nor skipped."""
        self.not_back: list[int] = []
        """Those of them whose tick has never come back: their owner is charged for them."""
        self.in_chain: list[tuple[list[int], int]] = []
        """The batches that the chain of now has got, and whose tick it still owes."""
        self.unconfirmed: list[int] = []
        """Ticks that are back, but not confirmed."""
        self.confirmed = 0
        self.charge = 0
        self.alone_until = 0

    @precondition(lambda self: not self.journal.is_replaying)
    @rule(count=st.integers(0, 4))
    def write(self, count: int) -> None:
        numbers = list(range(self.seq + 1, self.seq + 1 + count))
        self.seq += count + 1
        data = b"".join(map(event_of, numbers)) + tick_of(self.seq)
        self.journal.add(data, self.seq, count, [Charge("me", count, count, self.seq - count + 1)])
        self.charge += count
        self.kept += numbers
        self.in_chain.append((numbers, self.seq))

    @precondition(lambda self: self.journal.is_replaying)
    @rule()
    def write_again(self) -> None:
        batch = self.journal.next_to_write()
        if batch is None:
            assert self.in_chain  # something that is under way must come back before
            return
        numbers, tick = numbers_in(batch)
        if numbers and numbers[0] <= self.alone_until:
            assert len(numbers) == 1
            assert not any(others for others, _ in self.in_chain)
        self.in_chain.append((numbers, tick))

    @precondition(lambda self: self.in_chain)
    @rule(is_confirmed=st.booleans())
    def tick_back(self, is_confirmed: bool) -> None:
        _, tick = self.in_chain.pop(0)
        charges = self.journal.acknowledge(tick, is_confirmed=is_confirmed)
        self.charge -= sum(charge.size for charge in charges)
        self._settle(tick, is_confirmed=is_confirmed)

    @precondition(lambda self: self.unconfirmed)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        tick = data.draw(st.sampled_from(self.unconfirmed))
        assert self.journal.acknowledge(tick) == []
        self._settle(tick, is_confirmed=True)

    def _settle(self, tick: int, *, is_confirmed: bool) -> None:
        if is_confirmed:
            self.confirmed = tick
            self.kept = [number for number in self.kept if number > tick]
            self.unconfirmed = [other for other in self.unconfirmed if other > tick]
        else:
            self.unconfirmed.append(tick)

    @rule(careful=st.booleans())
    def die(self, careful: bool) -> None:
        under_way = [number for numbers, _ in self.in_chain for number in numbers]
        oldest = self.journal.oldest_under_way()
        assert (oldest.event["seq"] if oldest else None) == (under_way[0] if under_way else None)
        assert self.journal.events_under_way == len(under_way)
        newest = self.in_chain[-1][1] if self.in_chain else 0
        assert self.journal.newest_under_way == newest
        self.journal.restart(careful_until=newest if careful else 0)
        if careful and under_way:
            self.alone_until = max(self.alone_until, under_way[-1])
        if careful and len(under_way) == 1:
            self.journal.skip(under_way[0])
            self.kept.remove(under_way[0])
        self.in_chain, self.unconfirmed = [], []

    @invariant()
    def nothing_is_missing(self) -> None:
        assert self.journal.events == len(self.kept)
        assert self.journal.awaited == (self.in_chain[0][1] if self.in_chain else None)

    def teardown(self) -> None:
        """One more chain, which does its work: it gets all that is kept, in order, and everybody is free."""
        self.journal.restart()
        got: list[int] = []
        under_way: list[int] = []
        while self.journal.is_replaying:
            batch = self.journal.next_to_write()
            if batch is None:
                self.charge -= sum(charge.size for charge in self.journal.acknowledge(under_way.pop(0)))
                continue
            numbers, tick = numbers_in(batch)
            got += numbers
            under_way.append(tick)
        for tick in under_way:
            self.charge -= sum(charge.size for charge in self.journal.acknowledge(tick))
        assert got == self.kept
        assert self.charge == 0
        assert self.journal.size == 0
        assert self.journal.events == 0


TestJournal = JournalMachine.TestCase


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=5))
def test_the_size_is_what_is_kept(sizes: list[int]) -> None:
    journal: Journal[str] = Journal()
    for number, size in enumerate(sizes):
        journal.add(event_of(number, size) + tick_of(number), number, 1, [])
    total = sum(len(event_of(number, size) + tick_of(number)) + BATCH_BYTES for number, size in enumerate(sizes))
    assert journal.size == total
    journal.restart(careful_until=1 << 30)
    assert journal.size == total
    journal.skip(0)
    assert journal.size == total - len(event_of(0, sizes[0]))


def test_an_acknowledgement_covers_all_before_it() -> None:
    journal: Journal[int] = Journal()
    for seq in (1, 2, 3):
        journal.add(event_of(seq) + tick_of(seq), seq, 1, [Charge(seq, 1, 1, seq)])
    assert [charge.owner for charge in journal.acknowledge(2)] == [1, 2]
    assert journal.acknowledge(2) == []


def test_whose_an_event_is_that_the_chain_is_at_work_on() -> None:
    journal: Journal[str] = Journal()
    assert journal.owner_of(1) is None
    data = b"".join(map(event_of, range(1, 7))) + tick_of(7)
    # 1 and 2 are a's, 4 and 5 b's, 6 a's; 3 is nobody's.
    charges = [Charge("a", 2, 2, 1), Charge("b", 2, 2, 4), Charge("a", 1, 1, 6)]
    journal.add(data, 7, 6, charges)
    journal.add(tick_of(8), 8, 0, [])
    journal.add(event_of(9) + tick_of(10), 10, 1, [Charge("c", 1, 1, 9)])
    owners = ["a", "a", None, "b", "b", "a", None, None, "c", None, None]
    assert [journal.owner_of(seq) for seq in range(1, 12)] == owners
    assert journal.owner_of(0) is None
    assert journal.owners_of([*range(1, 12), 0, 5, None, "4", 5]) == [*owners, None, "b", None, None, "b"]
    # One at a time again: 4 is still b's.
    journal.restart(careful_until=7)
    assert journal.owner_of(1) is None
    for seq in (1, 2, 3, 4):
        assert journal.next_to_write() == event_of(seq) + tick_of(seq)
        assert [journal.owner_of(number) for number in (seq, seq + 1)] == [owners[seq - 1], None]
        journal.acknowledge(seq)
