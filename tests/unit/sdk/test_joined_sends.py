"""Joined sends say what the single ones would have said, in their order."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.protocol.actions import check_action
from fws_pipe.sdk.joined_sends import JoinedSends, Target
from tests.strategies import ids, payloads

targets = st.tuples(ids, st.none() | ids, st.booleans())
steps = st.lists(st.one_of(st.just("end"), st.tuples(st.sampled_from(range(3)), payloads)), max_size=30)


def split(action: dict[str, Any]) -> list[tuple[Target, str | bytes, int]]:
    """The messages of an action, one by one."""
    assert check_action(action) is None
    data, seq = action["data"], action["seq"]
    pairs = zip(data, seq, strict=True) if isinstance(data, list) else [(data, seq)]
    target = (action["to"], action.get("except"), action.get("everywhere", False))
    return [(target, message, number) for message, number in pairs]


@given(st.lists(targets, min_size=3, max_size=3), steps)
def test_nothing_is_lost_doubled_or_overtaken(receivers: list[Target], made: list[Any]) -> None:
    actions: list[dict[str, Any]] = []
    joined = JoinedSends(actions.append)
    expected = []
    for seq, step in enumerate(made):
        if step == "end":
            joined.end()
        else:
            target, data = receivers[step[0]], step[1]
            joined.add(target, data, seq)
            expected.append((target, data, seq))
    joined.end()
    assert [message for action in actions for message in split(action)] == expected


def test_a_run_is_one_action_and_ends_when_it_is_large() -> None:
    actions: list[dict[str, Any]] = []
    joined = JoinedSends(actions.append)
    for seq in range(3):
        joined.add(("a", None, False), "x", seq)
    joined.end()
    assert actions == [{"type": "send", "to": "a", "data": ["x"] * 3, "seq": [0, 1, 2]}]
    actions.clear()
    for seq in range(5000):
        joined.add(("*", "a", True), b"x", seq)
    for seq in range(5):
        joined.add(("*", "a", True), b"x" * 30_000, seq)
    joined.end()
    assert max(len(action["data"]) for action in actions) < 5000
    assert max(sum(map(len, action["data"])) for action in actions) < 100_000


def test_what_a_failed_handler_has_sent_is_taken_back() -> None:
    actions: list[dict[str, Any]] = []
    joined = JoinedSends(actions.append)
    joined.add(("a", None, False), "done", 1)
    joined.add(("a", None, False), "half", 2)
    joined.add(("a", None, False), "done", 2)
    joined.discard(2)
    joined.end()
    assert actions == [{"type": "send", "to": "a", "data": "done", "seq": 1}]
