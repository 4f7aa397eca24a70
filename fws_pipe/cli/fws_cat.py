"""fws-cat: prints frames as lines of JSON, for people and shells; it needs no server."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence

from fws_pipe.errors import SystemRefusedError
from fws_pipe.pipes.blocks import STDIN, STDOUT, BlockWriter, frames_of_blocks, run_program
from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.events import TICK
from fws_pipe.protocol.json_form import to_json

_EPILOG = """Bytes become "\\u0010base64:…"; fws-emit and from_json read the same form. On a terminal the lines have
colours, unless NO_COLOR is set (https://no-color.org).
"""

_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(:?)|(-?\d[\d.eE+-]*|true|false|null)')
"""A string, or a key when a colon follows; or another scalar (RFC 8259)."""

_KEY, _TEXT, _SCALAR, _END = "\x1b[34m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
"""Blue, green, yellow and the terminal's own (ECMA-48, SGR)."""


def main() -> None:
    """Run fws-cat."""
    arguments = make_parser().parse_args()
    run_program("fws-cat", lambda: _cat(arguments))


def make_parser() -> argparse.ArgumentParser:
    """fws-cat's command line."""
    parser = argparse.ArgumentParser(
        prog="fws-cat",
        description="Prints frames as JSON, an object a line. Without a FILE, or for -, from stdin.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--no-ticks", action="store_true", help="leave out ticks")
    parser.add_argument(
        "--type", action="append", metavar="TYPE", help="print only frames of this type; may be repeated"
    )
    parser.add_argument(
        "--id", action="append", metavar="ID", help="print only frames from or to this client; may be repeated"
    )
    parser.add_argument("file", nargs="*", default=["-"], metavar="FILE")
    return parser


def _cat(arguments: argparse.Namespace) -> None:
    shows = _selection(arguments.type, arguments.id, has_ticks=not arguments.no_ticks)
    finish = coloured if os.isatty(STDOUT) and not os.environ.get("NO_COLOR") else _plain
    output = BlockWriter()
    for path in arguments.file:
        descriptor = STDIN if path == "-" else _open(path)
        for frame, raw in frames_of_blocks("stdin" if path == "-" else path, output.flush, descriptor):
            if shows(frame):
                output.add(finish(to_json(frame, raw)))
        output.flush()


def _selection(types: Sequence[str] | None, ids: Sequence[str] | None, *, has_ticks: bool) -> Callable[[Frame], bool]:
    """Whether a frame is to be printed; None: all types, all clients."""

    def shows(frame: Frame) -> bool:
        kind = frame.get("type")
        if kind == TICK and not has_ticks:
            return False
        return (types is None or kind in types) and (ids is None or not _clients_of(frame).isdisjoint(ids))

    return shows


def _clients_of(frame: Frame) -> set[str]:
    """The ids of the clients that a frame comes from, or goes to by name."""
    receivers = frame.get("to")
    names = receivers if isinstance(receivers, list) else [receivers]
    return {name for name in (frame.get("id"), *names) if isinstance(name, str)}


def coloured(line: bytes) -> bytes:
    """A line of JSON with colours for keys, strings and other scalars."""
    return _TOKEN.sub(_coloured_token, line.decode()).encode()


def _coloured_token(found: re.Match[str]) -> str:
    text, colon, scalar = found.groups()
    if scalar is not None:
        return f"{_SCALAR}{scalar}{_END}"
    return f"{_KEY if colon else _TEXT}{text}{_END}{colon}"


def _plain(line: bytes) -> bytes:
    return line


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise SystemRefusedError(f"can't read {path}: {error.strerror}") from None
