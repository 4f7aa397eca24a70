"""Kills the programs of an adapter after the adapter itself was killed.

A program leads a process group of its own, so that all its processes can be ended together. The supervisor, or the
shell that started the adapter, knows only the adapter's group; so after a `kill -9` of the adapter the programs would
go on. Therefore a shell of a few hundred kilobytes reads the ids of their groups from a pipe that only the adapter can
write, and kills the groups when the pipe ends.
"""

from __future__ import annotations

import contextlib
import os

_SCRIPT = """
groups=' '
while read -r what group; do
  case $what in
  +) groups="$groups$group " ;;
  -) groups="${groups%% $group *} ${groups#* $group }" ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
"""


class Guard:
    """Owns the shell process, and the write end of the pipe that it reads.

    It exists before any program does. A program is unguarded only between its start and `add`, for one system call.
    Raises OSError if there is no shell.
    """

    def __init__(self) -> None:
        read_end, self._pipe = os.pipe()
        self._pid = _start_shell(read_end)

    def add(self, group: int) -> None:
        """Let a process group be killed when this process has gone."""
        self._tell(f"+ {group}\n")

    def discard(self, group: int) -> None:
        """Forget an empty group, whose id may be used again."""
        self._tell(f"- {group}\n")

    def close(self) -> None:
        """End the guard, and wait for it. Idempotent."""
        if self._pid:
            os.close(self._pipe)
            with contextlib.suppress(ChildProcessError):  # the guard was killed, and the loop has reaped it
                os.waitpid(self._pid, 0)
            self._pid, self._pipe = 0, -1

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # the guard was killed
            os.write(self._pipe, line.encode())


def _start_shell(read_end: int) -> int:
    """Start the shell that reads this pipe, and close our read end. Returns the shell's process id. Raises OSError."""
    null = os.open(os.devnull, os.O_RDWR)
    # Not our stdout or stderr: a reader that waits for their end would wait for the guard.
    actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate((read_end, null, null))]
    try:
        return os.posix_spawn("/bin/sh", ["sh", "-c", _SCRIPT, "guard"], os.environ, file_actions=actions, setpgroup=0)
    finally:
        os.close(read_end)
        os.close(null)
