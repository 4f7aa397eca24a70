"""Bytes on their way to one client. No I/O.

Policy when full (DESIGN: a slow client costs only itself): the owner is told by `fits`, and closes the client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

_JOIN_BYTES = 128 * 1024
"""Small frames are joined up to this size for one system call; larger ones aren't worth the copy."""


class Outbox:
    """A queue of whole WebSocket frames of which any number of leading bytes may be gone already."""

    __slots__ = ("_frames", "_written_of_first", "limit", "size")

    def __init__(self, limit: int) -> None:
        self._frames: deque[bytes] = deque()
        self.limit = limit
        self._written_of_first = 0
        self.size = 0
        """Bytes that wait."""

    def __bool__(self) -> bool:
        return self.size > 0

    def fits(self, size: int) -> bool:
        """Whether so many more bytes are allowed; an empty outbox takes a frame of any size."""
        return self.size == 0 or self.size + size <= self.limit

    def append(self, frame: bytes) -> None:
        """Queue a frame."""
        self._frames.append(frame)
        self.size += len(frame)

    def next_bytes(self) -> bytes | memoryview:
        """What is to be written next; the same until `advance` is called."""
        first = self._frames[0]
        if len(self._frames) > 1 and len(first) < _JOIN_BYTES:
            self._join()
            first = self._frames[0]
        return memoryview(first)[self._written_of_first :] if self._written_of_first else first

    def _join(self) -> None:
        parts: list[bytes] = []
        size = 0
        while self._frames and size < _JOIN_BYTES:
            part = self._frames.popleft()
            parts.append(part)
            size += len(part)
        self._frames.appendleft(b"".join(parts))

    def advance(self, count: int) -> None:
        """So many bytes of `next_bytes` have been written."""
        self.size -= count
        if not self.size:
            self._frames.clear()
            self._written_of_first = 0
            return
        self._written_of_first += count
        if self._written_of_first == len(self._frames[0]):
            self._frames.popleft()
            self._written_of_first = 0

    def write_with(self, send: Callable[[bytes | memoryview], int]) -> None:
        """Write with `send` until all is written, or it raises BlockingIOError. Raises what else it raises."""
        try:
            while self.size:
                self.advance(send(self.next_bytes()))
        except BlockingIOError:
            pass

    def take(self) -> bytes:
        """All that waits; nothing is left."""
        waiting = b"".join(self._frames)[self._written_of_first :]
        self._frames.clear()
        self._written_of_first = self.size = 0
        return waiting

    def drop_unstarted(self) -> None:
        """Forget all but what is left of a frame whose beginning has been written: the stream must stay whole."""
        if self._written_of_first:
            self._frames = deque([self._frames[0]])
            self.size = len(self._frames[0]) - self._written_of_first
        else:
            self._frames.clear()
            self.size = 0
