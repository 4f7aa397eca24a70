"""What stages write for people: whole lines, as they were written, and never waited for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.chain.stdout import LINE_LIMIT_BYTES, ServerStdout, StdoutCopier
from fws_pipe.log import Log
from fws_pipe.pipes.ends import PipeReader, make_pipe


@contextlib.asynccontextmanager
async def copied_to(passed: list[bytes]) -> AsyncIterator[int]:
    """A copier that passes on to this list, up to the end; gives the write end of its pipe."""
    pipe = make_pipe()
    reader = PipeReader(pipe.read_end)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(StdoutCopier(reader, passed.append).run)
        yield pipe.write_end
        os.close(pipe.write_end)
    reader.close()


def copied(blocks: list[bytes]) -> list[bytes]:
    """What a copier passes on of these, each written after the one before has been read."""
    passed: list[bytes] = []

    async def main() -> None:
        async with copied_to(passed) as write_end:
            for block in blocks:
                os.write(write_end, block)
                await trio.testing.wait_all_tasks_blocked(0.001)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.0))
    return passed


@given(st.lists(st.binary(min_size=1, max_size=20) | st.just(b"a\n"), max_size=6))
def test_nothing_is_lost_or_changed_and_lines_are_whole(blocks: list[bytes]) -> None:
    passed = copied(blocks)
    assert b"".join(passed) == b"".join(blocks)


def test_a_line_in_pieces_is_passed_on_as_one() -> None:
    assert copied([b"one\ntw", b"o\nthree"]) == [b"one\n", b"two\n", b"three"]


def test_the_rest_of_a_line_is_not_waited_for_for_ever() -> None:
    passed: list[bytes] = []

    async def main() -> None:
        async with copied_to(passed) as write_end:
            os.write(write_end, b"password: ")
            await trio.sleep(5)
            assert passed == [b"password: "]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.0))


def test_a_line_of_any_length_is_passed_on() -> None:
    passed: list[bytes] = []
    copier = StdoutCopier(PipeReader(os.dup(0)), passed.append)
    for _ in range(LINE_LIMIT_BYTES // 1000 + 1):
        copier._feed(b"x" * 1000)
    assert sum(map(len, passed)) >= LINE_LIMIT_BYTES


def test_only_the_child_has_the_lent_pipe_under_the_number() -> None:
    async def main() -> None:
        number = os.dup(0)
        stdout = ServerStdout(number, Log("p"))
        pipe = make_pipe(is_large=False)
        async with stdout.lent(pipe.write_end):
            assert os.path.sameopenfile(number, pipe.write_end)
        os.close(pipe.write_end)
        assert os.read(pipe.read_end, 1) == b"", "nobody has the write end any more"
        os.close(pipe.read_end)
        os.close(number)

    trio.run(main)
