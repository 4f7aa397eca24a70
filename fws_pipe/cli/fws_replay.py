"""fws-replay: plays a recording to a chain, or, as clients, to a running server."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from fws_pipe.chain.rehearsal import Rehearsal
from fws_pipe.cli.pace import is_moment, parse_speed
from fws_pipe.errors import FrameError, SystemRefusedError
from fws_pipe.pipes.blocks import STDIN, BlockWriter, frames_of_blocks, run_program, say
from fws_pipe.protocol.actions import ALIVE
from fws_pipe.protocol.codec import BLOCK_BYTES, Frame, FrameDecoder, encode, type_of
from fws_pipe.protocol.events import TICK
from fws_pipe.protocol.json_form import JsonFormError, decode_line, is_blank, to_json

EXIT_DIFFERENT = 1

_SHOWN = 200
"""How many characters of a frame a difference shows."""

_EPILOG = """FILE is what `tee FILE` in a chain has written, or the same as lines of JSON (fws-cat); - is stdin.

  fws-replay events.mp "broadcast | ./my-filter" | fws-cat
  fws-replay --speed 1 events.mp ws://127.0.0.1:9000/

A chain gets every frame, and what comes out of it goes to stdout, as frames. A server gets a client for each open
event, which sends that client's messages; what it receives goes to stdout, as a send to the client's id of then.

Exit codes: 0 done, 1 not what --expect says or a failed chain, 2 an option makes no sense, 5 no server or no FILE.
"""


def main() -> None:
    """Run fws-replay."""
    arguments = make_parser().parse_args()
    run_program("fws-replay", lambda: _run(arguments))


def make_parser() -> argparse.ArgumentParser:
    """fws-replay's command line."""
    parser = argparse.ArgumentParser(
        prog="fws-replay",
        description="Plays a recording to a chain, or, as clients, to a running server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--speed",
        type=parse_speed,
        metavar="FACTOR",
        help="1 as it was, 2 twice as fast; without it as fast as it goes",
    )
    parser.add_argument(
        "--expect", metavar="EXPECTED", help="compare with the frames of this file, ticks left out, and print nothing"
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("target", metavar="CHAIN|URL")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    with contextlib.ExitStack() as stack:
        recording = _frames_of(arguments.file, stack)
        expected = None if arguments.expect is None else _frames_of(arguments.expect, stack)
        if arguments.target.startswith(("ws://", "wss://")):
            from fws_pipe.cli.replay_clients import play_to_server

            made: Iterator[Frame] = iter(play_to_server(recording, arguments.target, arguments.speed))
            problem = _compare_or_print(made, expected)
        else:
            rehearsal = stack.enter_context(Rehearsal(arguments.target, os.environ))
            rehearsal.feed(encode(frame) for frame in paced(recording, arguments.speed))
            made = (frame for frame, _ in frames_of_blocks("the chain", lambda: None, rehearsal.output))
            problem = _compare_or_print(made, expected)
            problem = next(iter(rehearsal.failures()), problem)
    if problem is not None:
        say(f"fws-replay: {problem}")
        sys.exit(EXIT_DIFFERENT)


def paced(frames: Iterable[Frame], speed: float | None) -> Iterator[Frame]:
    """The frames of a recording, each after as much time as lay before it then, divided by `speed`; None: at once."""
    began, first = time.monotonic(), None
    for frame in frames:
        moment = frame.get("time")
        if speed is not None and is_moment(moment):
            first = moment if first is None else first
            time.sleep(max(began + (moment - first) / speed - time.monotonic(), 0.0))
        yield frame


def _frames_of(path: str, stack: contextlib.ExitStack) -> Iterator[Frame]:
    """The frames of a file, which may hold lines of JSON. Raises SystemRefusedError, FrameError, UsageError."""
    try:
        file = stack.enter_context(open(STDIN if path == "-" else path, "rb"))  # noqa: SIM115 - the stack is one
        is_json = file.peek(1)[:1] in (b"{", b"\n", b"\xef", b"\x1e")
    except OSError as error:
        raise SystemRefusedError(f"can't read {path}: {error.strerror}") from None
    if is_json:
        return _frames_of_lines(file, path)
    decoder = FrameDecoder(path)
    return _frames_of_stream(file, decoder)


def _frames_of_stream(file: BinaryIO, decoder: FrameDecoder) -> Iterator[Frame]:
    while block := file.read(BLOCK_BYTES):
        decoder.feed(block)
        yield from decoder.frames()
    decoder.finish()


def _frames_of_lines(file: BinaryIO, path: str) -> Iterator[Frame]:
    offset = 0
    for line in file:
        if not is_blank(line):
            try:
                yield decode_line(line)[0]
            except JsonFormError as error:
                raise FrameError(str(error), path, offset) from None
        offset += len(line)


def _compare_or_print(made: Iterator[Frame], expected: Iterator[Frame] | None) -> str | None:
    """Print frames, or say how they differ from the expected ones."""
    if expected is not None:
        difference = first_difference(made, expected)
        for _ in made:  # the chain must not wait for a reader
            pass
        return difference
    output = BlockWriter()
    for frame in made:
        output.add(encode(frame))
        output.flush()
    return None


def first_difference(made: Iterable[Frame], expected: Iterable[Frame]) -> str | None:
    """The first frame that is not the expected one, ticks and times left out; None when all are the same."""
    pairs = itertools.zip_longest(_compared(made), _compared(expected))
    for number, (one, other) in enumerate(pairs, start=1):
        if one != other:
            return f"frame {number}: expected {_shown(other)}, got {_shown(one)}"
    return None


def _compared(frames: Iterable[Frame]) -> Iterator[Frame]:
    for frame in frames:
        if type_of(frame) not in (TICK, ALIVE):
            yield {name: value for name, value in frame.items() if name != "time"}


def _shown(frame: Frame | None) -> str:
    if frame is None:
        return "no more"
    line = to_json(frame).decode().rstrip("\n")
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"
