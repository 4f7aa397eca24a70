"""Groups that clients choose: who is in which one, and what a filter that starts again knows of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fws_pipe.sdk import token_groups
from fws_pipe.sdk.token_groups import TokenGroups

Made = list[tuple[Any, ...]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    actions: Made = []

    def record(name: str) -> Callable[..., None]:
        return lambda *arguments, **fields: actions.append((name, *arguments, *fields.values()))

    for name in ("join", "leave", "send"):
        monkeypatch.setattr(token_groups, name, record(name))
    return actions


def said(client: str, data: str | bytes) -> dict[str, Any]:
    return {"type": "message", "id": client, "data": data}


REGISTERED = "Successfully registered with broadcast group: "


def test_the_old_protocol(made: Made) -> None:
    groups = TokenGroups(None)
    groups.said(said("a", "hello"))
    groups.said(said("a", "token:tea please"))
    groups.said(said("a", "hello"))
    groups.said(said("a", b"token:coffee"))
    groups.gone("a")
    groups.said(said("a", "hello"))
    assert made == [
        ("send", "a", "Error: No token has been set"),
        ("join", "a", "token:tea"),
        ("send", "a", REGISTERED + "tea"),
        ("send", "token:tea", "hello", "a", True),
        ("leave", "a", "token:tea"),
        ("join", "a", "token:coffee"),
        ("send", "a", REGISTERED + "coffee"),
        ("send", "a", "Error: No token has been set"),
    ]


def test_a_token_in_the_middle_of_a_message_is_part_of_the_message(made: Made) -> None:
    groups = TokenGroups("lobby")
    groups.opened({"id": "a"})
    groups.said(said("a", "say token:tea to join us"))
    assert made == [("join", "a", "token:lobby"), ("send", "token:lobby", "say token:tea to join us", "a", True)]


def test_a_token_that_is_too_long_is_an_error_and_changes_nothing(made: Made) -> None:
    groups = TokenGroups(None)
    longest = "x" * 1018
    groups.said(said("a", "token:" + longest))
    groups.said(said("a", "token:" + longest + "x"))
    groups.said(said("a", "token:" + "\u00fc" * 600))
    groups.said(said("a", "hello"))
    error = ("send", "a", "Error: A token may have 1018 bytes")
    assert made == [
        ("join", "a", "token:" + longest),
        ("send", "a", REGISTERED + longest),
        error,
        error,
        ("send", "token:" + longest, "hello", "a", True),
    ]


def test_an_empty_token_leaves(made: Made) -> None:
    groups = TokenGroups("lobby")
    groups.opened({"id": "a"})
    groups.said(said("a", "token:"))
    groups.said(said("a", "token:"))
    groups.said(said("a", "hello"))
    groups.said(said("a", "token:tea"))
    assert made[1:] == [
        ("leave", "a", "token:lobby"),
        ("join", "a", "token:"),
        ("send", "a", "Successfully left broadcast group: lobby"),
        ("send", "a", "Error: No token has been set"),
        ("send", "a", "Error: No token has been set"),
        ("leave", "a", "token:"),
        ("join", "a", "token:tea"),
        ("send", "a", REGISTERED + "tea"),
    ]


def test_a_filter_that_starts_again_knows_the_groups(made: Made) -> None:
    groups = TokenGroups("lobby")
    groups.opened({"id": "a", "groups": ["other", "token:tea"], "replay": True})
    groups.opened({"id": "b", "groups": ["token:"], "replay": True})
    groups.said(said("a", "hello"))
    groups.said(said("b", "hello"))
    assert made == [
        ("send", "token:tea", "hello", "a", True),
        ("send", "b", "Error: No token has been set"),
    ]


def test_the_default_is_joined_by_those_whose_join_died_with_the_chain(made: Made) -> None:
    groups = TokenGroups("lobby")
    groups.opened({"id": "a", "groups": ["other"], "replay": True})
    groups.said(said("a", "hello"))
    assert made == [("join", "a", "token:lobby"), ("send", "token:lobby", "hello", "a", True)]
