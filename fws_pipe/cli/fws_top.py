"""fws-top: shows a running server in a terminal, second by second, as its control socket tells.

Reads: `status` and `stages` of the control socket, keys. Writes: the terminal's alternate screen; plain text where
stdout is no terminal, or --lines asks for it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping

from fws_pipe.cli.control_client import ControlClient, add_server_options, connect_to
from fws_pipe.cli.top_view import LETTERS, PLAIN_LETTERS, Letters, Line, Look, Span, Style, lines_of, shortened
from fws_pipe.config.arguments import Parser, parse_all
from fws_pipe.pipes.blocks import STDIN, STDOUT, BlockWriter, run_program
from fws_pipe.protocol.control import STAGES, STATUS
from fws_pipe.system.full_screen import FullScreen

_TIMEOUT_S = 10.0
_LEAST_INTERVAL_S = 0.1
_MOST_INTERVAL_S = 86_400.0
_PLAIN_WIDTH = 120
"""How wide plain text may become where $COLUMNS doesn't tell."""

_QUIT = b"qQ\x03"

_EPILOG = """  fws-top                 the whole terminal; q ends it
  fws-top -n 1 | less     once, as text
  fws-top --lines         a block of text each second

A line for each process, in the order of the pipes: INPUT is how full the pipe is that it reads from (of the front: what
comes back from the sink), READ/S and WRITTEN/S are bytes of pipes, files and sockets. The process for which the others
wait is marked and stands out. Counters that rise come first.

It finds the server of this user by itself; when several run, --server names one, or --control its socket.
$NO_COLOR leaves colours out. Exit codes: 0 done; 2 the command line makes no sense, or several servers run; 5 no
server, or it has not answered in time."""


def main() -> None:
    """Run fws-top."""
    run_program("fws-top", lambda: _run(parse_all(make_parser(), sys.argv[1:])))


def make_parser() -> Parser:
    """fws-top's command line."""
    parser = Parser(
        prog="fws-top",
        description="Shows what each process of a running server does and uses, and where it is held up.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_server_options(parser, f"{_TIMEOUT_S:g}")
    parser.add_argument(
        "--interval", type=_interval, metavar="SECONDS", default=1.0, help="the time between two looks (default: 1)"
    )
    parser.add_argument("-n", "--count", type=_count, metavar="COUNT", help="end after so many looks")
    parser.add_argument(
        "--lines", action="store_true", help="plain text, also in a terminal: a block for each look, until -n or Ctrl-C"
    )
    return parser


def _interval(text: str) -> float:
    with contextlib.suppress(ValueError):
        seconds = float(text)
        if _LEAST_INTERVAL_S <= seconds <= _MOST_INTERVAL_S:
            return seconds
    limits = f"from {_LEAST_INTERVAL_S:g} to {_MOST_INTERVAL_S:g}"
    raise argparse.ArgumentTypeError(f"expected a number of seconds {limits}, got {text}")


def _count(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")


def _run(arguments: argparse.Namespace) -> None:
    looker = _Looker(arguments.control, arguments.timeout or _TIMEOUT_S, arguments.server)
    is_terminal = os.isatty(STDOUT) and os.environ.get("TERM", "dumb") != "dumb"
    if is_terminal and not arguments.lines:
        _show(looker, arguments.interval, arguments.count)
    else:
        _print(looker, arguments.interval, arguments.count or (None if arguments.lines else 1))


class _Looker:
    """Looks at one server. Each look is a connection of its own, so the server keeps none for it in between."""

    def __init__(self, path: str | None, timeout_s: float, server: str | None) -> None:
        """Find the server. Raises SystemRefusedError, SeveralServersError, UsageError."""
        self._timeout_s = timeout_s
        client = connect_to(path, timeout_s, server)
        self._path = client.path
        client.close()

    def look(self) -> Look:
        """What the server tells now. Raises SystemRefusedError."""
        client = ControlClient(self._path, self._timeout_s)
        try:
            (status,) = client.ask({"type": STATUS})
            return Look(time.monotonic(), time.time() - status["started"], status, client.ask({"type": STAGES}))
        finally:
            client.close()


def _letters() -> Letters:
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return LETTERS if encoding == "utf8" else PLAIN_LETTERS


# Plain text.


def _print(looker: _Looker, interval_s: float, count: int | None) -> None:
    letters = _letters()
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdigit() and int(columns) else _PLAIN_WIDTH
    output = BlockWriter()
    before = looker.look()
    while count is None or count > 0:
        time.sleep(interval_s)
        now = looker.look()
        for line in lines_of(before, now, width, letters):
            output.add(_encoded("".join(span.text for span in line).rstrip()) + b"\n")
        if count != 1:
            output.add(b"\n")
        output.flush()
        before = now
        count = None if count is None else count - 1


def _encoded(text: str) -> bytes:
    return text.encode(sys.stdout.encoding or "ascii", "replace")


# The whole terminal.

_STYLES = {Style.BOLD: b"\x1b[1m", Style.DIM: b"\x1b[2m", Style.BRAKE: b"\x1b[1m", Style.HIGH: b"\x1b[1m"}
_COLOURS = {Style.BOLD: b"\x1b[1m", Style.DIM: b"\x1b[2m", Style.BRAKE: b"\x1b[1;31m", Style.HIGH: b"\x1b[33m"}
_PLAIN_AGAIN = b"\x1b[0m"


def _show(looker: _Looker, interval_s: float, count: int | None) -> None:
    letters = _letters()
    styles = _STYLES if os.environ.get("NO_COLOR") else _COLOURS
    before = now = looker.look()
    with FullScreen(STDIN, STDOUT) as screen:

        def draw() -> None:
            columns, height = screen.size
            lines = shortened(lines_of(before, now, columns, letters), height, columns, letters)
            screen.draw([b"".join(_styled(line, styles)) for line in lines])

        draw()
        while (count is None or count > 0) and not _waited_for_quit(screen, now.time + interval_s, draw):
            before, now = now, looker.look()
            draw()
            count = None if count is None else count - 1


def _waited_for_quit(screen: FullScreen, until: float, draw: Callable[[], None]) -> bool:
    """Wait until this time, and draw again when the size has changed. Returns whether a key has asked for the end."""
    while (left := until - time.monotonic()) > 0:
        typed = screen.wait(left)
        if typed is None:
            return False
        if any(key in _QUIT for key in typed):
            return True
        draw()
    return False


def _styled(line: Line, styles: Mapping[Style, bytes]) -> Iterator[bytes]:
    for span in line:
        yield from _styled_span(span, styles)


def _styled_span(span: Span, styles: Mapping[Style, bytes]) -> Iterator[bytes]:
    style = styles.get(span.style)
    yield from (_encoded(span.text),) if style is None else (style, _encoded(span.text), _PLAIN_AGAIN)
