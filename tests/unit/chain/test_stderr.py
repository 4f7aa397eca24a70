"""A stage's stderr reaches the log line by line, and nothing in it can act on a terminal."""

from __future__ import annotations

import os
import tempfile

import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from fws_pipe.chain.stderr import LINE_LIMIT, StderrCopier
from fws_pipe.log import Log
from fws_pipe.pipes.ends import PipeReader, make_pipe
from fws_pipe.terminal import one_line_with_tabs


def copied(blocks: list[bytes]) -> tuple[list[str], str]:
    """The lines that the log shows of these blocks, each written after the one before has been read; the last words."""
    with tempfile.TemporaryFile() as shown:
        log = Log("p", descriptor=shown.fileno())
        pipe = make_pipe()
        reader = PipeReader(pipe.read_end)
        relay = StderrCopier(reader, "s", 5, log)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(relay.run)
                for block in blocks:
                    await trio.to_thread.run_sync(os.write, pipe.write_end, block)
                    await trio.testing.wait_all_tasks_blocked(0.001)
                os.close(pipe.write_end)
            reader.close()

        trio.run(main)
        log.close()
        shown.seek(0)
        return [line.removeprefix("s: ") for line in shown.read().decode().split("\n")[:-1]], relay.last_words


hostile = st.lists(
    st.sampled_from([b"\x1b[2J", b"\x9b", b"\xc2\x9b", "\u202e é\u2028".encode(), b"\r", b"\t", b"\n", b"word"])
    | st.binary(max_size=5),
    min_size=1,
    max_size=12,
).map(b"".join)


@given(hostile.filter(bool), st.integers(0, 60))
@example("a\u202eb\n".encode(), 2)
def test_lines_are_escaped_wherever_they_are_cut_between_two_reads(text: bytes, cut: int) -> None:
    lines = text.decode(errors="backslashreplace").split("\n")
    if not lines[-1]:
        lines.pop()
    shown, last_words = copied([block for block in (text[:cut], text[cut:]) if block])
    assert shown == [one_line_with_tabs(line) for line in lines]
    assert last_words == next((line for line in reversed(shown) if line.strip()), "")


def test_a_longer_line_comes_in_pieces() -> None:
    shown, _ = copied([b"\x1b" * 60_000] * 5 + [b"\nend"])
    assert max(map(len, shown)) == LINE_LIMIT
    assert "".join(shown) == r"\x1b" * 300_000 + "end"
