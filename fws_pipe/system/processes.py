"""What running processes use, read from /proc (proc(5)) without their help.

Reads: /proc/PID/stat, /proc/PID/io and /proc/PID/task/*/children. Never: waits, or raises for what can't be read. A
process that has ended, or belongs to another user, or a system without such files shows as None.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

_STAT_BYTES = 4096
"""More than a line of /proc/PID/stat ever has."""

_CHILDREN_BYTES = 64 * 1024
"""What is read of one task's list of children: some 10,000."""


class Usage(NamedTuple):
    """What processes have used since they were started, and what they hold now."""

    user_s: float
    """Processor seconds in user mode."""
    system_s: float
    """Processor seconds in the kernel."""
    memory: int
    """Resident bytes. Pages that processes share count in each of them."""
    read: int | None
    """Bytes that `read` and its like have returned, from pipes, files and sockets."""
    written: int | None
    """Bytes that `write` and its like have taken."""
    processes: int
    """How many processes these are."""

    def plus(self, other: Usage) -> Usage:
        """The usage of both together."""
        return Usage(
            self.user_s + other.user_s,
            self.system_s + other.system_s,
            self.memory + other.memory,
            _sum(self.read, other.read),
            _sum(self.written, other.written),
            self.processes + other.processes,
        )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def usage_of(pid: int, *, with_ended_children: bool) -> Usage | None:
    """What one process uses. `with_ended_children` adds the processor time of those that it has waited for.

    Bytes read and written always include those of ended children: the kernel adds them up.
    """
    # A command's name is in parentheses, and may hold spaces and parentheses itself.
    fields = _read(f"/proc/{pid}/stat", _STAT_BYTES).rpartition(b")")[2].split()
    if len(fields) < 22:
        return None
    user, system, childrens_user, childrens_system = map(int, fields[11:15])
    if with_ended_children:
        user, system = user + childrens_user, system + childrens_system
    ticks = os.sysconf("SC_CLK_TCK")
    read, written = _bytes_of(pid)
    return Usage(user / ticks, system / ticks, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), read, written, 1)


def family_of(pid: int) -> Iterator[int]:
    """Yield a process and all that descend from it, each found when it is asked for.

    Without the kernel's CONFIG_PROC_CHILDREN it is the process alone.
    """
    waiting = [pid]
    while waiting:
        found = waiting.pop()
        yield found
        waiting += _children_of(found)


def _children_of(pid: int) -> list[int]:
    """The children of all threads of a process."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [
        int(child) for task in tasks for child in _read(f"/proc/{pid}/task/{task}/children", _CHILDREN_BYTES).split()
    ]


def _bytes_of(pid: int) -> tuple[int | None, int | None]:
    """`rchar` and `wchar`, which only the process's user may read."""
    lines = dict(line.split(b": ") for line in _read(f"/proc/{pid}/io", _STAT_BYTES).splitlines())
    return (int(lines[b"rchar"]), int(lines[b"wchar"])) if {b"rchar", b"wchar"} <= lines.keys() else (None, None)


def _read(path: str, limit: int) -> bytes:
    """The first bytes of a file; none where it can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, limit)
    except OSError:  # ESRCH: it has ended since
        return b""
    finally:
        os.close(descriptor)
