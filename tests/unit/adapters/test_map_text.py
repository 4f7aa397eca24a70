"""Each message has its own answer, in order, whatever is in it and wherever the streams are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.adapters.map_text import NEWLINE, make
from fws_pipe.errors import ProgramError
from fws_pipe.pipes.line_cutter import LineCutter
from fws_pipe.protocol.codec import Frame
from tests.unit.adapters.conversation import TICK, Conversation, message


def conversation_with(newline: str = "keep") -> Conversation:
    return Conversation(make, [NEWLINE], "--newline", newline)


events = st.lists(st.one_of(st.text("ab%\n\r\0é").map(message), st.binary(max_size=3).map(message), st.just(TICK)))


@given(events, st.sampled_from(["keep", "escape"]), st.integers(1, 50), st.integers(1, 5))
def test_with_a_program_that_changes_nothing_nothing_changes(
    sent: list[Frame], newline: str, cut: int, batch: int
) -> None:
    conversation = conversation_with(newline)
    program = b""
    cutter = LineCutter(1 << 20)
    for start in range(0, len(sent), batch):
        program += conversation.give(*sent[start : start + batch])
    for start in range(0, len(program), cut):
        conversation.translator.take_lines(cutter.feed(program[start : start + cut]))
    assert conversation.frames() == sent
    assert (conversation.translator.unanswered, conversation.translator.missing()) == (0, "")
    assert not conversation.told


def test_what_stands_behind_a_message_waits_for_its_answer() -> None:
    conversation = conversation_with()
    assert conversation.give(message("a\nb"), TICK, message(b"\0"), message("c")) == b"a\nb\nc\n"
    assert conversation.frames() == []
    assert conversation.translator.missing() == "2 messages unanswered"
    conversation.translator.take_lines([b"A"])
    assert conversation.frames() == []
    conversation.translator.take_lines([b"B\r"])
    assert conversation.frames() == [message("A\nB"), TICK, message(b"\0")]
    conversation.translator.end()
    conversation.translator.take_lines([b"C"])
    assert conversation.frames() == [message("C")]


def test_what_stands_before_any_message_does_not() -> None:
    conversation = conversation_with()
    passed = [TICK, message(b"binary"), {"type": "message", "id": "a"}, {"type": "message", "data": "nobody's"}]
    assert conversation.give(*passed) == b""
    assert conversation.frames() == passed


def test_reject_closes_the_sender_of_several_lines_in_its_turn() -> None:
    conversation = conversation_with("reject")
    no_event = {"type": "message", "id": "a-1", "data": "a\nb"}
    assert conversation.give(message("one"), message("two\nlines", 2), no_event) == b"one\n"
    assert conversation.frames() == []
    conversation.translator.take_lines([b"ONE"])
    close = {"type": "close", "to": "a-1", "code": 1003, "reason": "a message must be a single line"}
    assert conversation.frames() == [message("ONE"), {**close, "seq": 2}, close]


def test_an_answer_that_is_not_utf_8_is_told_and_made_some() -> None:
    conversation = conversation_with()
    conversation.give(message("a"))
    conversation.translator.take_lines([b"\xff!"])
    assert conversation.frames() == [message("\ufffd!")]
    assert conversation.told == ["an answer is not UTF-8: bytes b'\\xff!'; sent with replacement characters"]


def test_what_would_answer_the_wrong_message_ends_it() -> None:
    conversation = conversation_with()
    with pytest.raises(ProgramError, match="a line that answers no message: bytes b'banner'"):
        conversation.translator.take_lines([b"banner"])
    with pytest.raises(ProgramError, match="over the limit"):
        conversation.translator.note_dropped(1)
