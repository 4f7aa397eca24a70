"""Who comes from websocketd is told what its options are called here."""

from __future__ import annotations

import re

import pytest

from fws_pipe.config.options import OPTIONS, parse_pipe
from fws_pipe.config.websocketd import WEBSOCKETD
from fws_pipe.errors import UsageError

OURS = {option.flag for option in OPTIONS} | {"--help"}
OF_PER_CLIENT = {"--max", "--binary", "--stderr"}


@pytest.mark.parametrize("option", WEBSOCKETD)
@pytest.mark.parametrize("form", ["--{}", "--{}=x", "-{}"])
def test_each_has_its_hint(option: str, form: str) -> None:
    word = form.format(option.removeprefix("--"))
    with pytest.raises(UsageError) as caught:
        parse_pipe([word, "mirror"], {})
    name = word.partition("=")[0]
    assert str(caught.value) == f"unknown option {name}, as websocketd has it; {WEBSOCKETD[option]}"


def test_no_hint_is_for_an_option_of_ours_and_each_names_only_such() -> None:
    assert OURS.isdisjoint(WEBSOCKETD)
    for hint in WEBSOCKETD.values():
        assert set(re.findall(r"--[a-z-]+", hint)) <= OURS | OF_PER_CLIENT
