"""What the contract makes of answers."""

from __future__ import annotations

from dataclasses import replace

from fws_pipe.protocol.codec import Frame
from fws_pipe.sdk.contract import (
    BINARY,
    CONVERSATIONS,
    Answer,
    Conversation,
    Outcome,
    Requirement,
    frames_to_pass,
    judge,
)


def answer(conversation: Conversation, *more: Frame) -> Answer:
    """That of a filter that passes on all, and adds some frames before the last."""
    *frames, last = conversation.frames
    return Answer(conversation, [*frames, *more, last], None, has_ended=False, is_late=False, status=0, stderr="")


def outcomes(*answers: Answer) -> dict[Requirement, Outcome]:
    return {one.requirement: one.outcome for one in judge(["./filter"], answers, typed_only=False)}


KINDS = next(conversation for conversation in CONVERSATIONS if conversation.name == "kinds")


def test_a_filter_that_passes_on_all_meets_each_requirement() -> None:
    found = outcomes(*map(answer, CONVERSATIONS))
    assert set(found.values()) == {Outcome.OK}
    assert list(found) == [one for one in Requirement if one is not Requirement.CLOSED_OUTPUT]


def test_events_may_be_dropped_and_ticks_may_not() -> None:
    whole = answer(KINDS)
    assert outcomes(replace(whole, frames=frames_to_pass(KINDS)))[Requirement.EVENTS] is Outcome.OK
    for tick in frames_to_pass(KINDS):
        lost = [frame for frame in whole.frames if frame != tick]
        assert outcomes(replace(whole, frames=lost))[Requirement.EVENTS] is Outcome.FAILED


def test_the_worst_of_several_findings_is_told() -> None:
    without = {"type": "send", "to": "a-1", "data": "x"}
    invented = {**without, "seq": 12345}
    assert outcomes(answer(KINDS, {**without, "seq": 2}))[Requirement.SEQ] is Outcome.OK
    assert outcomes(answer(KINDS, without))[Requirement.SEQ] is Outcome.NOTE
    assert outcomes(answer(KINDS, without, invented), answer(KINDS))[Requirement.SEQ] is Outcome.FAILED


def test_a_text_about_bytes_is_right_and_the_bytes_as_text_are_not() -> None:
    def kinds_of(data: str | bytes) -> Outcome:
        return outcomes(answer(KINDS, {"type": "send", "to": "a-1", "data": data, "seq": 3}))[Requirement.KINDS]

    assert kinds_of("9 bytes") is Outcome.OK
    assert kinds_of(BINARY) is Outcome.OK
    assert kinds_of("BASE64:AP9CAW5HCNMA") is Outcome.FAILED
    assert kinds_of(BINARY.decode(errors="replace").upper()) is Outcome.FAILED
