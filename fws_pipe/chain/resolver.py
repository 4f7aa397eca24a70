"""Turns the stages of a chain into commands for /bin/sh, and reports a command that doesn't exist before any starts.

A first word that names a shipped filter becomes that filter's path. Any other must be on PATH, a path, a shell builtin,
or an expansion that only the shell can resolve (`$CMD`). No I/O of its own: `Commands` says what exists.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fws_pipe.chain import first_line
from fws_pipe.chain.parser import Stage, split_chain
from fws_pipe.errors import ChainError

# The shell's special builtins (POSIX, 2.14) and the usual regular ones. They have no file to exec.
_BUILTINS = frozenset({
    ".", ":", "[", "alias", "bg", "break", "cd", "command", "continue", "echo", "eval", "exec", "exit",
    "export", "false", "fg", "getopts", "hash", "jobs", "kill", "local", "printf", "pwd", "read", "readonly",
    "return", "set", "shift", "source", "test", "times", "trap", "true", "type", "ulimit", "umask", "unalias",
    "unset", "wait",
})  # fmt: skip
_DYNAMIC = frozenset("$`*?[~")
_NAME_LIMIT = 40


class Commands(Protocol):
    """The commands that exist on this system."""

    def filter_path(self, name: str) -> str | None:
        """The path of a shipped filter, or None."""

    def is_executable(self, name: str) -> bool:
        """Whether a command of this name is on PATH, or this path is an executable file."""

    def exists(self, path: str) -> bool:
        """Whether there is a regular file at this path."""

    def start_of(self, name: str) -> bytes:
        """The first `first_line.START_BYTES` bytes of a command's file, empty where it can't be read."""

    def names(self) -> Sequence[str]:
        """The names that are worth suggesting in place of a mistyped one."""

    def has_dollar_quotes(self) -> bool:
        """Whether the stages' shell reads $'…' as a quotation."""


@dataclass(frozen=True)
class Command:
    """One stage, ready to start as `/bin/sh -c shell_text`.

    `number` counts from 1, `name` is the stage's name in messages, `text` the stage as the user wrote it.
    """

    number: int
    name: str
    text: str
    shell_text: str
    path: str | None = None
    """The path of the shipped filter; None for any other command."""

    @property
    def label(self) -> str:
        """The stage as messages name it: `stage 2 "stdout_log"`."""
        return f'stage {self.number} "{self.name}"'


def resolve_chain(chain: str, commands: Commands, *, is_source: bool = False) -> list[Command]:
    """Split a chain into stages and resolve each. Raises ChainError, which points at the word at fault.

    `is_source`: it is the command of an input, whose words are no stages in messages.
    """
    # The shell matters for $'…' only, and asking it costs a process.
    has_dollar_quotes = "$'" in chain and commands.has_dollar_quotes()
    stages = split_chain(chain, has_dollar_quotes=has_dollar_quotes)
    return [_resolve(stage, number, chain, commands, is_source) for number, stage in enumerate(stages, start=1)]


def _resolve(stage: Stage, number: int, chain: str, commands: Commands, is_source: bool) -> Command:
    word = stage.word
    if word is None or stage.command is None or any(character in _DYNAMIC for character in word):
        return Command(number, _shortened(stage.text), stage.text, stage.text)
    start, end = stage.command
    try:
        name = "".join(shlex.split(word))
    except ValueError as error:
        place = "" if is_source else f"stage {number}: "
        raise ChainError(f"{place}{error} in {word!r}", chain, stage.start + start) from None
    path = commands.filter_path(name)
    if path is not None:
        replaced = f"{stage.text[:start]}exec {shlex.quote(path)}{stage.text[end:]}"
        return Command(number, name, stage.text, replaced, path)
    if name in _BUILTINS:
        return Command(number, name, stage.text, stage.text)
    where = f'"{name}"' if is_source else f'stage {number} "{name}"'
    if commands.is_executable(name):
        problem = first_line.problem_of(name, commands.start_of(name), commands.is_executable)
        if problem is not None:
            raise ChainError(f"{where}: {problem}", chain, stage.start + start)
        # exec: otherwise a shell would stay behind, only to wait.
        replaced = f"{stage.text[:start]}exec {stage.text[start:]}"
        return Command(number, name.rsplit("/", 1)[-1], stage.text, replaced)
    raise ChainError(f"{where}: {_not_found(name, commands, is_source)}", chain, stage.start + start)


def _not_found(name: str, commands: Commands, is_source: bool) -> str:
    if "/" in name:
        return f"make it executable: chmod +x {shlex.quote(name)}" if commands.exists(name) else "no such file"
    if commands.exists(name):
        what = "command" if is_source else "filter or command"
        return f"no such {what}; a file of that name is here: did you mean ./{name}?"
    if is_source:
        return "no such command on PATH"
    near = difflib.get_close_matches(name, commands.names(), n=1)
    hint = f'; did you mean "{near[0]}"?' if near else "; fws-pipe --list shows the filters"
    return f"no such filter, and no such command on PATH{hint}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _NAME_LIMIT else line[: _NAME_LIMIT - 1] + "…"
