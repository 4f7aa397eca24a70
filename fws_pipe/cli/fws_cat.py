"""fws-cat: prints frames as lines of JSON, for people and shells, with no server at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from fws_pipe.errors import SystemRefusedError
from fws_pipe.pipes.blocks import BlockWriter, frames_of_blocks, run_program
from fws_pipe.protocol.json_form import to_json

_HELP = """usage: fws-cat [FILE…]

Prints frames as JSON, an object a line. Without a FILE, or for -, from stdin.
Bytes become "\\u0010base64:…"; fws-emit and from_json read the same form.
"""


def main() -> None:
    """Run fws-cat."""
    paths = sys.argv[1:] or ["-"]
    if paths[0] in ("-h", "--help"):
        print(_HELP, end="")
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
