"""The cure for output that is kept back."""

from __future__ import annotations

import pytest

from fws_pipe.chain.buffering import cure_for


@pytest.mark.parametrize(
    ("command", "cure"),
    [
        ("jq -c .", "--unbuffered"),
        ("X=1 /usr/bin/sed s/a/b/", "-u"),
        ("( to_json | grep x )", "--line-buffered"),
        ("mawk '{print}'", "-Winteractive"),
        ("python3 -c 'print(1)'", "flush=True"),
        ("./my-program", "stdbuf -oL"),
        ("", "stdbuf -oL"),
    ],
)
def test_names_the_option_of_the_program(command: str, cure: str) -> None:
    assert cure in cure_for(command)
