"""What a frame's fields must be is said in one form for all types."""

from __future__ import annotations

import pytest

from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.fields import Fields, fault_of, is_anything, is_flag, is_integer

FIELDS = Fields({"count": is_integer, "data": is_anything}, {"replay": is_flag})


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        ({"count": 1, "data": None}, None),
        ({"count": 1, "data": [], "replay": True, "more": 5}, None),
        ({"data": 1}, "kind.count: is missing"),
        ({"count": 1}, "kind.data: is missing"),
        ({"count": True, "data": 1}, "kind.count: expected an integer, got bool True"),
        ({"count": "1", "data": 1}, "kind.count: expected an integer, got str '1'"),
        ({"count": 1, "data": 1, "replay": 1}, "kind.replay: expected true or false, got int 1"),
    ],
)
def test_the_first_fault_is_named(frame: Frame, fault: str | None) -> None:
    assert fault_of(frame, "kind", FIELDS) == fault
