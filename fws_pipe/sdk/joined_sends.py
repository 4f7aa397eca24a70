"""Joins consecutive sends to the same receivers into one action with a list of messages (`protocol.actions`). No I/O.

Only the last stage joins sends: there only other actions and ticks come between sends, and each ends the run, so no
frame overtakes another. One frame for some hundred messages costs this filter, the sink and the front a tenth of the
time.
"""

from __future__ import annotations

from collections.abc import Callable

from fws_pipe.protocol.actions import SEND, is_joined
from fws_pipe.protocol.codec import Frame

_BYTES = 64 * 1024
"""The size at which a run ends: as many bytes as the front reads of a client at once."""

_MESSAGES = 2048
"""The number of messages at which a run ends."""

Target = tuple[str, str | None, bool]
"""`to`, `except` and `everywhere`."""

_NOBODY: Target = ("", None, False)


class JoinedSends:
    """Collects a run of sends; `put` is called with the joined action when the run ends."""

    __slots__ = ("_data", "_put", "_seqs", "_size", "_target")

    def __init__(self, put: Callable[[Frame], object]) -> None:
        self._put = put
        self._target = _NOBODY
        self._data: list[str | bytes] = []
        self._seqs: list[int] = []
        self._size = 0

    def add(self, target: Target, data: str | bytes, seq: int) -> None:
        """Add one message, as text or bytes; `seq` is the number of the event that caused it."""
        if target != self._target:
            self.end()
            self._target = target
        self._data.append(data)
        self._seqs.append(seq)
        self._size += len(data)
        if self._size >= _BYTES or len(self._data) >= _MESSAGES:
            self.end()

    def end(self) -> None:
        """End the run: pass its action to `put`; the next send begins a new run."""
        if not self._data:
            return
        to, without, everywhere = self._target
        action: Frame = {"type": SEND, "to": to}
        if without is not None:
            action["except"] = without
        if everywhere:
            action["everywhere"] = True
        is_one = len(self._data) == 1
        action["data"], action["seq"] = (self._data[0], self._seqs[0]) if is_one else (self._data, self._seqs)
        self._target, self._data, self._seqs, self._size = _NOBODY, [], [], 0
        self._put(action)

    def discard(self, seq: int | None) -> None:
        """Drop the messages of the event `seq` that are still in the run: its handler has failed."""
        while self._seqs and self._seqs[-1] == seq:
            self._seqs.pop()
            self._size -= len(self._data.pop())


def without_event(action: Frame, seq: int | None) -> Frame | None:
    """The action without the messages that the event `seq` has caused; None: nothing is left of it."""
    if not is_joined(action):
        return None if action.get("seq") == seq else action
    kept = [(data, cause) for data, cause in zip(action["data"], action["seq"], strict=True) if cause != seq]
    return {**action, "data": [data for data, _ in kept], "seq": [cause for _, cause in kept]} if kept else None
