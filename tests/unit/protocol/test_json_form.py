"""The JSON form: every frame there and back, and what jq sees."""

from __future__ import annotations

import json
import math

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.protocol.codec import Frame, FrameDecoder, encode
from fws_pipe.protocol.json_form import JsonFormError, decode_line, from_json, is_blank, to_json
from fws_pipe.terminal import one_line
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
    assert one_line(line.decode().removesuffix("\n")) == line.decode().removesuffix("\n")
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
    assert json.loads(to_json({"type": "message", "data": "base64:x"}))["data"] == "base64:x"
    assert b'"data":"\\u0010base64:AAE="' in to_json({"type": "message", "data": b"\0\1"})


tricky_texts = st.lists(
    st.sampled_from(["\x10", "\x1a", "s", "d", "base64:", "msgpack:", "text:", "AAEC", "kA=="]) | st.text(max_size=2),
    max_size=8,
).map("".join)


@given(tricky_texts, st.integers(0, 20), st.integers(0, 40), tricky_texts)
def test_what_is_cut_out_of_text_and_joined_stays_text(one: str, start: int, end: int, other: str) -> None:
    """A client must not be able to have a filter that cuts its text send bytes, or a list."""
    one, other = [json.loads(to_json({"data": text}))["data"] for text in (one, other)]
    for built in (one[start:end], one[start:end] + other, other[start:] + one):
        line = json.dumps({"data": built}).encode()
        assert isinstance(from_json(line)["data"], str)


@given(tricky_texts | st.binary())
def test_text_and_bytes_come_back(data: str | bytes) -> None:
    assert from_json(to_json({"type": "message", "data": data}))["data"] == data


@pytest.mark.parametrize("text", ["\x10hello", "base64:AAE=", "text:base64:AAE=", "msgpack:kA==", "\x1a", "\x1ax"])
def test_text_of_other_programs_stays_text(text: str) -> None:
    assert from_json(json.dumps({"data": text}).encode())["data"] == text


@pytest.mark.parametrize(
    "line",
    [b'\x1e{"type":"x"}', b'\xef\xbb\xbf{"type":"x"}', b'\xef\xbb\xbf\x1e {"type":"x"}\r', b'\x1e\x1e{"type":"x"}'],
)
def test_record_separators_and_byte_order_marks_are_skipped(line: bytes) -> None:
    assert from_json(line) == {"type": "x"}


@pytest.mark.parametrize("line", [b"", b"  ", b"\x1e", b"\xef\xbb\xbf\r", b"\x1e \x1e"])
def test_a_line_that_holds_nothing_is_blank(line: bytes) -> None:
    assert is_blank(line)
    assert not is_blank(line + b"{")


def nested(depth: int) -> bytes:
    """The msgpack form of a frame that holds lists in lists, so many."""
    return b"\x82\xa4type\xa1x\xa4deep" + b"\x91" * depth + b"\xc0"


@pytest.mark.parametrize("depth", [50, 99, 100, 101, 300, 500, 510, 520, 600, 700, 1000, 1020])
def test_a_frame_of_any_depth_that_a_filter_passes_comes_back(depth: int) -> None:
    decoder = FrameDecoder()
    decoder.feed(nested(depth))
    ((frame, raw),) = list(decoder)
    line = to_json(frame, raw)
    assert json.loads(line)["type"] == "x"
    assert decode_line(line)[1] == raw


one_value = st.one_of(
    st.just(math.nan),
    st.integers(-(2**63), 2**64 - 1),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=5)),
    st.builds(msgpack.Timestamp, st.integers(0, 2**33), st.integers(0, 999_999_999)),
    st.binary(max_size=5),
    st.binary(max_size=5).map(lambda data: data.decode("utf-8", "surrogateescape")),
    st.booleans(),
)


@given(st.dictionaries(one_value, one_value | st.lists(one_value) | st.dictionaries(one_value, one_value)))
def test_whatever_a_filter_passes_has_a_json_form(odd: Frame) -> None:
    raw = encode(odd)
    decoder = FrameDecoder()
    decoder.feed(raw)
    ((frame, _),) = list(decoder)
    assert decode_line(to_json(frame))[1] == raw


def test_what_json_has_no_word_for() -> None:
    odd: Frame = {"type": "x", "nan": math.nan, "inf": math.inf, "ext": msgpack.ExtType(7, b"abc"), 5: 1, b"k": 2}  # type: ignore[dict-item]
    assert b"NaN" not in to_json(odd)
    assert encode(from_json(to_json(odd))) == encode(odd)


def test_bytes_in_a_str_that_is_no_utf8_come_back() -> None:
    frame = msgpack.unpackb(b"\x81\xa4text\xa2\xff\xfe", unicode_errors="surrogateescape")
    assert encode(from_json(to_json(frame))) == b"\x81\xa4text\xa2\xff\xfe"
    assert to_json(frame) == b'{"text":"\\udcff\\udcfe"}\n'


def test_what_is_not_printable_is_escaped_and_comes_back() -> None:
    frame: Frame = {"type": "x", "\u202e": "\x7f\x9b\u2028\u2066\U000e0001 é 今日は 👩\u200d👧"}
    line = to_json(frame)
    assert line.decode() == (
        '{"type":"x","\\u202e":"\\u007f\\u009b\\u2028\\u2066\\udb40\\udc01 é 今日は 👩\u200d👧"}\n'
    )
    assert from_json(line) == frame


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"nonsense", "not JSON"),
        (b"[1]", r"expected an object, got list \[1\]"),
        (b"12", "expected an object, got int 12"),
        (b'{"data": "\\u0010base64:!"}', "does not hold what its prefix says"),
        (b'{"data": "\\u0010base64:\xc3\xa9"}', "does not hold what its prefix says"),
        (b'{"data": "\\u0010msgpack:wQ=="}', "does not hold what its prefix says"),
        (b'{"\\u0010msgpack:kA==": 1, "\\u0010msgpack:gA==": 2}', "has no msgpack form"),
        (b'{"\\u0010frame": 1}', "expected a string"),
        (b'{"\\u0010frame": "!"}', "does not hold"),
        (b'{"\\u0010frame": "kA=="}', "expected a map"),
        (b'{"\\u0010frame": "gIA="}', "expected one frame, got 2"),
        (b'{"\\u0010frame": "gQ=="}', "the stream ended inside a frame"),
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
