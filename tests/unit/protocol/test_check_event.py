"""The fields of events: what the front writes is valid, and each other value is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.events import (
    EVENT_TYPES,
    check_event,
    consumer_event,
    data_event,
    disconnect_event,
    flushed_event,
    message_event,
    open_event,
    stamp,
    tick_event,
)
from tests.strategies import odd_events

WHOLE: list[Frame] = [
    open_event("a-1", path="/", query="", headers=[["host", "x"]], remote=["::1", 5], tls={"version": "TLSv1.3"}),
    open_event("a-1", path="/", query="", headers=[], remote=["", 0], auth={"sub": "x"}, subprotocol="mcp"),
    data_event("a-1", b"x"),
    message_event("a-1", "x"),
    message_event("a-1", b"x"),
    disconnect_event("a-1", code=1000, reason="", clean=True),
    consumer_event("news", b"x", "server"),
    consumer_event(None, {"any": ["thing"]}, None),
    flushed_event("a-1"),
    tick_event(),
]


def test_what_the_front_writes_is_valid() -> None:
    assert {event["type"] for event in WHOLE} == EVENT_TYPES
    for event in WHOLE:
        assert check_event(stamp(event, 1, 1.5), event["type"]) is None


def test_what_is_no_field_of_the_front_may_be_left_out_and_may_be_anything() -> None:
    assert check_event({"type": "message", "id": "a", "data": "", "time": 1, "mood": []}, "message") is None
    assert check_event({"type": "open", "id": "a"}, "open") is None


@pytest.mark.parametrize(
    ("event", "fault"),
    [
        ({"type": "message", "data": ""}, "message.id: is missing"),
        ({"type": "message", "id": ["x"], "data": ""}, "message.id: expected a string, got list ['x']"),
        ({"type": "open", "id": "a", "headers": 5}, "open.headers: expected a list of [name, value], got int 5"),
        ({"type": "open", "id": "a", "headers": [["x"]]},
         "open.headers: expected a list of [name, value], got list [['x']]"),
        ({"type": "open", "id": "a", "remote": 3}, "open.remote: expected [host, port], got int 3"),
        ({"type": "consumer", "channel": 5, "data": ""},
         "consumer.channel: expected a string, or nothing, got int 5"),
        ({"type": "tick", "seq": 1.0}, "tick.seq: expected an integer, got float 1.0"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(event: Frame, fault: str) -> None:
    assert check_event(event, event["type"]) == fault


@given(odd_events())
def test_every_wrong_field_is_found(odd: tuple[Frame, str]) -> None:
    event, name = odd
    fault = check_event(event, event["type"])
    assert fault is not None
    assert fault.startswith(f"{event['type']}.{name}: ")


@given(st.sampled_from(sorted(EVENT_TYPES)), st.dictionaries(st.text(max_size=8), st.none() | st.integers()))
def test_a_check_never_fails(kind: str, fields: Frame) -> None:
    check_event({**fields, "type": kind}, kind)
