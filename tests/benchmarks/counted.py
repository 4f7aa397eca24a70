"""Starts fws-pipe and counts the tasks in it, which nobody sees from outside.

    python -m tests.benchmarks.counted FILE [what fws-pipe is to get]

FILE has the number of the moment: an integer of 8 bytes, in the machine's order.
"""

from __future__ import annotations

import mmap
import struct
import sys
from functools import partial
from pathlib import Path

import trio

from fws_pipe.cli.serve import pipe_main

COUNT = struct.Struct("@q")


class TaskCount(trio.abc.Instrument):
    """Keeps the number of tasks in a file."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(COUNT.pack(0))
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), COUNT.size)
        self._count = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """One more."""
        self._tell(self._count + 1)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """One less."""
        self._tell(self._count - 1)

    def _tell(self, count: int) -> None:
        self._count = count
        COUNT.pack_into(self._shared, 0, count)


def tasks_in(file: Path) -> int:
    """How many tasks there are now."""
    count: int
    (count,) = COUNT.unpack(file.read_bytes())
    return count


if __name__ == "__main__":
    count_of_run = TaskCount(Path(sys.argv.pop(1)))
    trio.run = partial(trio.run, instruments=[count_of_run])  # type: ignore[assignment]  # the server calls just this
    pipe_main()
