"""What is promised of events when a program dies rests on when it gets them, and on what waits for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.adapters import giving
from fws_pipe.adapters.giving import ACK
from fws_pipe.adapters.text_lines import make
from fws_pipe.protocol.codec import Frame
from tests.unit.adapters.conversation import Conversation, message, tick

streams = st.lists(st.booleans(), max_size=30)
"""Events, and ticks in between."""


def numbered(stream: list[bool]) -> list[Frame]:
    return [tick(seq) if is_tick else message("x", seq) for seq, is_tick in enumerate(stream, start=1)]


@given(streams)
def test_no_event_is_given_before_its_tick_has_passed(stream: list[bool]) -> None:
    conversation = Conversation(make, [ACK])
    conversation.give(tick(0))
    conversation.frames()
    seen, covered, given_so_far = 0, 0, 0
    for frame in numbered(stream):
        given_so_far += conversation.give(frame).count(b"\n")
        assert conversation.frames() == [frame]  # events and ticks pass round the program at once
        seen += frame["type"] == "message"
        covered = seen if frame["type"] == "tick" else covered
        assert given_so_far == covered
    conversation.translator.end()
    assert given_so_far + conversation.translator.lines().count(b"\n") == seen
    assert (conversation.translator.unanswered, conversation.translator.missing()) == (0, "")


def test_a_tick_that_repeats_an_old_number_covers_nothing_new() -> None:
    conversation = Conversation(make, [ACK])
    assert conversation.give(tick(5), message("x", 6), tick(5)) == b""
    assert conversation.give(message("y", 7), tick(6)) == b"message\ta-1\tx\n"
    assert conversation.give(message("old", 2)) == b""  # in order
    assert conversation.give(tick(8)) == b"message\ta-1\ty\nmessage\ta-1\told\n"
    assert conversation.give(message("snapshot", 2)) == b"message\ta-1\tsnapshot\n"


def test_without_ticks_events_are_given_at_once() -> None:
    conversation = Conversation(make, [ACK])
    assert conversation.give(message("x", 6), {"type": "message", "id": "a", "data": "y"}).count(b"\n") == 2


def test_what_comes_without_ticks_after_all_is_bounded() -> None:
    conversation = Conversation(make, [ACK])
    assert conversation.give(tick(5), message("x" * giving.HELD_BYTES, 6)).count(b"\n") == 1


@given(streams)
def test_with_acknowledgements_what_is_behind_an_event_waits_for_its_own(stream: list[bool]) -> None:
    conversation = Conversation(make, [ACK], "--ack")
    frames = numbered(stream)
    assert conversation.give(*frames).count(b"\n") == stream.count(False)
    out = conversation.frames()
    assert out == frames[: len(out)]
    for frame in [frame for frame in frames if frame["type"] == "message"]:
        assert frame in out
        made = conversation.answer(b"send\tb\tone", b"join\ta\tg")
        assert [(action["type"], action["seq"]) for action in made] == [("send", frame["seq"]), ("join", frame["seq"])]
        out += conversation.answer(b"")
    assert out == frames
    assert (conversation.translator.unanswered, conversation.translator.missing()) == (0, "")
    assert not conversation.told


def test_what_nobody_has_caused_has_no_number() -> None:
    conversation = Conversation(make, [ACK], "--ack")
    assert conversation.answer(b"send\tb\tone") == [{"type": "send", "to": "b", "data": "one"}]
    assert conversation.answer(b"") == []
    [told] = conversation.told
    assert told.startswith("it has acknowledged more events than it has read")


def test_what_is_missing() -> None:
    conversation = Conversation(make, [ACK], "--ack")
    conversation.give(message("x", 6), message("y", 7))
    assert conversation.translator.missing() == "2 events not acknowledged"
    assert conversation.translator.unanswered > 0


def test_what_is_promised_is_said() -> None:
    said = [Conversation(make, [ACK], *words).translator.promise for words in ([], ["--ack"])]
    assert "at most once" in said[0]
    assert "come again" in said[1]
