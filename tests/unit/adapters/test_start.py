"""From the words of an adapter to its end."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import signal
from fws_pipe.adapters.arguments import PTY, Words
from fws_pipe.adapters.start import die_of, run_adapter

def main(words: Words) -> None:
    print(words.has(PTY), *words.command, flush=True)
    if words.command == ["die"]:
        die_of(signal.SIGTERM)

run_adapter("map", "What it does.", [PTY], main)
"""


@pytest.mark.parametrize(
    ("words", "code", "stdout", "stderr"),
    [
        (["--pty", "rev"], 0, "True rev\n", ""),
        (["--ptty", "rev"], 2, "", "map: --ptty: no such option; expected one of --pty\n"),
        (["die"], -15, "False die\n", ""),
    ],
)
def test_options_and_ends(words: list[str], code: int, stdout: str, stderr: str) -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, stdout, stderr)


def test_help() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("map [OPTION…] CMD…\n\nWhat it does.\n\n  --pty  ")


def test_it_loads_nothing_that_takes_long() -> None:
    slow = {"argparse", "asyncio", "inspect", "redis", "subprocess", "trio"}
    script = f"import sys, fws_pipe.adapters.start, fws_pipe.adapters.program; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
