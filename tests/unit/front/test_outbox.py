"""The outbox against a plain byte string, whatever the kernel takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.front.outbox import Outbox


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=300), st.integers(1, 400)), max_size=30))
def test_what_comes_out_is_what_went_in(steps: list[bytes | int]) -> None:
    outbox = Outbox(limit=10**6)
    expected = taken = b""
    for step in steps:
        if isinstance(step, bytes):
            outbox.append(step)
            expected += step
        elif outbox:
            part = outbox.next_bytes()[:step]
            taken += part
            outbox.advance(len(part))
        assert outbox.size == len(expected) - len(taken)
    while outbox:
        part = outbox.next_bytes()
        taken += part
        outbox.advance(len(part))
    assert taken == expected


def test_large_frames_are_not_joined_and_small_ones_are() -> None:
    outbox = Outbox(limit=10**7)
    for frame in (b"a", b"b", b"c" * 10**6, b"d"):
        outbox.append(frame)
    assert bytes(outbox.next_bytes()) == b"ab" + b"c" * 10**6
    large = Outbox(limit=10**7)
    large.append(b"c" * 10**6)
    large.append(b"d")
    assert len(large.next_bytes()) == 10**6


def test_it_is_full_by_bytes_but_takes_one_frame_of_any_size() -> None:
    outbox = Outbox(limit=100)
    assert outbox.fits(5000)
    outbox.append(b"x" * 60)
    assert outbox.fits(40)
    assert not outbox.fits(41)


def test_dropping_keeps_the_rest_of_a_frame_that_has_begun() -> None:
    outbox = Outbox(limit=100)
    outbox.append(b"x" * 10)
    outbox.drop_unstarted()
    assert not outbox
    outbox.append(b"y" * 10)
    outbox.next_bytes()
    outbox.advance(4)
    outbox.append(b"z" * 10)
    outbox.drop_unstarted()
    assert bytes(outbox.next_bytes()) == b"y" * 6
