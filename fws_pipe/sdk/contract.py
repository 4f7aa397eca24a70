"""The contract that every filter keeps, as conversations that show whether one does.

A conversation is a series of frames, written whole or byte by byte, and ends with a tick; the filter's answer is all
that it writes until that tick comes back. Each requirement looks at the answers and says what is wrong, and the cure:

    conversations -> the filter -> answers -> findings

What a filter does with messages is its own affair: it may drop them, change them and act on them. So only what the
contract asks of all is judged (docs/frames.md). No I/O: sdk/trial.py runs the filter.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fws_pipe.chain.buffering import cure_for
from fws_pipe.protocol.actions import ACTION_TYPES, ALIVE, SEND, WANT, check_action, single_sends
from fws_pipe.protocol.codec import Frame, FrameDecoder, describe, encode, type_of
from fws_pipe.protocol.events import EVENT_TYPES, MESSAGE, TICK
from fws_pipe.protocol.json_form import from_json, to_json
from fws_pipe.system.signals import ending_of
from fws_pipe.terminal import one_line

LARGE_BYTES = 1 << 20
_MANY_MESSAGES = 1000


@dataclass(frozen=True)
class Form:
    """How frames look on a pipe: `encode` one, `decode` all that are whole in some bytes.

    `decode` raises FrameError or JsonFormError for bytes that aren't frames.
    """

    name: str
    encode: Callable[[Frame], bytes]
    decode: Callable[[bytes], list[Frame]]


def _decode_frames(data: bytes) -> list[Frame]:
    decoder = FrameDecoder("the filter")
    decoder.feed(data)
    return [frame for frame, _ in decoder]


FRAMES = Form("frames", encode, _decode_frames)
JSON_LINES = Form("lines of JSON", to_json, lambda data: [from_json(line) for line in data.split(b"\n")[:-1]])


class Requirement(enum.Enum):
    """What the contract asks, in the order in which it is told."""

    WRITES_FRAMES = "writes nothing but frames"
    PASSES_ON = "passes on, in order, what it does not understand"
    CUTS = "reads frames that arrive in pieces"
    LARGE = "reads frames of 1 MiB"
    MANY = "reads many frames at once"
    EMPTY = "reads empty messages"
    EVENTS = "reads events of each type"
    WRITES_AT_ONCE = "writes what it has before it waits for more"
    KINDS = "tells text and binary apart"
    ACTIONS = "makes actions that are right"
    SEQ = "copies seq from the event that has caused an action"
    END = "exits with 0 at the end of its input"
    CLOSED_OUTPUT = "ends when its output is closed"


class Outcome(enum.Enum):
    """How a filter meets a requirement."""

    OK = "ok"
    NOTE = "note"
    """The contract allows it, but it costs something."""
    FAILED = "FAIL"


@dataclass(frozen=True)
class Finding:
    """How a filter meets a requirement: what is wrong, and what cures that."""

    requirement: Requirement
    outcome: Outcome
    problem: str = ""
    cure: str = ""

    @property
    def text(self) -> str:
        """One line: the requirement, what is wrong, and the cure."""
        problem = f": {self.problem}" if self.problem else ""
        return one_line(f"{self.requirement.value}{problem}" + (f"; {self.cure}" if self.cure else ""))


@dataclass(frozen=True)
class Conversation:
    """Frames that a filter gets. `requirement` is what it fails to do when it doesn't pass the last tick."""

    name: str
    requirement: Requirement
    frames: tuple[Frame, ...]
    is_cut: bool = False
    """Whether the filter reads it byte by byte."""


def _event(kind: str, seq: int, **fields: object) -> Frame:
    return {"type": kind, "seq": seq, "time": 1.5, **fields}


def _message(seq: int, data: str | bytes) -> Frame:
    return _event("message", seq, id="a-1", data=data)


_OPEN = _event(
    "open", 1, id="a-1", path="/", query="", headers=[["host", "localhost"]], remote=["127.0.0.1", 50000],
    subprotocol=None, tls=None, auth=None, groups=[], remembered={}, replay=False,
)  # fmt: skip
_UNKNOWN: tuple[Frame, ...] = (
    _event("tick", 1),
    {"type": "of another program", "payload": {"deep": [1, None, "é", b"\x00\xff"]}},
    _event("tick", 2),
    {"no": "type at all"},
    {"type": "accept", "id": "x-1", "auth": None},
    _event("tick", 3),
)
TEXT = 'Öne "two"\t\\ three'
BINARY = b"\x00\xffBinary\x80"

CONVERSATIONS = (
    Conversation("unknown", Requirement.PASSES_ON, _UNKNOWN),
    Conversation("cut", Requirement.CUTS, (_OPEN, *_UNKNOWN[:4], _message(2, TEXT), _event("tick", 2)), is_cut=True),
    Conversation(
        "large",
        Requirement.LARGE,
        (
            _OPEN,
            {"type": "of another program", "payload": "x" * LARGE_BYTES},
            _message(2, "y" * LARGE_BYTES),
            _event("tick", 2),
        ),
    ),
    Conversation(
        "many",
        Requirement.MANY,
        (_OPEN, *(_message(seq, f"message {seq}") for seq in range(2, 2 + _MANY_MESSAGES)), _event("tick", 1001)),
    ),
    Conversation("empty", Requirement.EMPTY, (_OPEN, _message(2, ""), _message(3, b""), _event("tick", 3))),
    Conversation(
        "kinds",
        Requirement.EVENTS,
        (
            _OPEN,
            _message(2, TEXT),
            _event("tick", 2),
            _message(3, BINARY),
            _event("tick", 3),
            _event("consumer", 4, channel="news", data="hello", origin=None),
            _event("disconnect", 5, id="a-1", code=1000, reason="", clean=True),
            _event("tick", 5),
        ),
    ),
)
"""What every filter is tried with; `fws-check --vectors` writes them to files."""


@dataclass(frozen=True)
class Answer:
    """What a filter wrote in a conversation, and how it ended."""

    conversation: Conversation
    frames: list[Frame]
    broken: str | None
    """What is wrong with its output, when it isn't frames."""
    has_ended: bool
    """Whether it ended its output though its input had not ended."""
    is_late: bool
    """Whether it passed on a tick only once its input had ended."""
    status: int | None
    """Its exit status, None when it had to be killed."""
    stderr: str


_CURES = {
    Requirement.PASSES_ON: "each frame that it has no use for goes out as it came; in jq the program begins with `., `",
    Requirement.CUTS: "a read may end anywhere in a frame: keep the rest for the next read",
    Requirement.LARGE: "a frame may be larger than one read, or than a line may be",
    Requirement.MANY: "many frames may come with one read",
    Requirement.EMPTY: "the data of a message may be empty",
    Requirement.EVENTS: "data may be text and bytes, and events of other types come in between",
}


def expected_frames(conversation: Conversation, *, typed_only: bool) -> list[Frame]:
    """What a filter gets; `typed_only`: without the frame that has no type."""
    return [frame for frame in conversation.frames if "type" in frame or not typed_only]


def frames_to_pass(conversation: Conversation, *, typed_only: bool = False) -> list[Frame]:
    """What every filter must pass on of that: all but events, which it may drop or change."""
    return [frame for frame in expected_frames(conversation, typed_only=typed_only) if not _is_for_it(frame)]


def count_ticks(frames: Sequence[Frame]) -> int:
    """How many ticks there are among some frames."""
    return sum(type_of(frame) == TICK for frame in frames)


def judge(
    argv: Sequence[str], answers: Sequence[Answer], *, typed_only: bool, complainer: str | None = None
) -> list[Finding]:
    """One finding for each requirement that shows in answers, the worst; the filter is the command `argv`.

    `complainer` is the adapter that tells on stderr what is wrong with the lines of its program, if there is one.
    """
    found = [] if complainer is None else [_judge_complaints(complainer, answers)]
    found += [_judge_frames(answers)]
    if any(one.conversation.name == "kinds" for one in answers):  # else nothing shows what it does with messages
        found += [_judge_kinds(answers), _judge_actions(answers), _judge_seq(answers)]
    found += [_judge_time(argv, answers), _judge_end(answers)]
    found += [_judge_passing(answer, typed_only=typed_only) for answer in answers]
    order, outcomes = list(Requirement), list(Outcome)
    worst: dict[Requirement, Finding] = {}
    for finding in sorted(found, key=lambda one: outcomes.index(one.outcome)):
        worst[finding.requirement] = finding
    return sorted(worst.values(), key=lambda one: order.index(one.requirement))


def passes_on(answer: Answer, *, typed_only: bool) -> bool:
    """Whether a filter has passed on what it must."""
    return _judge_passing(answer, typed_only=typed_only).outcome is Outcome.OK


def _judge_frames(answers: Sequence[Answer]) -> Finding:
    for answer in answers:
        if answer.broken is not None:
            cure = "text for people goes to stderr"
            if not any(one.frames for one in answers):
                cure = "a program of lines runs under an adapter, such as `per_client`: fws-pipe --help adapters"
            return Finding(Requirement.WRITES_FRAMES, Outcome.FAILED, answer.broken, cure)
    return Finding(Requirement.WRITES_FRAMES, Outcome.OK)


def _judge_time(argv: Sequence[str], answers: Sequence[Answer]) -> Finding:
    if any(answer.is_late for answer in answers):
        problem = "a tick came back only when the input had ended"
        return Finding(Requirement.WRITES_AT_ONCE, Outcome.FAILED, problem, cure_for(" ".join(argv)))
    return Finding(Requirement.WRITES_AT_ONCE, Outcome.OK)


def _judge_passing(answer: Answer, *, typed_only: bool) -> Finding:
    requirement = answer.conversation.requirement
    missing = _first_missing(frames_to_pass(answer.conversation, typed_only=typed_only), answer.frames)
    if missing is None:
        return Finding(requirement, Outcome.OK)
    if answer.has_ended:
        problem = f"it ended while its input was open{_said(answer)}"
        return Finding(requirement, Outcome.FAILED, problem, "it reads on until the end of its input")
    problem = f"it did not write {_name_of(missing)}{_said(answer)}"
    return Finding(requirement, Outcome.FAILED, problem, _CURES.get(requirement, ""))


def _name_of(frame: Frame) -> str:
    kind = type_of(frame)
    if kind is None:
        return "the frame without a type"
    return f"the {kind} with seq {frame['seq']}" if "seq" in frame else f"the frame of type {kind!r}"


def _is_for_it(frame: Frame) -> bool:
    """Whether this is an event that a filter may drop or change."""
    kind = type_of(frame)
    return kind in EVENT_TYPES and kind != TICK


def _first_missing(wanted: Sequence[Frame], written: Sequence[Frame]) -> Frame | None:
    """The first of some frames that isn't written, or not behind those before it."""
    rest = iter(written)
    return next((frame for frame in wanted if frame not in rest), None)


def _said(answer: Answer) -> str:
    return f' (it said: "{answer.stderr.splitlines()[-1]}")' if answer.stderr else ""


def _judge_kinds(answers: Sequence[Answer]) -> Finding:
    for answer in answers:
        sent = [frame["data"] for frame in answer.conversation.frames if type_of(frame) == MESSAGE]
        for frame in answer.frames:
            if type_of(frame) not in (MESSAGE, SEND):
                continue
            for data in sent:
                if problem := _wrong_kind(data, frame.get("data")):
                    cure = r"bytes are binary, str is text; in JSON, bytes are a string that begins with \u0010base64:"
                    return Finding(Requirement.KINDS, Outcome.FAILED, problem, cure)
    return Finding(Requirement.KINDS, Outcome.OK)


def _wrong_kind(data: str | bytes, made: object) -> str | None:
    """What is wrong with `made`, when it comes of `data`: the same in the other kind. A text about bytes is right."""
    if isinstance(data, bytes) and data and isinstance(made, str):
        forms = (base64.b64encode(data).decode().lower(), data.decode(errors="replace").lower())
        if any(form in made.lower() for form in forms):
            return f"binary data became the text {describe(made)}"
    if isinstance(data, str) and data and isinstance(made, bytes) and data.encode().lower() in made.lower():
        return f"text became the binary data {describe(made)}"
    return None


def _judge_actions(answers: Sequence[Answer]) -> Finding:
    for answer in answers:
        for frame in _own_actions(answer):
            if problem := check_action(frame):
                return Finding(Requirement.ACTIONS, Outcome.FAILED, problem, "fws-pipe --help frames tells the fields")
    return Finding(Requirement.ACTIONS, Outcome.OK)


def _judge_complaints(complainer: str, answers: Sequence[Answer]) -> Finding:
    for answer in answers:
        for line in answer.stderr.splitlines():
            if line.startswith(f"{complainer}: ") and line.endswith("; dropped"):
                problem = line.removeprefix(f"{complainer}: ").removesuffix("; dropped")
                return Finding(Requirement.ACTIONS, Outcome.FAILED, problem, "fws-pipe --help adapters tells the lines")
    return Finding(Requirement.ACTIONS, Outcome.OK)


def _own_actions(answer: Answer) -> Iterator[Frame]:
    """The actions that the filter itself has made."""
    for frame in answer.frames:
        if type_of(frame) in ACTION_TYPES - {WANT, ALIVE} and frame not in answer.conversation.frames:
            yield frame


def _judge_seq(answers: Sequence[Answer]) -> Finding:
    note = Finding(Requirement.SEQ, Outcome.OK)
    for answer in answers:
        known = {frame["seq"] for frame in answer.conversation.frames if "seq" in frame}
        for action in _own_actions(answer):
            if check_action(action):
                continue
            seqs = [single.get("seq") for single in (single_sends(action) if action["type"] == SEND else [action])]
            invented = [seq for seq in seqs if seq is not None and seq not in known]
            if invented:
                problem = f"{action['type']}.seq: no event has {describe(invented[0])}"
                return Finding(Requirement.SEQ, Outcome.FAILED, problem, "copy it from the event, or leave it out")
            if None in seqs:
                problem = f"a `{action['type']}` has none, so a crash of the chain may repeat it"
                note = Finding(Requirement.SEQ, Outcome.NOTE, problem, "copy it from the event; in jq: seq: .seq")
    return note


def _judge_end(answers: Sequence[Answer]) -> Finding:
    for answer in answers:
        if answer.status is None:
            return Finding(Requirement.END, Outcome.FAILED, "it went on", "it ends when a read finds the end")
        if answer.status != 0:
            return Finding(Requirement.END, Outcome.FAILED, f"it {ending_of(answer.status)}{_said(answer)}")
    return Finding(Requirement.END, Outcome.OK)
