"""Code deep within a filter shows that the filter lives, in the way that the filter has registered."""

from __future__ import annotations

import pytest

from fws_pipe.protocol import life


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "_shown_by", [])


def test_without_a_way_nothing_happens() -> None:
    life.show_life()


def test_the_last_way_that_was_registered_counts() -> None:
    shown: list[str] = []
    life.show_life_by(lambda: shown.append("first"))
    life.show_life()
    life.show_life_by(lambda: shown.append("second"))
    life.show_life()
    assert shown == ["first", "second"]
