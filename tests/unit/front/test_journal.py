"""The journal: what has not been read is found again, to the frame."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.front.journal import Charge, Journal, Kept
from fws_pipe.protocol.codec import encode


def kept(number: int, size: int = 1) -> Kept:
    event = {"type": "message", "seq": number, "data": "x" * size}
    return Kept(event, encode(event))


def data_of(*events: Kept) -> bytes:
    return b"".join(event.raw for event in events)


batches_of_sizes = st.lists(st.lists(st.integers(1, 50), max_size=5), max_size=6)


@given(batches_of_sizes, st.data())
def test_every_event_is_read_or_unread_and_none_is_cut(sizes: list[list[int]], data: st.DataObject) -> None:
    journal: Journal[str] = Journal()
    written = 0
    ends: list[tuple[Kept, int]] = []
    for seq, batch in enumerate(sizes):
        events = [kept(number, size) for number, size in enumerate(batch)]
        for event in events:
            written += len(event.raw)
            ends.append((event, written))
        journal.add(data_of(*events), seq, [])
    consumed = data.draw(st.integers(0, written))
    read, unread = journal.end(consumed)
    assert read == [event for event, end in ends if end <= consumed]
    assert unread == [event for event, end in ends if end > consumed]
    assert journal.end(0) == ([], [])


def test_an_acknowledged_batch_is_forgotten_and_the_offsets_stay() -> None:
    journal: Journal[str] = Journal()
    first, second = kept(1), kept(2)
    mine, yours = Charge("me", 10, 1), Charge("you", 20, 2)
    journal.add(first.raw, 1, [mine])
    journal.add(second.raw, 2, [yours])
    assert list(journal.charges()) == [mine, yours]
    assert list(journal.acknowledge(1)) == [mine]
    assert journal.end(len(first.raw)) == ([], [second])


def test_an_acknowledgement_covers_all_before_it() -> None:
    journal: Journal[int] = Journal()
    for seq in (1, 2, 3):
        journal.add(kept(seq).raw, seq, [Charge(seq, 1, 1)])
    assert [charge.owner for charge in journal.acknowledge(2)] == [1, 2]
    assert list(journal.acknowledge(2)) == []


def test_forgetting_by_offset_keeps_what_may_be_unread() -> None:
    journal: Journal[int] = Journal()
    size = len(kept(1).raw)
    for seq in (1, 2):
        journal.add(kept(seq).raw, seq, [Charge(seq, 1, 1)])
    journal.forget_before(size - 1)
    assert len(list(journal.charges())) == 2
    journal.forget_before(size)
    assert [charge.owner for charge in journal.charges()] == [2]
