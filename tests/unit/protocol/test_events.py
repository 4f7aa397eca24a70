"""Each builder makes an event that filters may rely on, with a number and a time before its other fields."""

from __future__ import annotations

import pytest

from fws_pipe.protocol import events
from fws_pipe.protocol.codec import Frame, decode_frame, encode
from fws_pipe.protocol.events import EVENT_TYPES, check_event

BUILT: list[Frame] = [
    events.open_event("a", path="/", query="", headers=[["host", "h"]], remote=["127.0.0.1", 1]),
    events.data_event("a", b"\x81"),
    events.message_event("a", "text"),
    events.disconnect_event("a", code=1000, reason="", clean=True),
    events.consumer_event("news", "text", None),
    events.flushed_event("a"),
    events.tick_event(),
]


@pytest.mark.parametrize("event", BUILT, ids=lambda event: str(event["type"]))
def test_an_event_has_its_required_fields_and_comes_back_from_the_pipe(event: Frame) -> None:
    assert check_event(event, event["type"]) is None
    stamped = events.stamp(event, 7, 1.5)
    assert list(stamped)[:3] == ["type", "seq", "time"]
    assert stamped == {**event, "seq": 7, "time": 1.5}
    assert decode_frame(encode(stamped)) == stamped


def test_there_is_a_builder_for_each_type_of_event() -> None:
    assert {event["type"] for event in BUILT} == EVENT_TYPES


def test_an_unconfirmed_tick_is_the_tick_with_a_mark() -> None:
    tick = events.stamp(events.tick_event(), 3, 0.0)
    assert events.unconfirmed(tick) == {**tick, "unconfirmed": True}
    assert "unconfirmed" not in tick


def test_what_only_the_front_reads_is_no_event() -> None:
    for frame in (events.confirm_frame(3), events.lost_frame(2), events.presence_event("a", ["g"])):
        assert frame["type"] not in EVENT_TYPES
