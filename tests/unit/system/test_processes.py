"""What processes use, by /proc: of real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fws_pipe.system.processes import Usage, family_of, usage_of
from tests.harness import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a /proc")


@contextmanager
def process(script: str) -> Iterator[subprocess.Popen[bytes]]:
    """Python that runs this, and then waits; in a group of its own, which is killed at the end."""
    started = subprocess.Popen(
        [sys.executable, "-c", f"{script}\nprint(flush=True)\nimport time; time.sleep(1000)"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"\n"
        yield started
        os.killpg(started.pid, signal.SIGKILL)


def used_by(pid: int) -> Usage:
    usage = usage_of(pid, with_ended_children=True)
    assert usage is not None
    return usage


def test_processor_time_memory_and_bytes() -> None:
    started = time.monotonic()
    with process("import os\nheld = bytearray(b'x' * 50_000_000)\nwhile os.times().user < 0.1: pass") as one:
        usage = used_by(one.pid)
        assert 0.1 <= usage.user_s + usage.system_s <= time.monotonic() - started
        assert 50_000_000 < usage.memory < 200_000_000
        assert usage.processes == 1
    with process("import os; a, b = os.pipe()\nfor _ in range(100): os.write(b, bytes(1000)); os.read(a, 1000)") as one:
        usage = used_by(one.pid)
        assert usage.read is not None
        assert usage.written is not None
        assert usage.read > 100_000
        assert 100_000 <= usage.written < 200_000


def test_ended_children_count_where_they_are_asked_for() -> None:
    child = "import os\nwhile os.times().user < 0.1: pass\nos.write(1, bytes(1000))"
    with process(
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], stderr=1, stdout=2)"
    ) as one:
        own = usage_of(one.pid, with_ended_children=False)
        assert own is not None
        assert used_by(one.pid).user_s >= own.user_s + 0.09
        assert own.written is not None
        assert own.written >= 1000


def test_a_family_is_found_through_threads_and_groups() -> None:
    script = """
import subprocess, threading
def start():
    subprocess.Popen("sleep 1000 & wait", shell=True, process_group=0)
    started.set()
    threading.Event().wait()
started = threading.Event()
threading.Thread(target=start, daemon=True).start()
started.wait()"""
    with process(script) as one:
        eventually(lambda: len(list(family_of(one.pid))) == 3, "a shell and its child")
        members = list(family_of(one.pid))
        assert members[0] == one.pid
        for member in members[1:]:
            os.kill(member, signal.SIGKILL)


def test_what_has_ended_or_is_no_process_is_unknown() -> None:
    ended = subprocess.Popen(["true"])
    eventually(lambda: usage_of(ended.pid, with_ended_children=True) is not None, "a zombie counts, with no memory")
    ended.wait()
    assert usage_of(ended.pid, with_ended_children=True) is None
    assert list(family_of(ended.pid)) == [ended.pid]


def test_sums() -> None:
    one = Usage(1.0, 0.5, 100, 10, 20, 1)
    assert one.plus(one) == Usage(2.0, 1.0, 200, 20, 40, 2)
    assert one.plus(one._replace(read=None)) == Usage(2.0, 1.0, 200, None, 40, 2)
