"""What JSON-RPC 2.0 calls a request, a notification and a response, and nothing else, is a message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.adapters.rpc_form import InvalidMessageError, Kind, answered_id_of, call_id_of, kind_of

ids = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
anything = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()) | st.dictionaries(
    st.text(), st.integers()
)  # fmt: skip
no_text = anything.filter(lambda value: not isinstance(value, str))
params = st.lists(st.integers()) | st.dictionaries(st.text(), st.integers())
errors = st.fixed_dictionaries({"code": st.integers(), "message": st.text()}, optional={"data": anything})
version = {"jsonrpc": st.just("2.0")}

requests = st.fixed_dictionaries({**version, "id": ids, "method": st.text()}, optional={"params": params})
notifications = st.fixed_dictionaries({**version, "method": st.text()}, optional={"params": params})
answers = st.fixed_dictionaries({**version, "id": ids, "result": anything}) | st.fixed_dictionaries(
    {**version, "id": ids, "error": errors}
)


@given(requests, notifications, answers)
def test_the_kinds_of_the_specification(request: Any, notification: Any, answer: Any) -> None:
    assert (kind_of(request), kind_of(notification), kind_of(answer)) == (
        Kind.REQUEST, Kind.NOTIFICATION, Kind.ANSWER,
    )  # fmt: skip


WRONG = {
    "jsonrpc": anything,
    "id": st.booleans() | params,
    "method": no_text,
    "params": st.booleans() | st.integers() | st.text(),
    "error": anything | st.fixed_dictionaries({"code": st.text() | params, "message": st.text()})
    | st.fixed_dictionaries({"code": st.integers(), "message": no_text}),
}  # fmt: skip


@given(requests | notifications | answers, st.data())
def test_one_wrong_member_makes_it_none(message: Any, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(set(WRONG) & message.keys())))
    with pytest.raises(InvalidMessageError, match=f"message.{name}: expected "):
        kind_of({**message, name: data.draw(WRONG[name])})


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (5, "expected an object, got int 5"),
        ({"method": "x"}, "message.jsonrpc: is missing"),
        ({"jsonrpc": "2.0"}, "message.id: is missing"),
        ({"jsonrpc": "2.0", "id": 1}, "expected a method, or one of result and error, got neither"),
        ({"jsonrpc": "2.0", "id": 1, "result": 1, "error": {"code": 1, "message": ""}},
         "expected a method, or one of result and error, got both"),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": 1}},
         "message.error: expected an object with a code, an integer, and a message, a string, got dict {'code': 1}"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(message: object, problem: str) -> None:
    with pytest.raises(InvalidMessageError) as caught:
        kind_of(message)
    assert str(caught.value) == problem


def test_null_stands_for_no_parameters() -> None:
    assert kind_of({"jsonrpc": "2.0", "method": "x", "params": None}) is Kind.NOTIFICATION


@pytest.mark.parametrize(
    ("message", "call_id", "answered_id"),
    [
        ({"id": 1, "method": 5}, 1, None), ({"id": [], "method": 5}, None, None), ({"id": 1}, None, 1),
        ({"id": True}, None, None), ({"id": "1"}, None, None), (5, None, None),
    ],
)  # fmt: skip
def test_whom_an_invalid_message_concerns(message: object, call_id: object, answered_id: int | None) -> None:
    assert (call_id_of(message), answered_id_of(message)) == (call_id, answered_id)
