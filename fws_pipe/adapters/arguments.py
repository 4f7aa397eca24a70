"""The words of an adapter: options, and then the command that it runs. No I/O.

argparse would take the options of the command for its own, and longer to load than all else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from fws_pipe.errors import UsageError


class Option(NamedTuple):
    """`flag` is what is written, without a `value` name it takes none; `check` says what was expected, or None."""

    flag: str
    help: str
    value: str = ""
    default: str = ""
    check: Callable[[str], str | None] = lambda value: None


def one_of(*choices: str) -> Callable[[str], str | None]:
    """A check for an option that takes one of these words."""
    return lambda value: None if value in choices else f"{', '.join(choices[:-1])} or {choices[-1]}"


def a_count(value: str) -> str | None:
    """A check for an option that takes a number from 1."""
    return None if value.isdecimal() and value.isascii() and int(value) > 0 else "a whole number from 1"


NEWLINES = ("keep", "escape", "reject")

PTY = Option("--pty", "give the program a terminal as its stdout, so that it writes each line at once")
STDBUF = Option("--stdbuf", "run it with stdbuf -oL, for the same")


class Words(NamedTuple):
    """What was asked for: the value of each option by its flag, "" and "yes" for one that takes none."""

    values: dict[str, str]
    command: list[str]

    def has(self, option: Option) -> bool:
        """Whether an option was given that takes no value."""
        return bool(self.values[option.flag])

    def value(self, option: Option) -> str:
        """The value of an option, given or not."""
        return self.values[option.flag]


def parse_words(options: Sequence[Option], words: Sequence[str]) -> Words:
    """Read options up to the first word that is none, or `--`; the rest is the command. Raises UsageError."""
    by_flag = {option.flag: option for option in options}
    values = {option.flag: option.default for option in options}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            break
        flag, has_value, value = word.partition("=")
        if flag not in by_flag:
            raise UsageError(f"{flag}: no such option; there are {', '.join(by_flag)}")
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
    """What `--help` prints."""
    rows = [(f"{option.flag} {option.value}".rstrip(), option) for option in options]
    width = max(len(shown) for shown, _ in rows)
    lines = [
        f"  {shown:{width}}  {option.help}" + (f" (default {option.default})" if option.default else "")
        for shown, option in rows
    ]
    return "\n".join([f"{name} [OPTION…] CMD…", "", summary, "", *lines, "", _MORE]) + "\n"


_MORE = """CMD is a program and its arguments, or one word with blanks, which /bin/sh runs.
fws-pipe --help adapters tells what its lines are, and what happens when it fails."""
