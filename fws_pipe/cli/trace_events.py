"""Joins what passes the joints of chains by event: its way through the stages, and what it caused. No I/O.

`Join.add` gets the frames of a trace (control/trace.py), and yields each event once a tick behind it has passed all
joints: then nothing more can come of it. Times are in seconds of CLOCK_MONOTONIC, which all processes share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fws_pipe.protocol.actions import ACTION_TYPES
from fws_pipe.protocol.codec import Frame, FrameDecoder, type_of
from fws_pipe.protocol.control import CLIENT, EXECUTED, FRONT, JOINTS, PASSED, SINK
from fws_pipe.protocol.events import DISCONNECT, EVENT_TYPES, OPEN, TICK

PENDING_LIMIT = 10_000
"""Events of a chain that may be under way. The oldest of more is told as it is: a chain may let no tick through."""

_ACTIONS_LIMIT = 100
"""Different actions of one event that are told."""

_TARGETS = ("to", "group", "id", "channel")
"""The fields of actions that say whom or what they are for."""


@dataclass
class TracedAction:
    """Actions of one type, with one target, that one event has caused."""

    kind: str
    target: object
    joint: str
    """Where it passed first: behind the stage that has made it."""
    made: float
    executed: float | None = None
    """When the front had executed it; the outbox of a client that reads slowly may still hold what it sends."""

    def note(self, joint: str, time: float) -> None:
        """Note that it passed a joint: the copies of the joints come in any order between them."""
        if time < self.made:
            self.joint, self.made = joint, time


@dataclass
class TracedEvent:
    """One event on its way."""

    chain: str
    seq: int
    kind: str
    client: str | None
    left: float
    """When it left the front."""
    traceparent: str | None
    passed: dict[str, float] = field(default_factory=dict)
    """When it passed each joint behind the front."""
    actions: dict[tuple[str, str], TracedAction] = field(default_factory=dict)
    is_finished: bool = False
    """Whether nothing more can come of it."""

    @property
    def seconds(self) -> float:
        """From when it left the front to the last that came of it."""
        ends = [*self.passed.values(), *(action.executed or action.made for action in self.actions.values())]
        return max(ends, default=self.left) - self.left


class _Chain:
    """What is known of one chain."""

    def __init__(self, joints: Sequence[str], offset: float) -> None:
        self.joints = joints
        self.offset = offset
        """What turns CLOCK_MONOTONIC into seconds since the epoch."""
        self.pending: dict[int, TracedEvent] = {}
        self.ticks = dict.fromkeys(joints, 0)
        """The last tick that has passed each joint."""
        self.came: list[TracedAction] = []
        """Actions that are back at the front, and not executed."""
        self.tick_that_came = 0

    def finished(self) -> Iterator[TracedEvent]:
        """Remove what is through all joints, and of the rest what is too much."""
        through = min(self.ticks.values())
        while self.pending:
            seq = next(iter(self.pending))
            if seq > through and len(self.pending) <= PENDING_LIMIT:
                return
            event = self.pending.pop(seq)
            event.is_finished = seq <= through
            yield event


class Join:
    """Joins the frames of one trace. `client`: only events of this one; None: of all."""

    def __init__(self, client: str | None = None) -> None:
        self._client = client
        self._chains: dict[str, _Chain] = {}
        self._parents: dict[str, str] = {}
        """The traceparent of each client that has one."""

    def add(self, frame: Frame) -> Iterator[TracedEvent]:
        """Take a frame, and yield the events that are finished by it."""
        kind = type_of(frame)
        if kind == JOINTS:
            self._chains[frame["chain"]] = _Chain(frame["joints"], frame["time"] - frame["monotonic"])
        elif kind == CLIENT:
            self._parents[frame["id"]] = frame["traceparent"]
        elif kind in (PASSED, EXECUTED) and (chain := self._chains.get(frame["chain"])) is not None:
            if kind == PASSED:
                self._note_passed(chain, frame)
            else:
                _note_executed(chain, frame["time"])
            yield from chain.finished()

    def joints_of(self, event: TracedEvent) -> Sequence[str]:
        """The joints of an event's chain, in order."""
        return self._chains[event.chain].joints

    def time_of(self, event: TracedEvent) -> float:
        """When an event left the front, in seconds since the epoch."""
        return event.left + self._chains[event.chain].offset

    def _note_passed(self, chain: _Chain, passed: Frame) -> None:
        decoder = FrameDecoder()
        decoder.feed(passed["data"])
        joint, time = passed["joint"], passed["time"]
        for frame in decoder.frames():
            kind = type_of(frame)
            if kind == TICK:
                self._note_tick(chain, joint, frame.get("seq"))
            elif kind in EVENT_TYPES and joint == FRONT:
                self._note_event(chain, passed["chain"], frame, time)
            elif kind in EVENT_TYPES:
                event = chain.pending.get(_number(frame.get("seq")))
                if event is not None:
                    event.passed.setdefault(joint, time)
            elif kind in ACTION_TYPES:
                _note_action(chain, joint, frame, time)

    def _note_tick(self, chain: _Chain, joint: str, seq: object) -> None:
        number = _number(seq)
        if joint == SINK:
            chain.tick_that_came = max(chain.tick_that_came, number)  # it counts once what came with it is executed
        elif joint in chain.ticks:
            chain.ticks[joint] = max(chain.ticks[joint], number)

    def _note_event(self, chain: _Chain, name: str, frame: Frame, time: float) -> None:
        client = frame.get("id")
        if frame["type"] == OPEN and "traceparent" in frame:
            self._parents[frame["id"]] = frame["traceparent"]
        if self._client in (None, client):
            parent = self._parents.get(client or "")
            event = TracedEvent(name, frame["seq"], frame["type"], client, time, parent)
            chain.pending[event.seq] = event
        if frame["type"] == DISCONNECT:
            self._parents.pop(frame["id"], None)


def _note_action(chain: _Chain, joint: str, frame: Frame, time: float) -> None:
    """Note an action for each event that has caused it: joined sends have a list of them."""
    seqs = frame.get("seq")
    for seq in dict.fromkeys(map(_number, seqs)) if isinstance(seqs, list) else [_number(seqs)]:
        event = chain.pending.get(seq)
        if event is None:
            continue
        target = next((frame[name] for name in _TARGETS if name in frame), None)
        key = (frame["type"], repr(target))
        if key not in event.actions and len(event.actions) < _ACTIONS_LIMIT:
            event.actions[key] = TracedAction(frame["type"], target, joint, time)
        if (action := event.actions.get(key)) is not None:
            action.note(joint, time)
            if joint == SINK:
                chain.came.append(action)


def _note_executed(chain: _Chain, time: float) -> None:
    for action in chain.came:
        action.executed = time
    chain.came.clear()
    chain.ticks[SINK] = chain.tick_that_came


def _number(seq: object) -> int:
    return seq if type(seq) is int else -1


def as_record(event: TracedEvent, join: Join) -> dict[str, Any]:
    """An event for programs: times in milliseconds from when it left the front, `time` in seconds since the epoch."""

    def after(time: float | None) -> float | None:
        return None if time is None else round((time - event.left) * 1000, 3)

    record: dict[str, Any] = {"time": round(join.time_of(event), 6)}
    if event.chain:
        record["chain"] = event.chain
    record |= {"seq": event.seq, "type": event.kind}
    if event.client is not None:
        record["id"] = event.client
    if event.traceparent is not None:
        record["traceparent"] = event.traceparent
    record["ms"] = round(event.seconds * 1000, 3)
    way = [joint for joint in join.joints_of(event) if joint in event.passed]
    record["joints"] = [{"joint": joint, "ms": after(event.passed[joint])} for joint in way]
    if (dropping := _dropped_by(event, join)) is not None:
        record["dropped_by"] = dropping
    record["actions"] = [
        {
            "type": each.kind,
            "to": each.target,
            "joint": each.joint,
            "ms": after(each.made),
            "executed_ms": after(each.executed),
        }
        for each in sorted(event.actions.values(), key=lambda action: action.made)
    ]
    if not event.is_finished:
        record["finished"] = False
    return record


def _dropped_by(event: TracedEvent, join: Join) -> str | None:
    """The stage that has not passed a finished event on; None: all have."""
    stages = [joint for joint in join.joints_of(event) if joint not in (FRONT, SINK)]
    return next((joint for joint in stages if joint not in event.passed), None) if event.is_finished else None


def as_columns(event: TracedEvent, join: Join) -> str:
    """An event for people, on one line that may hold text of others."""
    record = as_record(event, join)
    parts = [f"{joint['joint']} +{joint['ms']:.3f}" for joint in record["joints"]]
    if "dropped_by" in record:
        parts.append(f"dropped by {record['dropped_by']}")
    for action in record["actions"]:
        made = f"{action['type']} {_shown(action['to'])} by {action['joint']} +{action['ms']:.3f}"
        parts.append(made if action["executed_ms"] is None else f"{made}, executed +{action['executed_ms']:.3f}")
    if not event.is_finished:
        parts.append("unfinished")
    who = " ".join(part for part in (event.chain, event.client or "-") if part)
    return f"{event.seq:>8} {event.kind:<10} {who:<14} {record['ms']:>9.3f} ms  {'; '.join(parts)}"


def _shown(target: object) -> str:
    if isinstance(target, list):
        return f"to {len(target)} clients"
    return "" if target is None else f"to {target}"
