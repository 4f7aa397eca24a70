"""Remembers executed actions, so that a replay executes none of them twice and leaves none out. No I/O.

An action carries the `seq` of the event that caused it. When a chain dies, the next one gets the unfinished events
again, and answers them again. Which of these answers have been executed is known exactly:

- For an event whose tick is back, all of them: its actions had come out before the tick.
- For a later event the executed actions are counted by receiver. So a filter that answers several clients may list them
  in another order the second time, or without the ones that have left, and each client still gets its answer once. The
  data isn't compared, since an answer that tells the time differs in each run.

Remembering costs the hot path nothing: executed blocks of frames are kept as they are, and read only when the chain has
died, or when a tick takes long to come back. Actions without a `seq`, which foreign filters make, are never suppressed;
neither are actions with a `seq` that no event has, such as a time stamp or a filter's own count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from fws_pipe.protocol.actions import EVERYONE, FLUSH, HOLD, JOIN, LEAVE, REMEMBER, RESUME, WANT, is_joined
from fws_pipe.protocol.codec import Frame, type_of
from fws_pipe.protocol.events import CONFIRM, TICK

_NO_ACTIONS = frozenset({TICK, CONFIRM})
"""Types of frames that have a `seq` and are caused by no event."""

_OF_ONE_RUN = frozenset({WANT, HOLD, RESUME, FLUSH, REMEMBER})
"""Actions whose effect ends with the chain, or is taken back with the event when the chain dies: the next chain has to
repeat them.
"""

_UNREAD_BLOCKS = 16
"""The most executed blocks that are kept unread: 4 MiB of frames at most."""

REMEMBERED_ACTIONS = 1 << 17
"""The most pairs of event and receiver that are remembered, some 250 bytes each. Actions beyond that may be repeated.
"""

_RECEIVER_FIELDS = ("to", "group", "except", "id", "channel", "name")
"""The fields that name an action's receivers, or what else it is for."""


class Progress:
    """The executed actions of the events whose tick is not back.

    `last_event` gives the number of the last event; a `seq` above it is taken for a number of the filter's own.
    """

    def __init__(self, last_event: Callable[[], int]) -> None:
        self._last_event = last_event
        self.is_replaying = False
        """Whether executed actions may come back; while False, `without_done` need not be called."""
        self._acknowledged = 0
        """The number of the last tick that is back."""
        self._unread: list[Sequence[Frame]] = []
        """Blocks that were executed since that tick and not read, the oldest first."""
        self._executed: Counter[tuple[int, int]] = Counter()
        """Executed actions of the events behind that tick, from the blocks that were read: counts by (event, receiver).
        """
        self._done: Counter[tuple[int, int]] = Counter()
        """During a replay: the executed actions that have not come back yet, counted likewise."""
        self._horizon = 0
        """The last event with an executed action when the replay began."""
        self._returns_ticks = True
        self._may_regroup = False
        self._passing: frozenset[str] = frozenset()
        """Types of frames that are never suppressed."""
        self.suppressed = 0
        """Actions that were left out because they had been executed before."""

    def note(self, frames: Sequence[Frame]) -> None:
        """Note the frames of an executed block, in order. To be called for each block."""
        self._unread.append(frames)
        if len(self._unread) > _UNREAD_BLOCKS:
            self._read_all()

    def acknowledge(self, tick: int) -> None:
        """Note that a tick is back. The block that contains it must have been noted before."""
        if tick <= self._acknowledged:
            return
        self._acknowledged = tick
        last = self._unread[-1:]
        self._unread = last if last and last[0] and type_of(last[0][-1]) != TICK else []
        if self._executed:
            self._executed = Counter({key: count for key, count in self._executed.items() if key[0] > tick})

    def begin_replay(self, acknowledged: int, *, returns_ticks: bool = True, may_regroup: bool = False) -> None:
        """Begin a replay: a new chain gets the kept events again; the ticks up to `acknowledged` are back.

        `returns_ticks`: the chain lets ticks through, so that one of them ends the replay. `may_regroup`: the chain's
        text may have changed, and with it the groups into which it puts clients.
        """
        # A chain that dies before its replay is over leaves the regrouping to the next one.
        self._may_regroup = may_regroup or (self.is_replaying and self._may_regroup)
        self._passing = _NO_ACTIONS | _OF_ONE_RUN | ({JOIN, LEAVE} if self._may_regroup else frozenset())
        self._acknowledged = max(self._acknowledged, acknowledged)
        self._read_all()
        self._done = Counter(self._executed)
        self._horizon = max((seq for seq, _ in self._done), default=self._acknowledged)
        self._returns_ticks = returns_ticks
        self.is_replaying = True

    def expect_no_ticks(self) -> None:
        """Let an action of a new event end the replay: the chain lets no tick through."""
        self._returns_ticks = False
        self._unread.clear()

    def without_done(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield a replay's frames without the actions that have been executed."""
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
        """Whether this frame shows that all executed actions have come back."""
        ends = kind == TICK if self._returns_ticks else kind not in _NO_ACTIONS
        return ends and self._horizon < seq <= self._last_event()

    def _left_of(self, frame: Frame, seq: object) -> Frame | None:
        """The part of an action that has not been executed: all of it, some of its receivers, or None.

        Counts the rest as come back, so it may be called once for each action.
        """
        if type(seq) is not int or seq > self._last_event():
            return frame
        keys = _receivers_of(frame) if seq > self._acknowledged else []
        left = [index for index, key in enumerate(keys) if not self._take_done(seq, key)]
        if keys and len(left) == len(keys):
            return frame
        self.suppressed += 1
        return {**frame, "to": [frame["to"][index] for index in left]} if left else None

    def _take_done(self, seq: int, key: int) -> bool:
        """Whether an executed answer to this event and receiver has not come back yet; if so, it now counts as back."""
        if not self._done[seq, key]:
            return False
        self._done[seq, key] -= 1
        return True

    def _rest_of(self, send: Frame) -> Iterator[Frame]:
        """Yield what of a joined send has not been sent: all of it, or its messages that some client lacks."""
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
        """Read the unread blocks, and count their actions by event and receiver."""
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
    """The numbers of the events that have caused an action, one for each of its messages."""
    seq = frame.get("seq")
    if type_of(frame) in _NO_ACTIONS:
        return ()
    if type(seq) is int:
        return (seq,)
    return frame["seq"] if is_joined(frame) else ()


def _receivers_of(frame: Frame) -> Sequence[int]:
    """A number for each client that an action names, or a single one for any other receiver.

    Two actions of one type with the same receivers have the same numbers, in whatever order they name them.
    """
    kind, to = frame.get("type"), frame.get("to")
    if type(to) is list:
        return [_hash_of(kind, client) for client in to]
    if type(to) is str and to != EVERYONE:
        return (_hash_of(kind, to),)
    return (_hash_of(kind, *(_in_order(frame.get(name)) for name in _RECEIVER_FIELDS)),)


def _in_order(value: object) -> object:
    """A list of ids as a set, so that its order doesn't matter; any other value as it is."""
    return frozenset(value) if type(value) is list and all(type(item) is str for item in value) else value


def _hash_of(*values: object) -> int:
    try:
        return hash(values)
    except TypeError:  # no valid action has such a value
        return 0
