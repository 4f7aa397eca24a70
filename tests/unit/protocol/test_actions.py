"""What a right action is, field by field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.protocol.actions import ACTION_TYPES, check_action, may_be_sent
from fws_pipe.protocol.codec import Frame
from tests.strategies import actions


@given(actions)
def test_right_actions_have_no_problem(action: Frame) -> None:
    assert check_action(action) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
fields = st.sampled_from(
    [
        "seq",
        "to",
        "group",
        "except",
        "everywhere",
        "data",
        "code",
        "reason",
        "id",
        "channel",
        "events",
        "status",
        "auth",
        "subprotocol",
    ]
)


@given(st.sampled_from(sorted(ACTION_TYPES)), st.dictionaries(fields | st.text(max_size=5), values, max_size=5))
def test_any_action_is_right_or_has_a_problem_in_one_line(kind: str, given_fields: dict[str, object]) -> None:
    """Nothing is raised, whatever a filter writes into an action; the problem names the type of the action first."""
    problem = check_action({**given_fields, "type": kind})
    assert problem is None or (problem.startswith(kind) and len(problem.splitlines()) == 1)


@pytest.mark.parametrize(
    ("action", "problem"),
    [
        ({"type": "send", "to": "a"}, "send.data: is missing"),
        (
            {"type": "accept", "id": "a", "subprotocol": "b\r\nX: y"},
            "accept.subprotocol: expected a subprotocol's name, or nothing, got str 'b\\r\\nX: y'",
        ),
        ({"type": "send", "to": 5, "data": "x"}, "send.to: expected an id or a list of ids, got int 5"),
        ({"type": "send", "to": ["a", 5], "data": "x"}, "send.to: expected an id or a list of ids, got list ['a', 5]"),
        (
            {"type": "send", "to": "a", "data": 5},
            "send.data: expected a string (text) or bytes (binary), or a list of these, got int 5",
        ),
        (
            {"type": "send", "to": "a", "data": "\udcff"},
            "send.data: expected a string (text) or bytes (binary), or a list of these, got str '\\udcff'",
        ),
        ({"type": "send", "data": "x"}, "send: expected one of `to` and `group`, got neither"),
        ({"type": "send", "data": "x", "to": "a", "group": "g"}, "send: expected one of `to` and `group`, got both"),
        (
            {"type": "send", "to": "a", "data": "x", "except": 1},
            "send.except: expected an id or a list of ids, got int 1",
        ),
        ({"type": "send", "to": "a", "data": "x", "seq": "1"}, "send.seq: expected an integer, got str '1'"),
        (
            {"type": "send", "to": "a", "data": ["x", 5]},
            "send.data: expected a string (text) or bytes (binary), or a list of these, got list ['x', 5]",
        ),
        (
            {"type": "send", "to": "a", "data": ["x", "\udcff"], "seq": [1, 2]},
            "send.data: expected a string (text) or bytes (binary), or a list of these, got list ['x', '\\udcff']",
        ),
        (
            {"type": "send", "to": "a", "data": ["x", "y"], "seq": [1]},
            "send.seq: expected as many integers as messages, 2, got list [1]",
        ),
        (
            {"type": "send", "to": "a", "data": ["x", "y"], "seq": [1, 2.5]},
            "send.seq: expected as many integers as messages, 2, got list [1, 2.5]",
        ),
        (
            {"type": "send", "to": "a", "data": ["x"], "seq": ["1"]},
            "send.seq: expected as many integers as messages, 1, got list ['1']",
        ),
        ({"type": "send", "to": "a", "data": "x", "seq": [1]}, "send.seq: expected an integer, got list [1]"),
        (
            {"type": "close", "to": "a", "code": 1005},
            "close.code: expected a close code that may be sent: 1000-1003, 1007-1014, 3000-4999, got int 1005",
        ),
        (
            {"type": "close", "to": "a", "reason": "x" * 124},
            "close.reason: expected a string of at most 123 bytes, got str '" + "x" * 36 + "...",
        ),
        ({"type": "join", "id": "a"}, "join.group: is missing"),
        ({"type": "leave", "id": None, "group": "g"}, "leave.id: expected a string, got NoneType None"),
        (
            {"type": "publish", "channel": "", "data": "x"},
            "publish.channel: expected a string that isn't empty, got str ''",
        ),
        ({"type": "hold", "id": ["a"]}, "hold.id: expected a string, got list ['a']"),
        ({"type": "resume"}, "resume.id: is missing"),
        ({"type": "remember", "id": "a"}, "remember.value: is missing"),
        (
            {"type": "remember", "id": "a", "value": "x" * 16384},
            "remember.value: expected what msgpack can carry in at most 16384 bytes, got str '" + "x" * 36 + "...",
        ),
        (
            {"type": "remember", "id": "a", "value": 1, "name": 2},
            "remember.name: expected a string of at most 1024 bytes, got int 2",
        ),
        ({"type": "flush", "id": 5}, "flush.id: expected a string, got int 5"),
        ({"type": "enqueue"}, "enqueue.data: is missing"),
        ({"type": "want", "events": "data"}, "want.events: expected a list of event types, got str 'data'"),
    ],
)
def test_wrong_actions_are_named_with_field_and_value(action: Frame, problem: str) -> None:
    assert check_action(action) == problem


@pytest.mark.parametrize("data", [[], ["x"], ["x", b"\0"], ["x", "é"], [b"\0", b""]])
@pytest.mark.parametrize("cause", [{}, {"seq": 7}, {"seq": [7] * 9}])
def test_one_send_may_carry_many_messages(data: list[str | bytes], cause: dict[str, object]) -> None:
    if isinstance(cause.get("seq"), list):
        cause = {"seq": [7] * len(data)}
    for whom in ({"to": "a"}, {"to": "*", "except": "b", "everywhere": True}, {"group": "g"}):
        assert check_action({"type": "send", **whom, "data": data, **cause}) is None


def test_close_codes_that_may_be_sent() -> None:
    allowed = {code for code in range(6000) if may_be_sent(code)}
    assert {1000, 1001, 1011, 1013, 3000, 4401, 4999} <= allowed
    assert allowed.isdisjoint({0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000})
