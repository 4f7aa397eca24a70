"""Errors have an exit code and lines for people; a chain's points at the fault."""

from __future__ import annotations

import pytest

from fws_pipe import errors
from fws_pipe.errors import EXIT_CODES, ChainError, FrameError, FwsError, UsageError, first_error


def kinds(kind: type[FwsError] = FwsError) -> list[type[FwsError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in kinds(child))]


def test_each_kind_of_error_ends_with_a_documented_code() -> None:
    assert {kind.exit_code for kind in kinds() if kind.__module__ == errors.__name__} <= EXIT_CODES.keys()


@pytest.mark.parametrize(
    ("chain", "position", "shown"),
    [
        ("a | nonesuch", 4, ["  a | nonesuch", "      ^"]),
        ("a |\nnonesuch |\nb", 4, ["  nonesuch |", "  ^"]),
        ("\ta\x1b | b", 6, ["   a\\x1b | b", "           ^"]),
        ("", 0, ["  ", "  ^"]),
    ],
)
def test_a_caret_stands_below_the_fault_in_its_own_line(chain: str, position: int, shown: list[str]) -> None:
    assert ChainError("there is no\nsuch command", chain, position).lines == ["there is no\\nsuch command", *shown]


def test_a_broken_frame_tells_its_writer_and_the_place() -> None:
    assert str(FrameError("not a map", "stage 1", 812)) == "broken frame from stage 1, at byte 812: not a map"


def test_the_first_error_of_nested_groups() -> None:
    first, second = UsageError("first"), UsageError("second")
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [first]), second])
    assert first_error(group) is first
