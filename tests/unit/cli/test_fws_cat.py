"""fws-cat: which frames it prints, and its colours."""

from __future__ import annotations

import json
import os
import pty
import re

from hypothesis import given, settings

from fws_pipe.cli.fws_cat import coloured
from fws_pipe.protocol.codec import Frame, encode
from fws_pipe.protocol.json_form import to_json
from tests.harness import shell
from tests.strategies import frames

FRAMES: tuple[Frame, ...] = (
    {"type": "message", "id": "a", "data": "hello"},
    {"type": "tick", "seq": 1},
    {"type": "send", "to": ["a", "b"], "data": "x"},
    {"type": "send", "to": "b", "data": "y"},
    {"no": "type"},
)


def printed(options: str) -> list[Frame]:
    done = shell(f"fws-cat {options}", stdin=b"".join(map(encode, FRAMES)))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_selects() -> None:
    message, tick, both, one, untyped = FRAMES
    assert printed("") == list(FRAMES)
    assert printed("--no-ticks") == [message, both, one, untyped]
    assert printed("--type message --type tick") == [message, tick]
    assert printed("--id a") == [message, both]
    assert printed("--id b --type send") == [both, one]


@settings(max_examples=30)
@given(frames)
def test_without_its_colours_a_line_is_what_it_was(frame: Frame) -> None:
    line = to_json(frame)
    assert re.sub(rb"\x1b\[[0-9]*m", b"", coloured(line)) == line


def test_colours_are_for_terminals_only() -> None:
    assert b"\x1b" not in shell("fws-cat", stdin=encode(FRAMES[0])).stdout
    inner, outer = pty.openpty()
    try:
        shell(f"fws-emit message --id a --data x | fws-cat >{os.ttyname(outer)}")
        assert b"\x1b[34m" in os.read(inner, 4096)
        shell(f"fws-emit message --id a --data x | NO_COLOR=1 fws-cat >{os.ttyname(outer)}")
        assert b"\x1b" not in os.read(inner, 4096)
    finally:
        os.close(inner)
        os.close(outer)
