"""Frames are chosen by type and client, a bounded number a second."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fws_pipe.admin.shown_frames import MOST_A_SECOND, MOST_BYTES, ShownFrames, shown
from fws_pipe.protocol.codec import Frame, encode

MESSAGE: Frame = {"type": "message", "id": "a-1", "data": "x"}
SEND: Frame = {"type": "send", "to": ["a-1", "a-2"], "data": "x"}


@pytest.mark.parametrize(
    ("kind", "client", "frame", "expected"),
    [
        ("", "", {}, True),
        ("message", "", MESSAGE, True),
        ("message", "", SEND, False),
        ("", "a-1", MESSAGE, True),
        ("", "a-1", SEND, True),
        ("", "a", SEND, False),
        ("send", "a-2", SEND, True),
        ("", "a-1", {"type": "send", "to": "a-1"}, True),
        ("", "a-1", {"type": "tick"}, False),
    ],
)
def test_frames_are_chosen_by_type_and_client(kind: str, client: str, frame: Frame, expected: bool) -> None:
    assert ShownFrames(kind, client).fits(frame) is expected


def test_a_second_has_room_for_so_many_and_the_rest_is_counted() -> None:
    frames = ShownFrames("", "")
    assert frames.begin_second() == b""
    assert sum(frames.may_show() for _ in range(MOST_A_SECOND + 3)) == MOST_A_SECOND
    assert json.loads(frames.begin_second()) == {"skipped": 3}
    assert frames.may_show()
    assert frames.begin_second() == b""


def line(frame: Frame) -> Any:
    told = shown(frame, encode(frame))
    assert told.endswith(b"\n")
    assert told.count(b"\n") == 1
    return json.loads(told)


def test_a_frame_is_one_line_and_a_large_one_a_short_line() -> None:
    assert line({**MESSAGE, "data": "\n\u202e"}) == {"frame": {**MESSAGE, "data": "\n\u202e"}}
    large = {**MESSAGE, "data": b"x" * MOST_BYTES}
    assert line(large) == {"large": {"type": "message", "id": "a-1"}, "bytes": len(encode(large))}
    assert line({"type": "x" * MOST_BYTES, "id": 5})["large"] == {}
