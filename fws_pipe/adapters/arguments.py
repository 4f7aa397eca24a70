"""An adapter's command line: options, then the command that it runs. No I/O.

argparse would take the command's options for the adapter's, and would load more slowly than everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from fws_pipe.errors import UsageError


class Option(NamedTuple):
    """An option of an adapter."""

    flag: str
    help: str
    value: str = ""
    """What the help calls its value; empty: it takes none."""
    default: str = ""
    check: Callable[[str], str | None] = lambda value: None
    """Returns what was expected of a wrong value; None: the value is right."""


def one_of(*choices: str) -> Callable[[str], str | None]:
    """A check that accepts these words."""
    return lambda value: None if value in choices else f"{', '.join(choices[:-1])} or {choices[-1]}"


def a_count(value: str) -> str | None:
    """A check that accepts whole numbers from 1."""
    return None if value.isdecimal() and value.isascii() and int(value) > 0 else "a whole number from 1"


NEWLINES = ("keep", "escape", "reject")

PTY = Option("--pty", "give the program a terminal as its stdout, so that it writes each line at once")
STDBUF = Option("--stdbuf", "run it with stdbuf -oL, for the same")


class Words(NamedTuple):
    """A parsed command line."""

    values: dict[str, str]
    """Values by flag; for an option without a value "yes" if it was given, else ""."""
    command: list[str]

    def has(self, option: Option) -> bool:
        """Whether an option without a value was given."""
        return bool(self.values[option.flag])

    def value(self, option: Option) -> str:
        """An option's value, or its default."""
        return self.values[option.flag]


def parse_words(options: Sequence[Option], words: Sequence[str]) -> Words:
    """Parse options up to the first other word, or `--`; the rest is the command. Raises UsageError."""
    by_flag = {option.flag: option for option in options}
    values = {option.flag: option.default for option in options}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            break
        flag, has_value, value = word.partition("=")
        if flag not in by_flag:
            raise UsageError(f"{flag}: no such option; expected one of {', '.join(by_flag)}")
        option = by_flag[flag]
        if option.value and not has_value:
            if not rest:
                raise UsageError(f"{flag}: expected {option.value}")
            value = rest.pop(0)
        values[flag] = _checked(option, value) if option.value else _without_value(flag, has_value)
    return Words(values, rest)


def _checked(option: Option, value: str) -> str:
    expected = option.check(value)
    if expected:
        raise UsageError(f"{option.flag}: expected {expected}, got {value!r}")
    return value


def _without_value(flag: str, has_value: str) -> str:
    if has_value:
        raise UsageError(f"{flag}: it takes no value")
    return "yes"


def help_text(name: str, summary: str, options: Sequence[Option]) -> str:
    """The text of `--help`."""
    rows = [(f"{option.flag} {option.value}".rstrip(), option) for option in options]
    width = max(len(shown) for shown, _ in rows)
    lines = [
        f"  {shown:{width}}  {option.help}" + (f" (default {option.default})" if option.default else "")
        for shown, option in rows
    ]
    return "\n".join([f"{name} [OPTION…] CMD…", "", summary, "", *lines, "", _MORE]) + "\n"


_MORE = """CMD is a program and its arguments, or one quoted word with blanks, which /bin/sh runs.
fws-pipe --help adapters describes the lines that CMD reads and writes, and what happens when it fails."""
