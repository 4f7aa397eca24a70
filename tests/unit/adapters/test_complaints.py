"""A program that is always wrong does not fill the log."""

from __future__ import annotations

import pytest

from fws_pipe.adapters.complaints import Complaints


def test_a_few_are_told_and_the_others_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    complaints = Complaints("lines")
    for number in range(8):
        complaints.tell(f"no {number}")
    assert capsys.readouterr().err.splitlines() == [f"lines: no {number}" for number in range(5)]
    now += 1
    complaints.tell("later\x1b[31m")
    complaints.finish()
    complaints.finish()
    assert capsys.readouterr().err.splitlines() == ["lines: 3 similar lines left out", r"lines: later\x1b[31m"]
