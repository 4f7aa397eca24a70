"""The JSON form: every frame there and back, and what jq sees."""

from __future__ import annotations

import json
import math

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.protocol.codec import Frame, encode
from fws_pipe.protocol.json_form import JsonFormError, from_json, to_json
from tests.strategies import frames

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.binary(), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: "\ud800" not in repr(value))


@given(frames)
def test_every_event_and_action_comes_back_unchanged(frame: Frame) -> None:
    line = to_json(frame)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert encode(from_json(line)) == encode(frame)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), anything, max_size=4))
def test_frames_of_other_programs_come_back_unchanged(frame: Frame) -> None:
    try:
        raw = encode(frame)
    except UnicodeEncodeError:
        return  # a lone surrogate that no byte can have become: no frame holds it
    assert encode(from_json(to_json(frame))) == raw


def test_text_stays_a_plain_string_and_bytes_are_one_too() -> None:
    assert json.loads(to_json({"type": "message", "data": "héllo"})) == {"type": "message", "data": "héllo"}
    assert json.loads(to_json({"type": "message", "data": b"\0\1"}))["data"] == "base64:AAE="
    assert json.loads(to_json({"type": "message", "data": "base64:x"}))["data"] == "text:base64:x"


def test_a_client_cannot_pass_text_off_as_bytes() -> None:
    assert from_json(to_json({"type": "message", "data": "base64:AAE="}))["data"] == "base64:AAE="


def test_what_json_has_no_word_for() -> None:
    odd: Frame = {"type": "x", "nan": math.nan, "inf": math.inf, "ext": msgpack.ExtType(7, b"abc"), 5: 1, b"k": 2}  # type: ignore[dict-item]
    assert b"NaN" not in to_json(odd)
    assert encode(from_json(to_json(odd))) == encode(odd)


def test_bytes_in_a_str_that_is_no_utf8_come_back() -> None:
    frame = msgpack.unpackb(b"\x81\xa4text\xa2\xff\xfe", unicode_errors="surrogateescape")
    assert encode(from_json(to_json(frame))) == b"\x81\xa4text\xa2\xff\xfe"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"nonsense", "not JSON"),
        (b"[1]", r"expected an object, got list \[1\]"),
        (b"12", "expected an object, got int 12"),
        (b'{"data": "base64:!"}', "does not hold what its prefix says"),
        (b'{"data": "msgpack:wQ=="}', "does not hold what its prefix says"),
        (b'{"msgpack:kA==": 1, "msgpack:gA==": 2}', "has no msgpack form"),
        (b'{"n": 99999999999999999999999}', "has no msgpack form"),
        (b'{"text": "\\ud800"}', "has no msgpack form"),
        (b"[" * 100000, "not JSON"),
    ],
)
def test_what_a_bad_line_is_told(line: bytes, problem: str) -> None:
    with pytest.raises(JsonFormError, match=problem):
        from_json(line)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_frame_or_a_json_form_error(line: bytes) -> None:
    try:
        frame = from_json(line)
    except JsonFormError:
        return
    assert encode(frame)
