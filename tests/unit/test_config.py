"""The option table and its parsers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.config import OPTIONS, Config, parse_count, parse_pipe, parse_port, parse_seconds, parse_size
from fws_pipe.errors import EXIT_CODES, FwsError, UsageError


def test_the_table_has_no_name_twice_and_says_what_each_is_for() -> None:
    flags = [option.flag for option in OPTIONS] + [f"-{option.short}" for option in OPTIONS if option.short]
    assert len(set(flags)) == len(flags)
    assert len({option.variable for option in OPTIONS}) == len(OPTIONS)
    for option in OPTIONS:
        assert option.help
        assert option.metavar.isupper()
        assert option.key in Config.__dataclass_fields__


@pytest.mark.parametrize("option", [option for option in OPTIONS if not option.is_list and option.default is not None])
def test_the_default_that_help_shows_is_the_default(option: object) -> None:
    assert option.parse(option.default_text) == option.default  # type: ignore[attr-defined]


@given(st.integers(0, 2**40))
def test_sizes(number: int) -> None:
    assert parse_size(str(number)) == number
    assert parse_size(f"{number}K") == parse_size(f"{number} kib".replace(" ", "")) == number * 1024
    assert parse_size(f" {number}M ") == number * 1024**2


@pytest.mark.parametrize("text", ["", "K", "1.5M", "-1", "1T", "1 2", "٣", "0x10", "1KK"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


@given(st.text(max_size=6))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for option in OPTIONS:
        try:
            option.parse(text)
        except ValueError as error:
            assert str(error).startswith("expected")


def test_numbers() -> None:
    assert parse_seconds("2.5") == 2.5
    assert parse_count("0") == 0
    assert parse_port("65535") == 65535


def test_a_flag_beats_the_environment_which_beats_the_default() -> None:
    environment = {"FWS_PORT": "1", "FWS_HOST": "a,b", "FWS_NAME": ""}
    config = parse_pipe([], environment)
    assert isinstance(config, Config)
    assert (config.port, config.host, config.name) == (1, ("a", "b"), None)
    config = parse_pipe(["-p", "2", "--host", "c", "--host", "d", "cat"], environment)
    assert isinstance(config, Config)
    assert (config.port, config.host, config.chain) == (2, ("c", "d"), "cat")


def test_a_wrong_value_names_where_it_came_from() -> None:
    with pytest.raises(UsageError, match="FWS_PORT: expected a port, 0 to 65535, got 'x'"):
        parse_pipe([], {"FWS_PORT": "x"})


def test_every_error_has_a_documented_exit_code() -> None:
    todo: list[type[FwsError]] = [FwsError]
    while todo:
        error = todo.pop()
        todo += error.__subclasses__()
        assert error.exit_code in EXIT_CODES
        assert error.__doc__
