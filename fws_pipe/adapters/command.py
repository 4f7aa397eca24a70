"""The command that an adapter runs, and whether a terminal or stdbuf(1) keeps its output from being buffered."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fws_pipe.chain.first_line import START_BYTES, problem_of
from fws_pipe.errors import SystemRefusedError, UsageError

_STDBUF = ["stdbuf", "-oL"]
_SHELL = ["/bin/sh", "-c"]

_NAME_LIMIT = 40
"""Messages show at most this many characters of a command."""


class Command(NamedTuple):
    """A command that can be started any number of times."""

    argv: list[str]
    name: str
    """For messages."""
    environment: Mapping[str, str]
    has_terminal: bool = False
    """Whether its stdout is a pseudo-terminal."""

    @property
    def text(self) -> str:
        """All of its words."""
        return " ".join(self.argv)

    @property
    def is_pipeline(self) -> bool:
        """Whether it is shell text in which one program writes to another."""
        return self.argv[-3:-1] == _SHELL and "|" in self.argv[-1]


def command_of(words: Sequence[str], *, has_terminal: bool = False, is_line_buffered: bool = False) -> Command:
    """The command from these words: a program and its arguments, or one word with blanks, which /bin/sh runs.

    `is_line_buffered`: stdbuf(1) runs it. Raises UsageError if there is no command, or its script can't be started.
    """
    if not words or not words[0].strip():
        raise UsageError("expected a command to run")
    is_shell_text = len(words) == 1 and len(words[0].split()) > 1
    argv = [*_SHELL, words[0]] if is_shell_text else list(words)
    _check_first_line(argv[0])
    if is_line_buffered:
        argv = [*_STDBUF, *argv]
    return Command(argv, _name_of(words), {"PYTHONUNBUFFERED": "1", **os.environ}, has_terminal)


def _name_of(words: Sequence[str]) -> str:
    text = " ".join(" ".join(words).split())
    return text if len(text) <= _NAME_LIMIT else text[: _NAME_LIMIT - 1] + "…"


def _check_first_line(program: str) -> None:
    """Raise UsageError, with the mend, for a script whose first line keeps the system from starting it."""
    path = shutil.which(program)
    if path is None:
        return  # the error comes when the command is started
    with contextlib.suppress(OSError), open(path, "rb") as file:
        start = file.read(START_BYTES)
        problem = problem_of(program, start, lambda name: shutil.which(name) is not None)
        if problem is not None:
            raise UsageError(f"{program}: {problem}")


def check_command(command: Command) -> None:
    """Check that the program of a command exists, before it is started. Raises UsageError."""
    program = command.argv[0]
    folders = [""] if "/" in program else os.get_exec_path(command.environment)
    paths = [os.path.join(folder, program) for folder in folders]
    if not any(os.path.isfile(path) and os.access(path, os.X_OK) for path in paths):
        raise start_error(command, FileNotFoundError())


def start_error(command: Command, error: OSError) -> SystemRefusedError | UsageError:
    """The error for a command that the system could not start, with the mend."""
    program = command.argv[0]
    if isinstance(error, FileNotFoundError) and command.argv[:2] == _STDBUF:
        return UsageError("--stdbuf: there is no stdbuf on PATH (it is part of GNU coreutils); --pty needs none")
    if isinstance(error, FileNotFoundError | PermissionError):
        return UsageError(_why_not(program))
    if error.errno == errno.ENOEXEC:
        return UsageError(f"{program}: it is neither a program nor a script with a first line such as #!/bin/sh")
    return SystemRefusedError(f"can't start {program}: {error.strerror}")


def _why_not(program: str) -> str:
    if "/" not in program:
        mend = f"; a file of that name is here: did you mean ./{program}?" if os.path.isfile(program) else " on PATH"
        return f"{program}: no such command{mend}"
    return f"{program}: " + (f"make it executable: chmod +x {program}" if os.path.isfile(program) else "no such file")
