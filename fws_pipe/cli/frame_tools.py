"""fws-cat and fws-emit: frames for people and shells, with no server at all."""

from __future__ import annotations

import base64
import binascii
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from fws_pipe.errors import EXIT_USAGE, SystemRefusedError
from fws_pipe.pipes.blocks import BlockWriter, frames_of_blocks, lines_of_blocks, run_program, say
from fws_pipe.protocol.actions import ACTION_TYPES
from fws_pipe.protocol.codec import Frame, encode, type_of
from fws_pipe.protocol.events import EVENT_TYPES
from fws_pipe.protocol.json_form import JsonFormError, decode_line, from_json, is_blank, to_json

_CAT_HELP = """usage: fws-cat [FILE…]

Prints frames as JSON, an object a line. Without a FILE, or for -, from stdin.
Bytes become "\\u0010base64:…"; fws-emit and from_json read the same form.
"""

_EMIT_HELP = """usage: fws-emit TYPE [--FIELD VALUE…]
       fws-emit < LINES

Writes frames on stdout: one, from its arguments, or one for each line of JSON on stdin.

  fws-emit message --id a --data hello          text
  fws-emit message --id a --base64 data=AAEC    bytes
  fws-emit send --to '*' --except a --data hi
  fws-emit open --id a --json headers='[["origin", "x"]]'   any JSON value, with --json FIELD=VALUE

seq and time are filled in where they are missing.
"""

_NUMBERS = frozenset({"seq", "code"})


def cat_main() -> None:
    """Run fws-cat."""
    paths = sys.argv[1:] or ["-"]
    if paths[0] in ("-h", "--help"):
        print(_CAT_HELP, end="")
        return
    run_program("fws-cat", lambda: _cat(paths))


def _cat(paths: Sequence[str]) -> None:
    output = BlockWriter()
    for path in paths:
        descriptor = 0 if path == "-" else _open(path)
        for frame, raw in frames_of_blocks("stdin" if path == "-" else path, output.flush, descriptor):
            output.add(to_json(frame, raw))
        output.flush()


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise SystemRefusedError(f"can't read {path}: {error.strerror}") from None


def emit_main() -> None:
    """Run fws-emit."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("-h", "--help"):
        print(_EMIT_HELP, end="")
        return
    run_program("fws-emit", lambda: _emit(arguments))


def _emit(arguments: Sequence[str]) -> None:
    output = BlockWriter()
    if arguments:
        try:
            output.add(encode(_completed(_frame_of(arguments), 1)))
        except (OverflowError, ValueError) as error:
            _fail(f"this has no msgpack form ({error})")
    else:
        for seq, (frame, raw) in enumerate(frames_of_json("fws-emit", output.flush, _check_type), start=1):
            completed = _completed(frame, seq)
            output.add(raw if completed is frame else encode(completed))
    output.flush()


def _completed(frame: Frame, seq: int) -> Frame:
    if frame["type"] not in EVENT_TYPES:
        return frame
    return {"type": frame["type"], "seq": seq, "time": time.time(), **frame}


def _frame_of(arguments: Sequence[str]) -> Frame:
    kind, *rest = arguments
    if kind.startswith("-"):
        _fail(f"expected a type first, such as message, got {kind!r}")
    if kind not in EVENT_TYPES | ACTION_TYPES:
        say(f"fws-emit: {kind!r} is no known type; it is written all the same")
    frame: dict[str, Any] = {"type": kind}
    while rest:
        flag, *rest = rest
        if not flag.startswith("--") or not rest:
            _fail(f"expected --FIELD VALUE, got {flag!r}" + ("" if rest else " at the end"))
        value, *rest = rest
        if flag in _FORMS:
            name, equals, text = value.partition("=")
            if not equals:
                _fail(f"expected {flag} FIELD=VALUE, got {value!r}")
            frame[name] = _FORMS[flag](text)
        else:
            frame[flag[2:]] = _field(flag[2:], value)
    return frame


def _field(name: str, text: str) -> object:
    if name in _NUMBERS:
        try:
            return int(text)
        except ValueError:
            _fail(f"--{name}: expected a whole number, got {text!r}")
    return text


def _base64_value(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        _fail(f"--base64: this is not base64: {text!r}")


def _json_value(text: str) -> object:
    try:
        return from_json(b'{"value":' + os.fsencode(text) + b"}")["value"]
    except JsonFormError as error:
        _fail(f"--json: {error}")


_FORMS: dict[str, Callable[[str], object]] = {"--json": _json_value, "--base64": _base64_value}
"""What a field's value may be besides text."""


def _fail(problem: str) -> NoReturn:
    say(f"fws-emit: {problem}; see fws-emit --help")
    sys.exit(EXIT_USAGE)


def _check_type(frame: Frame) -> None:
    """Raise JsonFormError for a frame without a text type: filters pass it on, but to make one is a mistake."""
    if type_of(frame) is None:
        raise JsonFormError("a frame must have a type")


def frames_of_json(
    program: str, after_block: Callable[[], None], check: Callable[[Frame], None] = lambda frame: None
) -> Iterator[tuple[Frame, bytes]]:
    """The frames of the lines of JSON on stdin, with their bytes; a line that holds none is told and dropped.

    So is one for whose frame `check` raises JsonFormError.
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
