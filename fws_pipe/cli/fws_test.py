"""fws-test: runs a chain over lines of JSON, so that `diff` shows whether it still does what it did."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

from fws_pipe.chain.rehearsal import Rehearsal
from fws_pipe.errors import EXIT_USAGE
from fws_pipe.pipes.blocks import BlockWriter, frames_of_blocks, run_program, say
from fws_pipe.pipes.json_lines import check_type, frames_of_json
from fws_pipe.protocol.actions import ALIVE
from fws_pipe.protocol.codec import Frame, encode, type_of
from fws_pipe.protocol.events import EVENT_TYPES, TICK
from fws_pipe.protocol.json_form import to_json

EXIT_FAILED = 1

HELP = """usage: fws-test CHAIN <IN.jsonl >OUT.jsonl

Runs CHAIN, with no server, over events in lines of JSON, and prints what comes out, in the same form:

  fws-test broadcast <events.jsonl >new.jsonl; diff expected.jsonl new.jsonl

So that only a change of behaviour shows, each event without a seq gets the next one, without a time the time 0, and a
tick behind it; ticks are left out of what comes out, and keys are in alphabetical order. {"type":"message","id":"a",
"data":"hello"} is a whole event.

Exit codes: 0 done, 1 a stage has failed or a line of the input is no frame, 2 CHAIN makes no sense.
"""


def main() -> None:
    """Run fws-test."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return
    run_program("fws-test", lambda: _run(arguments))


def _run(arguments: list[str]) -> None:
    if len(arguments) != 1:
        say('fws-test: expected one chain, such as "broadcast | ./my-filter"; see fws-test --help')
        sys.exit(EXIT_USAGE)
    events = _Events()
    with Rehearsal(arguments[0], os.environ) as rehearsal:
        rehearsal.feed(events.blocks())
        _print_frames(rehearsal.output)
        failures = rehearsal.failures()
    for failure in failures:
        say(f"fws-test: {failure}")
    if failures or events.dropped:
        sys.exit(EXIT_FAILED)


class _Events:
    """The events on stdin, as a chain gets them."""

    def __init__(self) -> None:
        self.dropped = 0
        """How many lines held no frame."""
        self._seq = 0

    def blocks(self) -> Iterator[bytes]:
        """The bytes of each event, and of the tick behind it."""
        for frame, _ in frames_of_json("fws-test", lambda: None, check_type, self._note_dropped):
            yield self._completed(frame)

    def _note_dropped(self) -> None:
        self.dropped += 1

    def _completed(self, frame: Frame) -> bytes:
        if frame["type"] not in EVENT_TYPES or frame["type"] == TICK:
            return encode(frame)
        seq = frame.get("seq", self._seq + 1)
        if type(seq) is int:
            self._seq = seq
        event = {"type": frame["type"], "seq": seq, "time": 0.0, **frame}
        return encode(event) + encode({"type": TICK, "seq": self._seq, "time": 0.0})


def _print_frames(descriptor: int) -> None:
    output = BlockWriter()
    for frame, raw in frames_of_blocks("the chain", output.flush, descriptor):
        if type_of(frame) not in (TICK, ALIVE):
            output.add(_sorted(to_json(frame, raw)))
    output.flush()


def _sorted(line: bytes) -> bytes:
    return json.dumps(json.loads(line), sort_keys=True, separators=(",", ":")).encode() + b"\n"
