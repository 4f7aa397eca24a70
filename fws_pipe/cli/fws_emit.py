"""fws-emit: makes frames from arguments or lines of JSON, for people and shells; it needs no server."""

from __future__ import annotations

import base64
import binascii
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from fws_pipe.errors import EXIT_USAGE
from fws_pipe.pipes.blocks import BlockWriter, run_program, say
from fws_pipe.pipes.json_lines import check_type, frames_of_json
from fws_pipe.protocol.actions import ACTION_TYPES
from fws_pipe.protocol.codec import Frame, encode
from fws_pipe.protocol.events import EVENT_TYPES
from fws_pipe.protocol.json_form import JsonFormError, from_json

HELP = """usage: fws-emit TYPE [--FIELD VALUE…]
       fws-emit < LINES

Writes one frame on stdout, made from the arguments; without arguments one frame for each line of JSON on stdin.

  fws-emit message --id a --data hello          text
  fws-emit message --id a --base64 data=AAEC    bytes
  fws-emit send --to '*' --except a --data hi
  fws-emit open --id a --json headers='[["origin", "x"]]'   any JSON value, with --json FIELD=VALUE

Missing seq and time of events are filled in.
"""

_NUMBERS = frozenset({"seq", "code"})


def main() -> None:
    """Run fws-emit."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    run_program("fws-emit", lambda: _emit(arguments))


def _emit(arguments: Sequence[str]) -> None:
    output = BlockWriter()
    if arguments:
        try:
            output.add(encode(_completed(_frame_of(arguments), 1)))
        except (OverflowError, ValueError) as error:
            _fail(f"the frame has no msgpack form ({error})")
    else:
        for seq, (frame, raw) in enumerate(frames_of_json("fws-emit", output.flush, check_type), start=1):
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
        say(f"fws-emit: {kind!r} is no known type; the frame is written anyway")
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
"""The options that give a field a value other than text, and their parsers."""


def _fail(problem: str) -> NoReturn:
    say(f"fws-emit: {problem}; see fws-emit --help")
    sys.exit(EXIT_USAGE)
