"""What a server and its children use, seen from outside, by proc(5)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.harness import descriptors_of, memory_of


def process_tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parent = int(Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def resident_bytes(pid: int) -> int:
    """The resident memory of a process and all its descendants."""
    return int(_of_all(pid, memory_of))


def cpu_seconds(pid: int) -> float:
    """The processor time of a process and all its descendants so far."""
    # The clock of another process, as clock_getcpuclockid(3) makes it: /proc/PID/stat knows hundredths only.
    return _of_all(pid, lambda child: time.clock_gettime((~child << 3) | 2))


def descriptors(pid: int) -> int:
    """How many descriptors a process and all its descendants have open."""
    return int(_of_all(pid, descriptors_of))


def threads(pid: int) -> int:
    """How many threads a process and all its descendants have."""
    return int(_of_all(pid, lambda child: len(os.listdir(f"/proc/{child}/task"))))


def _of_all(pid: int, measure: Callable[[int], float]) -> float:
    """The sum over a process and all its descendants, but for those that end meanwhile."""
    total = 0.0
    for child in process_tree(pid):
        try:
            total += measure(child)
        except OSError:
            pass  # a peer with a process for each client
    return total
