"""The check of the contract, by filters that keep it and filters that don't."""

from __future__ import annotations

import os
import sys

import pytest

from fws_pipe.sdk.testing import JSON_LINES, ContractError, check_filter
from tests.harness import COMMAND_PATH

ENVIRONMENT = {**os.environ, "PATH": COMMAND_PATH}


@pytest.mark.parametrize("argv", [["cat"], ["tee", "/dev/null"], ["sh", "-c", "cat; exit 0"]])
def test_plain_commands_that_keep_it(argv: list[str]) -> None:
    check_filter(argv, environment=ENVIRONMENT)


READER = """
import os, sys, time
import msgpack
unpacker = msgpack.Unpacker()
while block := os.read(0, 1 << 20):
    unpacker.feed(block)
    for frame in unpacker:
        {}
"""
"""A filter without the SDK."""

WRITE = "os.write(1, msgpack.packb(frame))"


def python(work: str) -> list[str]:
    return [sys.executable, "-c", READER.format(work.replace("\n", "\n        "))]


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["sh", "-c", "cat >/dev/null"], "passes on, in order, .*: it did not write the tick with seq 1"),
        (["sh", "-c", "cat; exit 3"], "exits with 0 at the end of its input: it exited with status 3"),
        (["sh", "-c", "kill -SEGV $$"], "passes on.*: it ended while its input was open"),
        (["sh", "-c", "head -c 20"], "passes on.*: it ended while its input was open"),
        (["sh", "-c", "cat; sleep 1000"], "exits with 0 at the end of its input: it went on"),
        (["sh", "-c", "cat >/dev/null; echo hello"], "writes nothing but frames: broken frame from the filter"),
        (["cat", "/dev/zero"], "writes nothing but frames"),
        (python("if 'type' in frame: " + WRITE), "it did not write the frame without a type"),
        (
            python(
                f"if type(frame.get('data')) is bytes: frame['data'] = frame['data'].decode(errors='replace')\n{WRITE}"
            ),
            "tells text and binary apart: binary data became the text",
        ),
        (
            python(f"{WRITE}\nif 'data' in frame: os.write(1, msgpack.packb({{'type': 'send', 'to': 5, 'data': ''}}))"),
            "makes actions that are right: send.to: expected an id",
        ),
        (
            python(
                f"{WRITE}\nif 'data' in frame:\n"
                "    os.write(1, msgpack.packb({'type': 'send', 'to': 'a-1', 'data': '', 'seq': 77777}))"
            ),
            "copies seq from the event.*: send.seq: no event has int 77777",
        ),
        (python(f"if frame.get('data') == '': sys.exit(1)\n{WRITE}"), "reads empty messages: it ended"),
        (python(f"if len(frame.get('data', '')) > 70000: sys.exit(1)\n{WRITE}"), "reads frames of 1 MiB: it ended"),
    ],
)
def test_the_check_can_fail(argv: list[str], problem: str) -> None:
    with pytest.raises(ContractError, match=problem):
        check_filter(argv, environment=ENVIRONMENT, timeout_s=1.0)


def test_a_filter_that_needs_a_frame_in_one_read_fails() -> None:
    """One that takes each read for a whole frame goes well until a frame is cut."""
    script = "import os, msgpack\nwhile block := os.read(0, 9999): os.write(1, msgpack.packb(msgpack.unpackb(block)))"
    with pytest.raises(ContractError):
        check_filter([sys.executable, "-c", script], environment=ENVIRONMENT, timeout_s=1.0)


def test_the_cure_of_output_that_is_kept_back_names_the_program() -> None:
    argv = ["sed", "s/x/x/"]
    with pytest.raises(ContractError, match=r"writes what it has before it waits.*give sed the option -u"):
        check_filter(argv, reads=JSON_LINES, writes=JSON_LINES, environment=ENVIRONMENT, timeout_s=2.0)
    check_filter(["sed", "-u", "s/x/x/"], reads=JSON_LINES, writes=JSON_LINES, environment=ENVIRONMENT)
