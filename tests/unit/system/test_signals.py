"""How a process has ended, in words."""

from __future__ import annotations

import pytest

from fws_pipe.system.signals import ending_of


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-9, "was killed by SIGKILL"),
        (-40, "was killed by signal 40"),
    ],
)
def test_how_a_process_has_ended(status: int, text: str) -> None:
    assert ending_of(status) == text
