"""The words of an adapter, and what is said of wrong ones."""

from __future__ import annotations

import pytest

from fws_pipe.adapters.arguments import NEWLINES, PTY, Option, a_count, help_text, one_of, parse_words
from fws_pipe.errors import UsageError

NEWLINE = Option("--newline", "what becomes of them", "keep|escape|reject", "keep", one_of(*NEWLINES))
MAX = Option("--max", "how many", "N", "", a_count)
OPTIONS = (NEWLINE, MAX, PTY)


def test_options_end_at_the_command() -> None:
    words = parse_words(OPTIONS, ["--newline=escape", "--max", "3", "--pty", "sed", "-u", "--pty"])
    assert (words.value(NEWLINE), words.value(MAX), words.has(PTY)) == ("escape", "3", True)
    assert words.command == ["sed", "-u", "--pty"]


def test_or_at_two_dashes() -> None:
    words = parse_words(OPTIONS, ["--", "-strange-command"])
    assert words.command == ["-strange-command"]
    assert (words.value(NEWLINE), words.has(PTY)) == ("keep", False)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--nwline", "keep"], "--nwline: no such option; expected one of --newline, --max, --pty"),
        (["--newline"], "--newline: expected keep|escape|reject"),
        (["--newline", "drop"], "--newline: expected keep, escape or reject, got 'drop'"),
        (["--max=0"], "--max: expected a whole number from 1, got '0'"),
        (["--max=²"], "--max: expected a whole number from 1, got '²'"),
        (["--pty=yes"], "--pty: it takes no value"),
    ],
)
def test_what_is_wrong_is_named(words: list[str], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_words(OPTIONS, words)
    assert str(caught.value) == problem


def test_help_names_each_option_with_its_default() -> None:
    text = help_text("map", "What it does.", OPTIONS)
    assert text.startswith("map [OPTION…] CMD…\n\nWhat it does.\n")
    assert "--newline keep|escape|reject  what becomes of them (default keep)\n" in text
    assert all(option.help in text for option in OPTIONS)
