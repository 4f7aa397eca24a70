"""Events as lines of fields, and lines of fields as actions."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.adapters.giving import ACK
from fws_pipe.adapters.lines import unescape
from fws_pipe.adapters.text_lines import action_of, make
from fws_pipe.protocol.actions import check_action
from fws_pipe.protocol.codec import Frame
from tests.strategies import frames
from tests.unit.adapters.conversation import TICK, Conversation, message


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (message("hello"), "message\ta-1\thello"),
        (message("100%\ta\r\nb é"), "message\ta-1\t100%25%09a%0D%0Ab é"),
        (message(""), "message\ta-1\t"),
        (message(b"\0\xff\n"), "binary\ta-1\tAP8K"),
        ({"type": "open", "id": "a-1", "path": "/chat", "query": "", "replay": False}, "open\ta-1\t/chat"),
        ({"type": "open", "id": "a-1", "path": "/a%20b", "query": "x=1"}, "open\ta-1\t/a%2520b?x=1"),
        ({"type": "open", "id": "a-1", "path": "/", "replay": True}, "open\ta-1\t/\treplay"),
        ({"type": "open", "id": "a-1"}, "open\ta-1\t"),
        ({"type": "disconnect", "id": "a-1", "code": 1001, "reason": "bye"}, "close\ta-1\t1001"),
        ({"type": "consumer", "channel": "news", "data": "a\tb"}, "consumer\tnews\ta%09b"),
        ({"type": "consumer", "channel": "news", "data": b"\0"}, "consumer-binary\tnews\tAA=="),
        ({"type": "consumer", "channel": None, "data": {"job": 1}}, 'consumer\t\t{"job":1}'),
        ({"type": "consumer", "channel": None, "data": {b"\0": 1}}, 'consumer\t\t{"\\u0010base64:AA==":1}'),
    ],
)
def test_events(event: Frame, line: str) -> None:
    conversation = Conversation(make, [ACK])
    assert conversation.give(event).decode() == line + "\n"
    assert conversation.frames() == [event]


def test_what_the_program_does_not_see() -> None:
    conversation = Conversation(make, [ACK])
    sent: list[Frame] = [
        {"type": "send", "to": "a", "data": "x"}, {"type": "message", "id": "a"}, {"no": "type"}, {"type": 5},
        {"type": "data", "id": "a", "data": b"raw"}, TICK,
    ]  # fmt: skip
    assert conversation.give(*sent) == b""
    assert conversation.frames() == sent


@given(st.lists(frames))
def test_any_frame_passes_and_is_one_line_at_most(sent: list[Frame]) -> None:
    conversation = Conversation(make, [ACK])
    conversation.give(*sent)
    conversation.translator.end()
    assert conversation.frames() == sent


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ("send\ta-1\thello", {"type": "send", "to": "a-1", "data": "hello"}),
        ("send\t*\t100%25%0a%0D%09 é", {"type": "send", "to": "*", "data": "100%\n\r\t é"}),
        ("send\t!a-1\t100% %41", {"type": "send", "to": "*", "except": "a-1", "data": "100% %41"}),
        ("send\t@room\ta\tb", {"type": "send", "group": "room", "data": "a\tb"}),
        ("send\t*\t", {"type": "send", "to": "*", "data": ""}),
        ("send\t*\thello\r", {"type": "send", "to": "*", "data": "hello"}),
        ("binary\t*\tAP8K", {"type": "send", "to": "*", "data": b"\0\xff\n"}),
        ("close\ta-1", {"type": "close", "to": "a-1", "code": 1000, "reason": ""}),
        ("close\ta-1\t", {"type": "close", "to": "a-1", "code": 1000, "reason": ""}),
        ("close\ta-1\t4000\tgo\taway", {"type": "close", "to": "a-1", "code": 4000, "reason": "go\taway"}),
        ("join\ta-1\troom", {"type": "join", "id": "a-1", "group": "room"}),
        ("leave\ta-1\troom", {"type": "leave", "id": "a-1", "group": "room"}),
        ("publish\tnews\thello", {"type": "publish", "channel": "news", "data": "hello"}),
        ("publish-binary\tnews\tAA==", {"type": "publish", "channel": "news", "data": b"\0"}),
        ("accept\ta-1", {"type": "accept", "id": "a-1"}),
        ("reject\ta-1", {"type": "reject", "id": "a-1", "status": 403, "reason": ""}),
        ("reject\ta-1\t404\tno", {"type": "reject", "id": "a-1", "status": 404, "reason": "no"}),
    ],
)
def test_actions(line: str, action: Frame) -> None:
    assert Conversation(make, [ACK]).answer(line.encode()) == [action]
    assert check_action(action) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"snd\ta\tb", "expected one of send, binary, close, join, leave, publish, "),
        (b"hello", "expected one of send, "),
        (b"send\ta", "expected send⇥ID|*|@GROUP|!ID⇥TEXT, got bytes b'send\\ta'; dropped"),
        (b"send", "expected send⇥ID|*|@GROUP|!ID⇥TEXT"),
        (b"binary\ta\tA", "expected base64 in its last field"),
        (b"binary\ta\t~~~~", "expected base64 in its last field"),
        (b"close\ta\tnow", "expected a number in its third field"),
        (b"close\ta\t" + b"9" * 5000, "expected a number in its third field"),
        (b"close\ta\t1005", "close.code: expected a close code that may be sent"),
        (b"join\ta\t" + b"g" * 2000, "join.group: expected a string of at most 1024 bytes"),
        (b"publish\t\tx", "publish.channel: expected a string that isn't empty"),
        (b"reject\ta\t200", "reject.status: expected an HTTP status"),
        (b"send\ta\t\xff", "expected UTF-8, got bytes b'send\\ta\\t\\xff'; dropped"),
    ],
)
def test_what_is_no_action_is_told_with_what_was_expected(line: bytes, expected: str) -> None:
    conversation = Conversation(make, [ACK])
    assert conversation.answer(line) == []
    [told] = conversation.told
    assert told.startswith(expected)
    assert told.endswith("; dropped")
    assert len(told) < 300


def test_empty_lines_and_lines_that_were_too_long() -> None:
    conversation = Conversation(make, [ACK])
    assert conversation.answer(b"", b"\r") == []
    assert not conversation.told
    conversation.translator.note_dropped(1)
    assert conversation.told == ["1 line over the limit of 16777216 bytes; dropped"]


@given(st.text(), st.binary())
def test_a_program_that_copies_a_field_answers_with_what_it_got(text: str, data: bytes) -> None:
    conversation = Conversation(make, [ACK])
    for sent in (text, data):
        verb, client, field = conversation.give(message(sent)).decode().removesuffix("\n").split("\t")
        reply = {"message": "send"}.get(verb, verb)
        assert action_of(f"{reply}\t{client}\t{field}".encode()) == {"type": "send", "to": client, "data": sent}
    assert base64.b64decode(field) == data


@given(st.text("aéB%\n\r\t0dDa9", max_size=20))
def test_upper_case_hurts_only_letters(text: str) -> None:
    line = Conversation(make, [ACK]).give(message(text)).decode()
    assert unescape(line.removesuffix("\n").split("\t")[2].upper()) == text.upper()
