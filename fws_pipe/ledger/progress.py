"""Which actions of a replay have been executed before it, so that none is executed twice and none is left out. No I/O.

An action carries the `seq` of the event that caused it. When a chain dies, the events that were not through it are
written to the next one, whose answers come back once more. What has been executed of these is known exactly:

- Of an event whose tick is back everything has been executed: its actions had come out before the tick.
- Of an event behind that tick the executed actions are remembered, by their receivers: a count for each. A filter that
  answers several clients may list them in another order the second time, or without those that have left, and each of
  them still gets its own answer once. The data is not compared: an answer that tells the time differs in each run.

Remembering costs the hot path nothing: blocks of frames are kept as they were executed, and looked into only when the
chain has died, or when the tick is long in coming. Actions without a `seq`, as foreign filters make them, are never
suppressed; those with a `seq` that no event has are taken for such (a time stamp, a count of the filter's own).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from fws_pipe.protocol.actions import EVERYONE, FLUSH, HOLD, JOIN, LEAVE, REMEMBER, RESUME, WANT, is_joined
from fws_pipe.protocol.codec import Frame, type_of
from fws_pipe.protocol.events import CONFIRM, TICK

_NO_ACTIONS = frozenset({TICK, CONFIRM})
"""What has a `seq` and is caused by no event."""

_OF_ONE_RUN = frozenset({WANT, HOLD, RESUME, FLUSH, REMEMBER})
"""What holds until the chain ends, or is taken back with the event when it dies: the next one says it anew."""

_UNREAD_BLOCKS = 16
"""How many executed blocks are kept before they are looked into: 4 MiB of frames at most."""

REMEMBERED_ACTIONS = 1 << 17
"""How many receivers of unfinished events are remembered, some 250 bytes each. What goes beyond may be repeated."""

_RECEIVER_FIELDS = ("to", "group", "except", "id", "channel", "name")
"""The fields that say whom or what an action is for."""


class Progress:
    """What has been executed of the events whose tick is not back.

    `last_event` returns the number of the last event that there has been: a larger one is not believed.
    """

    def __init__(self, last_event: Callable[[], int]) -> None:
        self._last_event = last_event
        self.is_replaying = False
        """Whether actions may come back that have been executed: while this is false there is nothing to ask."""
        self._acknowledged = 0
        """The last tick that is back."""
        self._unread: list[Sequence[Frame]] = []
        """Executed blocks since then, the oldest first."""
        self._executed: Counter[tuple[int, int]] = Counter()
        """What older blocks held: how many actions by event and receiver, of the events behind that tick."""
        self._done: Counter[tuple[int, int]] = Counter()
        """During a replay: those of them that have not come back yet."""
        self._horizon = 0
        """The last event of which anything had been executed when the replay began."""
        self._returns_ticks = True
        self._may_regroup = False
        self._passing: frozenset[str] = frozenset()
        """Types of what is never suppressed."""
        self.suppressed = 0
        """Actions that were not executed because they had been before."""

    def note(self, frames: Sequence[Frame]) -> None:
        """These frames have been executed, in this order. To be called for each block that was read."""
        self._unread.append(frames)
        if len(self._unread) > _UNREAD_BLOCKS:
            self._read_all()

    def acknowledge(self, tick: int) -> None:
        """The tick of this number is back, and the block that it stands in has been noted."""
        if tick <= self._acknowledged:
            return
        self._acknowledged = tick
        last = self._unread[-1:]
        self._unread = last if last and last[0] and type_of(last[0][-1]) != TICK else []
        if self._executed:
            self._executed = Counter({key: count for key, count in self._executed.items() if key[0] > tick})

    def begin_replay(self, acknowledged: int, *, returns_ticks: bool = True, may_regroup: bool = False) -> None:
        """A new chain gets again what is kept; the ticks up to `acknowledged` are back.

        `returns_ticks`: the chain lets ticks through, so one of them ends the replay. `may_regroup`: it may be another
        chain, which puts the clients that it hears of into groups of its own.
        """
        # One that dies before it is through with that leaves it to the next.
        self._may_regroup = may_regroup or (self.is_replaying and self._may_regroup)
        self._passing = _NO_ACTIONS | _OF_ONE_RUN | ({JOIN, LEAVE} if self._may_regroup else frozenset())
        self._acknowledged = max(self._acknowledged, acknowledged)
        self._read_all()
        self._done = Counter(self._executed)
        self._horizon = max((seq for seq, _ in self._done), default=self._acknowledged)
        self._returns_ticks = returns_ticks
        self.is_replaying = True

    def expect_no_ticks(self) -> None:
        """The chain lets no tick through: an action of a new event ends the replay."""
        self._returns_ticks = False
        self._unread.clear()

    def without_done(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Leave out of a replay's frames the actions that have been executed."""
        for frame in frames:
            kind = type_of(frame)
            seq = frame.get("seq")
            if type(seq) is int and self._is_end(kind, seq):
                self.is_replaying = False
            if kind in self._passing:
                yield frame
            elif is_joined(frame):
                yield from self._rest_of(frame)
            elif (left := self._left_of(frame, seq)) is not None:
                yield left

    def _is_end(self, kind: str | None, seq: int) -> bool:
        """Whether all that had been executed has come back once this frame has."""
        ends = kind == TICK if self._returns_ticks else kind not in _NO_ACTIONS
        return ends and self._horizon < seq <= self._last_event()

    def _left_of(self, frame: Frame, seq: object) -> Frame | None:
        """What of an action has not been executed: all, for some of its receivers, or nothing. Ask once for each."""
        if type(seq) is not int or seq > self._last_event():
            return frame
        keys = _receivers_of(frame) if seq > self._acknowledged else []
        left = [index for index, key in enumerate(keys) if not self._take_done(seq, key)]
        if keys and len(left) == len(keys):
            return frame
        self.suppressed += 1
        return {**frame, "to": [frame["to"][index] for index in left]} if left else None

    def _take_done(self, seq: int, key: int) -> bool:
        """Whether a receiver has had an answer to this event that has not come back yet; now it has."""
        if not self._done[seq, key]:
            return False
        self._done[seq, key] -= 1
        return True

    def _rest_of(self, send: Frame) -> Iterator[Frame]:
        """Those messages of a joined send that have not been sent, or not to all."""
        numbered = zip(send["data"], send["seq"], strict=True)
        single = [self._left_of({**send, "data": data, "seq": seq}, seq) for data, seq in numbered]
        left = [frame for frame in single if frame is not None]
        if len(left) == len(single) and all(frame.get("to") is send.get("to") for frame in left):
            yield send
        elif left and all(frame.get("to") is send.get("to") for frame in left):
            yield {**send, "data": [frame["data"] for frame in left], "seq": [frame["seq"] for frame in left]}
        else:
            yield from left

    def _read_all(self) -> None:
        """Look into the blocks that are kept: all that counts is who has got how many answers to what."""
        last_event = self._last_event()
        for frames in self._unread:
            for frame in frames:
                for seq in _numbers_of(frame):
                    if self._acknowledged < seq <= last_event:
                        self._remember(seq, _receivers_of(frame))
        self._unread.clear()

    def _remember(self, seq: int, receivers: Sequence[int]) -> None:
        for key in receivers:
            if len(self._executed) < REMEMBERED_ACTIONS:
                self._executed[seq, key] += 1


def _numbers_of(frame: Frame) -> Sequence[int]:
    """The events that have caused an action, one for each of its messages."""
    seq = frame.get("seq")
    if type_of(frame) in _NO_ACTIONS:
        return ()
    if type(seq) is int:
        return (seq,)
    return frame["seq"] if is_joined(frame) else ()


def _receivers_of(frame: Frame) -> Sequence[int]:
    """A number for each client that an action names, or one for whom or what else it is for.

    Actions have it in common that are of one type and for the same receivers, in whatever order they name them.
    """
    kind, to = frame.get("type"), frame.get("to")
    if type(to) is list:
        return [_hash_of(kind, client) for client in to]
    if type(to) is str and to != EVERYONE:
        return (_hash_of(kind, to),)
    return (_hash_of(kind, *(_in_order(frame.get(name)) for name in _RECEIVER_FIELDS)),)


def _in_order(value: object) -> object:
    """A list of ids as something that is the same in any order."""
    return frozenset(value) if type(value) is list and all(type(item) is str for item in value) else value


def _hash_of(*values: object) -> int:
    try:
        return hash(values)
    except TypeError:  # a value that no right action has
        return 0
