"""As `to_json | program | from_json`, with ticks round the program."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.adapters.giving import ACK
from fws_pipe.adapters.json_program import make
from fws_pipe.protocol.codec import Frame
from tests.strategies import frames
from tests.unit.adapters.conversation import TICK, Conversation, message


@given(st.lists(frames))
def test_with_cat_every_frame_comes_back(sent: list[Frame]) -> None:
    conversation = Conversation(make, [ACK])
    program = conversation.give(*sent)
    passed = conversation.frames()
    conversation.translator.end()
    program += conversation.translator.lines()
    passed += conversation.answer(*program.split(b"\n"))
    assert all(frame["type"] == "tick" for frame in sent if frame in passed and not program)
    key = [repr(frame) for frame in sent]
    assert sorted(map(repr, passed)) == sorted(key)
    assert not conversation.told


def test_a_tick_goes_round() -> None:
    conversation = Conversation(make, [ACK])
    assert conversation.give(TICK) == b""
    assert conversation.frames() == [TICK]
    assert conversation.answer(b'{"type":"tick"}', b"", b"  \r") == []


def test_with_acknowledgements_it_says_tick() -> None:
    conversation = Conversation(make, [ACK], "--ack")
    assert conversation.give(message("x", 7), TICK).count(b"\n") == 1
    assert conversation.answer(b'{"type":"send","to":"b","data":"y"}') == [
        {"type": "send", "to": "b", "data": "y", "seq": 7}
    ]
    assert conversation.translator.missing() == "1 event not acknowledged"
    own = {"type": "send", "to": "b", "data": "y", "seq": 5}
    assert conversation.answer(b'{"type":"send","to":"b","data":"y","seq":5}', b'{"type":"x"}', b'{"type":"tick"}') == [
        own, {"type": "x"}, TICK,
    ]  # fmt: skip
    assert conversation.translator.unanswered == 0


def test_what_is_no_json_is_told_and_dropped() -> None:
    conversation = Conversation(make, [ACK])
    assert conversation.answer(b"nonsense", b"[1]", b"\xff", b'{"type":"x"}') == [{"type": "x"}]
    conversation.translator.note_dropped(2)
    assert [line.split(" (")[0].split(",")[0] for line in conversation.told] == [
        "not JSON", "expected an object", "not JSON", "2 lines over the limit of 16777216 bytes; dropped",
    ]  # fmt: skip
    assert conversation.told[0].endswith(": bytes b'nonsense'; dropped")
    assert "at most once" in conversation.translator.promise
