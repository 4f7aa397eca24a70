"""The journal: what has not been read is found again, to the frame."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.front.journal import Entry, Journal

TICK = b"tick"


def entry(frame: bytes) -> Entry[str]:
    return Entry(frame, "message", None)


batches_of_sizes = st.lists(st.lists(st.integers(1, 50), max_size=5), max_size=6)


@given(batches_of_sizes, st.data())
def test_every_entry_is_read_or_unread_and_none_is_cut(sizes: list[list[int]], data: st.DataObject) -> None:
    journal: Journal[str] = Journal()
    written = b""
    ends: list[tuple[Entry[str], int]] = []
    for seq, batch in enumerate(sizes):
        entries = [entry(bytes(size)) for size in batch]
        start = len(written)
        written += journal.add(entries, TICK, seq)
        for made in entries:
            start += len(made.frame)
            ends.append((made, start))
    consumed = data.draw(st.integers(0, len(written)))
    read, unread = journal.end(consumed)
    assert read == [made for made, end in ends if end <= consumed]
    assert unread == [made for made, end in ends if end > consumed]
    assert journal.end(0) == ([], [])


def test_an_acknowledged_batch_is_forgotten_and_the_offsets_stay() -> None:
    journal: Journal[str] = Journal()
    first, second = entry(b"aaa"), entry(b"bbb")
    assert journal.add([first], TICK, 1) == b"aaatick"
    journal.add([second], TICK, 2)
    assert list(journal.entries()) == [first, second]
    assert list(journal.acknowledge(1)) == [first]
    assert journal.end(7) == ([], [second])


def test_an_acknowledgement_covers_all_before_it() -> None:
    journal: Journal[str] = Journal()
    for seq in (1, 2, 3):
        journal.add([entry(b"%d" % seq)], TICK, seq)
    assert [made.frame for made in journal.acknowledge(2)] == [b"1", b"2"]
    assert list(journal.acknowledge(2)) == []


def test_forgetting_by_offset_keeps_what_may_be_unread() -> None:
    journal: Journal[str] = Journal()
    journal.add([entry(b"aaa")], TICK, 1)
    journal.add([entry(b"bbb")], TICK, 2)
    journal.forget_before(6)
    assert len(list(journal.entries())) == 2
    journal.forget_before(7)
    assert [made.frame for made in journal.entries()] == [b"bbb"]
