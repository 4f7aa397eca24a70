"""Frames from lines of JSON on stdin, for fws-emit and from_json."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fws_pipe.pipes.blocks import lines_of_blocks, say
from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.json_form import JsonFormError, decode_line, is_blank


def frames_of_json(
    program: str, after_block: Callable[[], None], check: Callable[[Frame], None] = lambda frame: None
) -> Iterator[tuple[Frame, bytes]]:
    """Yield the frame of each line of JSON on stdin, with its bytes as msgpack.

    A line that holds no frame, or one for which `check` raises JsonFormError, is dropped, and told on stderr in the
    name of `program`. Blank lines are skipped. `after_block` is called before each wait for more input.
    """
    for number, line in enumerate(lines_of_blocks(after_block), start=1):
        if is_blank(line):
            continue
        try:
            frame, raw = decode_line(line)
            check(frame)
        except JsonFormError as error:
            say(f"{program}: line {number}: {error}; dropped")
            continue
        yield frame, raw
