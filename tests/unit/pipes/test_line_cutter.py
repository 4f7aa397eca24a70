"""Lines come out as they went in, wherever the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.pipes.line_cutter import LineCutter

LIMIT = 8
blocks = st.lists(st.text("ab\r\n", max_size=20).map(str.encode))


def cut(cutter: LineCutter, stream: list[bytes]) -> list[bytes]:
    return [line for block in stream for line in cutter.feed(block)] + cutter.finish()


def lines_of(whole: bytes) -> list[bytes]:
    *lines, last = whole.split(b"\n")
    return [*lines, last] if last else lines


@given(blocks)
def test_every_line_comes_once_and_the_last_one_needs_no_newline(stream: list[bytes]) -> None:
    assert cut(LineCutter(1000), stream) == lines_of(b"".join(stream))


@given(blocks)
def test_a_line_over_the_limit_is_left_out_and_counted_and_no_other(stream: list[bytes]) -> None:
    cutter = LineCutter(LIMIT)
    lines = lines_of(b"".join(stream))
    assert cut(cutter, stream) == [line for line in lines if len(line) <= LIMIT]
    assert cutter.dropped == sum(len(line) > LIMIT for line in lines)


@given(blocks)
def test_or_it_comes_in_pieces(stream: list[bytes]) -> None:
    cutter = LineCutter(LIMIT, is_splitting=True)
    pieces = [
        line[start : start + LIMIT] for line in lines_of(b"".join(stream)) for start in range(0, len(line) or 1, LIMIT)
    ]
    assert cut(cutter, stream) == pieces
    assert cutter.dropped == 0


def test_what_has_no_end_does_not_fill_the_memory() -> None:
    for is_splitting in (False, True):
        cutter = LineCutter(LIMIT, is_splitting=is_splitting)
        for _ in range(1000):
            cutter.feed(b"xxx")
            assert sum(map(len, cutter._parts)) <= LIMIT


@pytest.mark.parametrize("last", [b"a", b"a" * 2 * LIMIT])
def test_another_stream_may_follow(last: bytes) -> None:
    cutter = LineCutter(LIMIT)
    cut(cutter, [last])
    assert cut(cutter, [b"b\n"]) == [b"b"]
