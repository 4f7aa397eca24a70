"""What is held back of what a client has sent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.websocket.backlog import Backlog, FragmentedMessage
from fws_pipe.websocket.outbox import OBJECT_BYTES


@given(st.lists(st.tuples(st.binary(max_size=20), st.integers(0, 30))))
def test_bytes_come_out_as_they_went_in(steps: list[tuple[bytes, int]]) -> None:
    backlog, expected = Backlog(), b""
    for block, taken in steps:
        backlog.add(block)
        expected += block
        assert backlog.size == len(expected)
        assert backlog.size <= backlog.weight
        assert backlog.look() == expected
        expected = expected[taken:]
        backlog.keep(expected)
    assert backlog.look() == expected


def test_what_the_first_frame_waits_for_is_found_out_anew_at_each_look() -> None:
    backlog = Backlog()
    backlog.add(b"abc")
    backlog.need(10)
    backlog.want(4)
    backlog.add(b"def")
    assert (backlog.needed, backlog.wanted) == (10, 4)
    backlog.look()
    assert (backlog.needed, backlog.wanted) == (1, 1)


def test_many_small_blocks_weigh_more_than_their_bytes() -> None:
    backlog = Backlog()
    for _ in range(100):
        backlog.add(b"x")
    assert backlog.weight == 100 + 100 * OBJECT_BYTES
    backlog.keep(b"")
    assert backlog.weight == 0


def test_fragments_of_nothing_weigh_as_well() -> None:
    message = FragmentedMessage()
    message.add(b"header", 0)
    message.add(b"header12345", 5)
    assert (message.fragments, message.size) == (2, 5)
    assert message.frames == b"headerheader12345"
    assert message.weight == 2 * (5 + 2 * OBJECT_BYTES)
