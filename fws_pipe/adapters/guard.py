"""Kills the programs of an adapter that has been killed itself.

A program leads a process group of its own, so that it can be ended with all that it has started. The supervisor, or the
shell that started us, knows only our group: after `kill -9` of the adapter nobody would end the others. So a shell of
a few hundred kilobytes reads the ids of those groups from a pipe that the adapter alone can write, and kills what is
left of them when that pipe comes to its end.
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
    """Owns the process, and the write end of the pipe that it reads.

    It is there before any program is: only a program that has been started and not been told of yet is unguarded, which
    takes a system call. Raises OSError when there is no shell.
    """

    def __init__(self) -> None:
        read_end, self._pipe = os.pipe()
        self._pid = _start_shell(read_end)

    def add(self, group: int) -> None:
        """A process group is to be killed when this process has gone."""
        self._tell(f"+ {group}\n")

    def discard(self, group: int) -> None:
        """Nothing is left of a group: its number may become another's."""
        self._tell(f"- {group}\n")

    def close(self) -> None:
        """Let the guard end, and wait for that. Idempotent."""
        if self._pid:
            os.close(self._pipe)
            with contextlib.suppress(ChildProcessError):  # it has been killed, and the loop has reaped it
                os.waitpid(self._pid, 0)
            self._pid, self._pipe = 0, -1

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # somebody has killed the guard
            os.write(self._pipe, line.encode())


def _start_shell(read_end: int) -> int:
    """Start the shell that reads from this pipe, whose end is closed; returns its id. Raises OSError."""
    null = os.open(os.devnull, os.O_RDWR)
    # Not our stdout or stderr: whoever waits for their ends would wait for the guard.
    actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate((read_end, null, null))]
    try:
        return os.posix_spawn("/bin/sh", ["sh", "-c", _SCRIPT, "guard"], os.environ, file_actions=actions, setpgroup=0)
    finally:
        os.close(read_end)
        os.close(null)
