"""The guard kills what an adapter has left, also after kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from fws_pipe.adapters.guard import Guard
from tests.harness import eventually
from tests.unit.adapters.test_program import is_alive

_SCRIPT = """
import os, sys
from fws_pipe.adapters.guard import Guard
guard = Guard()
groups = [os.posix_spawn("/bin/sh", ["sh", "-c", "sleep 1000 & wait"], os.environ, setpgroup=0) for _ in range(3)]
for group in groups:
    guard.add(group)
guard.discard(groups[1])
print(*groups, flush=True)
sys.stdin.read()
"""


def test_kill_9_of_the_adapter_ends_the_groups_that_it_has_not_taken_back() -> None:
    with subprocess.Popen([sys.executable, "-c", _SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as adapter:
        assert adapter.stdout is not None
        first, taken_back, last = map(int, adapter.stdout.readline().split())
        adapter.kill()
    try:
        eventually(lambda: not is_alive(first) and not is_alive(last), "the end of both groups")
        assert is_alive(taken_back)
    finally:
        os.killpg(taken_back, signal.SIGKILL)


def test_it_ends_with_us_and_kills_nobody_who_has_gone() -> None:
    Guard().close()
    guard = Guard()
    guard.add(2**22 + 1)  # larger than any process's number
    guard.discard(2**22 + 1)
    guard.close()
    guard.close()
