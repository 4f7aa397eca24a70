"""What the chain has the server remember of one client, by name. No I/O.

After a crash a filter gets the unfinished events again, and remembers again what they lead to. So that a counter counts
each of them once, a new chain is told the values as they were before these events:

    settled <- the values as of the last tick before which nothing is kept (Ticks.done)
    unsettled <- what has been remembered behind that tick, in order; a later tick settles it, a crash drops it

Of the values of one name that stand between two ticks the last one is kept: none of the others can be settled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fws_pipe.protocol.actions import REMEMBERED_LIMIT_BYTES
from fws_pipe.protocol.codec import pack, unpack
from fws_pipe.websocket.outbox import OBJECT_BYTES

_NOTHING = pack(None)
"""As a value: forget the name."""

_UNSETTLED_LIMIT_BYTES = 4 * REMEMBERED_LIMIT_BYTES
"""How much one client's unsettled values may take. Beyond that the oldest count as settled: after a crash a filter may
be told a value to which an event has led that it gets again.
"""


class _Unsettled(NamedTuple):
    """A value that came behind the tick `after`."""

    after: int
    name: str
    value: bytes

    @property
    def weight(self) -> int:
        return _weight_of(self.name, self.value)


class Remembered:
    """The values of one client, in msgpack form."""

    def __init__(self) -> None:
        self._settled: dict[str, bytes] = {}
        self._unsettled: list[_Unsettled] = []
        self._unsettled_weight = 0

    @property
    def weight(self) -> int:
        """About how much memory it takes, in bytes."""
        return self._unsettled_weight + sum(_weight_of(name, value) for name, value in self._settled.items())

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits for a tick."""
        return not self._unsettled

    def values(self) -> dict[str, Any]:
        """The settled values by name, in the order of the names."""
        return {name: unpack(value) for name, value in sorted(self._settled.items())}

    def size_with(self, name: str, value: Any) -> int:
        """How many bytes names and values would have if this value were remembered, too; None: forgotten."""
        latest = dict(self._settled)
        for unsettled in self._unsettled:
            latest[unsettled.name] = unsettled.value
        latest[name] = pack(value)
        return sum(len(key.encode()) + len(kept) for key, kept in latest.items() if kept != _NOTHING)

    def note(self, name: str, value: Any, after: int | None) -> None:
        """Remember a value that came behind the tick `after`; None: no event that comes again leads to it."""
        if after is None:
            self._drop([each for each in self._unsettled if each.name != name])
            self._set(name, pack(value))
            return
        kept = [each for each in self._unsettled if (each.after, each.name) != (after, name)]
        self._drop([*kept, _Unsettled(after, name, pack(value))])
        while self._unsettled_weight > _UNSETTLED_LIMIT_BYTES:
            self.settle(self._unsettled[0].after + 1)

    def settle(self, done: float) -> None:
        """Before the tick `done` nothing is kept; infinity: nothing at all."""
        for unsettled in self._unsettled:
            if unsettled.after < done:
                self._set(unsettled.name, unsettled.value)
        self._drop([each for each in self._unsettled if each.after >= done])

    def forget_unsettled(self) -> None:
        """The events that have led to these values come again."""
        self._drop([])

    def _drop(self, rest: list[_Unsettled]) -> None:
        self._unsettled = rest
        self._unsettled_weight = sum(each.weight for each in rest)

    def _set(self, name: str, value: bytes) -> None:
        if value == _NOTHING:
            self._settled.pop(name, None)
        else:
            self._settled[name] = value


def _weight_of(name: str, value: bytes) -> int:
    return len(name) + len(value) + 4 * OBJECT_BYTES
