"""How far the chain has got, as its actions tell: so that a replay repeats none that have been executed. No I/O.

An action carries the `seq` of the event that caused it, and a chain that keeps order returns actions in rising order.
So all that is remembered is the last `seq` and how many actions of it have been executed. When what is kept is written
to a new chain, the actions that come back up to there are suppressed; from the first one behind on everything goes.
Actions without a `seq`, as foreign filters make them, are never suppressed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from fws_pipe.protocol.actions import SEND, WANT
from fws_pipe.protocol.codec import Frame, type_of
from fws_pipe.protocol.events import CONFIRM, TICK

_NO_ACTIONS = (TICK, CONFIRM)
"""What has a `seq` and is caused by no event."""


class Position(NamedTuple):
    """So many actions of the event `seq` have been executed, and all those of earlier ones."""

    seq: int
    actions: int

    def after(self, seq: int) -> Position:
        """The position after one more action."""
        return Position(seq, self.actions + 1 if seq == self.seq else 1)


class Progress:
    """What has been executed, and during a replay what has been executed before it."""

    def __init__(self) -> None:
        self.is_replaying = False
        """Whether actions may come back that have been executed: while this is false there is nothing to ask."""
        self._last = Position(0, 0)
        self._done_seq = 0
        self._done_count = 0
        self.suppressed = 0
        """Actions that were not executed because they had been before."""

    def note(self, frames: Sequence[Frame]) -> None:
        """These frames have been executed, in this order. Once for a block of them: it only looks at the end."""
        last: int | None = None
        count = 0
        for frame in reversed(frames):
            if type_of(frame) in _NO_ACTIONS:
                continue
            numbers = [seq for seq in seqs_of(frame) if type(seq) is int]
            if not numbers:
                continue
            if last is None:
                last = numbers[-1]
            own = sum(1 for _ in takewhile(last.__eq__, reversed(numbers)))
            count += own
            if own < len(numbers):
                break
        else:
            if last == self._last.seq:
                count += self._last.actions  # the whole block belongs to the event of the one before
        if last is not None:
            self._last = Position(last, count)

    def begin_replay(self, acknowledged: int) -> None:
        """A new chain gets again what is kept; the ticks up to `acknowledged` are back."""
        self._done_seq, self._done_count = max(self._last, Position(acknowledged, 0))
        self.is_replaying = True

    def is_done(self, seq: object) -> bool:
        """Whether an action with this number has been executed before, and is not to be again. Ask once for each."""
        if not self.is_replaying or type(seq) is not int:
            return False
        if seq > self._done_seq or (seq == self._done_seq and not self._done_count):
            self.is_replaying = False  # what comes from here on has never been here
            return False
        if seq == self._done_seq:
            self._done_count -= 1
        self.suppressed += 1
        return True

    def without_done(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Leave out of a replay's frames the actions that have been executed."""
        for frame in frames:
            kind = type_of(frame)
            seq = frame.get("seq")
            if kind == TICK and type(seq) is int and seq > self._done_seq:
                self.is_replaying = False  # all that had been executed has been here
            if kind == WANT or kind in _NO_ACTIONS:
                yield frame  # what a filter wants it tells each run anew
            elif kind == SEND and type(seq) is list:
                done = [self.is_done(number) for number in seq]
                yield from [frame] if not any(done) else _part_of(frame, done)
            elif not self.is_done(seq):
                yield frame


def _part_of(send: Frame, done: Sequence[bool]) -> list[Frame]:
    """A joined send without the messages that are done, if there are others."""
    return [] if all(done) else [without_messages(send, done)]


def without_messages(send: Frame, left_out: Sequence[bool]) -> Frame:
    """A joined send without some of its messages."""
    data, seq = ([item for item, out in zip(send[name], left_out) if not out] for name in ("data", "seq"))  # noqa: B905
    return {**send, "data": data, "seq": seq}


def seqs_of(action: Frame) -> Sequence[object]:
    """The numbers of the events that have caused an action: one for each message of a joined send."""
    seq = action.get("seq")
    return seq if type(seq) is list else (seq,)
