"""How far the chain has got, as its actions tell: so that a replay repeats none that have been executed. No I/O.

An action carries the `seq` of the event that caused it, and a chain that keeps order returns actions in rising order.
So all that is remembered is the last `seq` and how many actions of it have been executed. When what is kept is written
to a new chain, the actions that come back up to there are suppressed; from the first one behind on everything goes.
Actions without a `seq`, as foreign filters make them, are never suppressed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from fws_pipe.protocol.actions import JOIN, LEAVE, WANT, is_joined
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
        self._may_regroup = False
        self._passing: frozenset[str] = frozenset()
        """Types of what is never suppressed: what a filter wants it tells each run anew."""
        self.suppressed = 0
        """Actions that were not executed because they had been before."""

    def note(self, frames: Sequence[Frame]) -> None:
        """These frames have been executed, in this order. Once for a block of them: it only looks at the end."""
        last: int | None = None
        count = 0
        for seq in _numbers_backwards(frames):
            if last is None:
                last = seq
            if seq != last:
                break
            count += 1
        else:
            if last == self._last.seq:
                count += self._last.actions  # the whole block belongs to the event of the one before
        if last is not None:
            # What a chain that replaces another regroups has numbers that were done long ago.
            self._last = max(self._last, Position(last, count))

    def begin_replay(self, acknowledged: int, *, may_regroup: bool = False) -> None:
        """A new chain gets again what is kept; the ticks up to `acknowledged` are back.

        `may_regroup`: it may be another chain, which puts the clients that it hears of into groups of its own.
        """
        # One that dies before it is through with that leaves it to the next.
        self._may_regroup = may_regroup or (self.is_replaying and self._may_regroup)
        self._passing = frozenset((WANT, *_NO_ACTIONS, *((JOIN, LEAVE) if self._may_regroup else ())))
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
            if kind in self._passing:
                yield frame
            elif is_joined(frame):
                yield from self._rest_of(frame)
            elif not self.is_done(seq):
                yield frame

    def _rest_of(self, send: Frame) -> Iterator[Frame]:
        """Those messages of a joined send that have not been sent."""
        rest = [(data, seq) for data, seq in zip(send["data"], send["seq"], strict=True) if not self.is_done(seq)]
        if len(rest) == len(send["data"]):
            yield send
        elif rest:
            yield {**send, "data": [data for data, _ in rest], "seq": [seq for _, seq in rest]}


def _numbers_backwards(frames: Sequence[Frame]) -> Iterator[int]:
    """The events that have caused these actions, from the last on."""
    for frame in reversed(frames):
        seq = frame.get("seq")
        if type_of(frame) in _NO_ACTIONS:
            continue
        if type(seq) is int:
            yield seq
        elif is_joined(frame):
            yield from reversed(frame["seq"])
