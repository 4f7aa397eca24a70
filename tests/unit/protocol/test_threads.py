"""A thread that dies takes its process along, with the exit code and the words of its failure."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import time
from fws_pipe.errors import UsageError
from fws_pipe.pipes.blocks import OutputClosedError, start_thread

def work():
    raise {failure}

start_thread(work, "worker")
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        ("UsageError('no such thing')", 2, "worker: no such thing\n"),
        ("OutputClosedError", 0, ""),
        ("KeyError('defect')", 1, "KeyError: 'defect'\n"),
    ],
)
def test_a_thread_that_dies_takes_its_process_along(failure: str, code: int, words: str) -> None:
    program = PROGRAM.format(failure=failure)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == code
    assert done.stderr.endswith(words)
    assert words or not done.stderr
