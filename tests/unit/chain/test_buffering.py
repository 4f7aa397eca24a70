"""The cure for output that is kept back."""

from __future__ import annotations

import pytest

from fws_pipe.chain.buffering import cure_for, mend_for


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


def test_says_what_the_program_writes() -> None:
    assert "after each frame" in cure_for("./my-program")
    assert "after each line" in cure_for("./my-program", "line")


def test_a_program_of_lines_is_sent_to_an_adapter() -> None:
    assert '"per_client bc -l"' in mend_for("bc -l")
    assert mend_for("jq -c .") == cure_for("jq -c .")
