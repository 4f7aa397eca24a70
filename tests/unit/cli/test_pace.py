"""The factor of --speed, and the times that a recording may have."""

from __future__ import annotations

import argparse

import pytest

from fws_pipe.cli.pace import is_moment, parse_speed


@pytest.mark.parametrize(("text", "speed"), [("1", 1.0), ("0.5", 0.5), ("0.001", 0.001), ("1e6", 1e6)])
def test_a_factor(text: str, speed: float) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["0", "-1", "0.0009", "1000001", "nan", "inf", "fast", ""])
def test_what_is_no_factor(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"0\.001 to 1000000"):
        parse_speed(text)


def test_a_moment_is_a_number_of_seconds_since_the_epoch() -> None:
    assert [is_moment(value) for value in (0, 1767225600.5, 1e11, -1, "1", None, float("nan"))] == [
        True, True, False, False, False, False, False,
    ]  # fmt: skip
