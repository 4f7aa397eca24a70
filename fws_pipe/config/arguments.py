"""Command lines: argparse with UsageError for mistakes, in one line and without passwords. No I/O."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import NoReturn

from fws_pipe.broker.settings import without_passwords
from fws_pipe.errors import UsageError
from fws_pipe.protocol.control import LONGEST_DRAIN_S
from fws_pipe.terminal import one_line


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with argparse's message, but without the line breaks and passwords that it may quote."""
        raise UsageError(f"{_shown(message)}; see {self.prog} --help")


def parse_all(
    parser: argparse.ArgumentParser, argv: Sequence[str], foreign: Mapping[str, str] | None = None
) -> argparse.Namespace:
    """Parse a whole command line. Raises UsageError, also for words that are left over.

    `foreign` are options of websocketd, with what to use in their place.
    """
    _refuse_foreign(argv, foreign or {})
    found, rest = parser.parse_known_args(argv)
    refuse_rest(parser, rest)
    return found


def _refuse_foreign(argv: Sequence[str], foreign: Mapping[str, str]) -> None:
    """Raise UsageError for another program's option.

    websocketd takes them with one dash as well, which argparse would read as several options of a letter.
    """
    for word in argv:
        name = word.partition("=")[0]
        if name.startswith("-") and (mend := foreign.get(f"--{name.lstrip('-')}")):
            raise UsageError(f"unknown option {_shown(name)}, as websocketd has it; {mend}")


def refuse_rest(parser: argparse.ArgumentParser, rest: Sequence[str]) -> None:
    """Raise UsageError if `parse_known_args` has left any words over.

    An unknown option is named first, since the words behind it may be its value.
    """
    if not rest:
        return
    option = next((word for word in rest if word.startswith("-")), None)
    if option is None:
        raise UsageError(
            f"unexpected argument {_shown(rest[0])!r}; a chain is one argument, in quotes; see {parser.prog} --help"
        )
    name = option.partition("=")[0]
    # No public name of argparse lists the options.
    near = difflib.get_close_matches(name, parser._option_string_actions, 1)
    hint = f"did you mean {near[0]}? See" if near else "see"
    raise UsageError(f"unknown option {_shown(name)}; {hint} {parser.prog} --help")


_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_drain_over(text: str) -> float:
    """The seconds over which a drain closes the clients: 30, 30s, 5m. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text, re.ASCII)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else -1.0
    if not 0 <= seconds <= LONGEST_DRAIN_S:
        raise ValueError("expected a time such as 30s or 5m, 24h at most")
    return seconds


def _shown(text: str) -> str:
    return without_passwords(one_line(text))
