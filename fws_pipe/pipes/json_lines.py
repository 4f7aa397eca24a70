"""Reads frames from lines of JSON on stdin, for fws-emit, fws-test and from_json."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from fws_pipe.errors import UsageError
from fws_pipe.pipes.blocks import lines_of_blocks, say
from fws_pipe.protocol.codec import Frame, encode, type_of
from fws_pipe.protocol.json_form import JsonFormError, decode_line, is_blank, with_binary_from


def frames_of_json(
    program: str,
    after_block: Callable[[], None],
    check: Callable[[Frame], None] = lambda frame: None,
    on_dropped: Callable[[], None] = lambda: None,
    binary: str | None = None,
) -> Iterator[tuple[Frame, bytes]]:
    """Yield the frame of each line of JSON on stdin, with its bytes as msgpack.

    A line that holds no frame, or one for which `check` raises JsonFormError, is dropped with a message on stderr that
    begins with `program`, and `on_dropped` is called. Blank lines are skipped. `after_block` is called before each wait
    for more input. `binary` names a field that holds binary data as base64, if there is one.
    """
    for number, line in enumerate(lines_of_blocks(after_block), start=1):
        if is_blank(line):
            continue
        try:
            frame, raw = decode_line(line)
            if binary is not None and binary in frame:
                frame = with_binary_from(binary, frame)
                raw = encode(frame)
            check(frame)
        except JsonFormError as error:
            say(f"{program}: line {number}: {error}; dropped")
            on_dropped()
            continue
        yield frame, raw


def check_type(frame: Frame) -> None:
    """Raise JsonFormError for a frame without a text type: filters pass one on, but making one is a mistake."""
    if type_of(frame) is None:
        raise JsonFormError("a frame must have a type")


def binary_field(program: str) -> str | None:
    """The field that the arguments name: `--binary FIELD`; None without. Raises UsageError for other arguments."""
    match sys.argv[1:]:
        case []:
            return None
        case ["--binary", field] if field not in ("", "type", "data"):
            return field
    raise UsageError(f"expected nothing, or --binary FIELD: {program} --binary data64")
