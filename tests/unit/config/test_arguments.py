"""Mistakes in a command line are one line each, without passwords; a drain's time has a unit."""

from __future__ import annotations

import pytest

from fws_pipe.config.arguments import Parser, parse_all, parse_drain_over
from fws_pipe.errors import UsageError


def parser() -> Parser:
    made = Parser("it", add_help=False)
    made.add_argument("--port", type=int)
    made.add_argument("chain", nargs="?")
    return made


def test_a_whole_command_line() -> None:
    found = parse_all(parser(), ["--port", "1", "broadcast"])
    assert (found.port, found.chain) == (1, "broadcast")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--prot", "1"], "unknown option --prot; did you mean --port? See it --help"),
        (["--nonesuch=1"], "unknown option --nonesuch; see it --help"),
        (["a", "|", "b"], "unexpected argument '|'; a chain is one argument, in quotes; see it --help"),
        (["a", "b", "--prot"], "unknown option --prot; did you mean --port? See it --help"),
        (["--port", "many"], "argument --port: invalid int value: 'many'; see it --help"),
        (["a", "redis://me:secret@host\nb"], "redis://…@host"),
    ],
)
def test_a_mistake_is_one_line_without_a_password(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_all(parser(), argv)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("30s", 30), ("1.5m", 90), ("24h", 86400), ("0", 0)])
def test_the_time_of_a_drain(text: str, seconds: float) -> None:
    assert parse_drain_over(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "25h", "1d", "m", "1 m", "1e3", "٣"])
def test_what_is_no_time_of_a_drain(text: str) -> None:
    with pytest.raises(ValueError, match="such as 30s or 5m, 24h at most"):
        parse_drain_over(text)
