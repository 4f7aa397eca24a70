"""Lines come out as they went in, however the stream is cut; only those over the limit don't."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.inputs.lines import Line, LineSplitter, TooLong

LIMIT = 8

streams = st.lists(st.binary(max_size=2 * LIMIT).filter(lambda line: b"\n" not in line))


def expected(raw: bytes) -> Line:
    if len(raw) > LIMIT:
        return TooLong(len(raw))
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


@given(streams, st.binary(max_size=2 * LIMIT).filter(lambda line: b"\n" not in line), st.lists(st.integers(0, 40)))
def test_lines_come_out_as_they_went_in_wherever_the_stream_is_cut(
    lines: list[bytes], last: bytes, sizes: list[int]
) -> None:
    stream = b"".join(line + b"\n" for line in lines) + last
    splitter = LineSplitter(LIMIT)
    found: list[Line] = []
    for size in [*sizes, len(stream)]:
        block, stream = stream[:size], stream[size:]
        found += splitter.feed(block)
    found += splitter.finish()
    assert found == [expected(line) for line in [*lines, *([last] if last else [])]]


def test_a_line_without_an_end_takes_no_more_memory_than_the_limit() -> None:
    splitter = LineSplitter(LIMIT)
    for _ in range(1000):
        assert list(splitter.feed(b"x" * LIMIT)) == []
        assert sum(map(len, splitter._parts)) <= LIMIT
    assert list(splitter.feed(b"\nnext\n")) == [TooLong(1000 * LIMIT), "next"]


def test_streams_may_follow_each_other() -> None:
    splitter = LineSplitter(LIMIT)
    assert [*splitter.feed(b"a"), *splitter.finish(), *splitter.feed(b"b\n"), *splitter.finish()] == ["a", "b"]
