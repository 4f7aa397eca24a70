"""Bytes on their way to one client: an HTTP response, then WebSocket frames. No I/O.

When it is full (DESIGN: a slow client costs only itself) the owner is told by `fits`, and closes the client, drops what
has come, or has `make_room` drop what has waited longest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from fws_pipe.front.rfc6455 import count_frames, end_of_frame

_JOIN_BYTES = 128 * 1024
"""Small frames are joined up to this size for one system call; larger ones aren't worth the copy."""


class Outbox:
    """A queue of whole WebSocket frames of which any number of leading bytes may be gone already."""

    __slots__ = ("_frames", "_response", "_written_of_first", "limit", "size")

    def __init__(self, limit: int) -> None:
        self._frames: deque[bytes] = deque()
        self._response = b""
        """What is left of the HTTP response before all frames: it is never joined with them, and never dropped."""
        self.limit = limit
        self._written_of_first = 0
        self.size = 0
        """Bytes that wait."""

    def __bool__(self) -> bool:
        return self.size > 0

    def fits(self, size: int) -> bool:
        """Whether so many more bytes are allowed; an empty outbox takes a frame of any size."""
        return self.size == 0 or self.size + size <= self.limit

    def begin_with(self, response: bytes) -> None:
        """Put a response before all frames."""
        self._response += response
        self.size += len(response)

    def append(self, frame: bytes) -> None:
        """Queue a frame."""
        self._frames.append(frame)
        self.size += len(frame)

    def next_bytes(self) -> bytes | memoryview:
        """What is to be written next; the same until `advance` is called."""
        if self._response:
            return self._response
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
        if self._response:
            self._response = self._response[count:]
            return
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
        waiting = self._response + b"".join(self._frames)[self._written_of_first :]
        self._response = b""
        self._frames.clear()
        self._written_of_first = self.size = 0
        return waiting

    def make_room(self, size: int) -> int:
        """Drop what has waited longest until so many more bytes are allowed; returns how many messages that were.

        What goes out together was put in together, and is dropped together. A frame that has begun stays, and the
        response; where these leave no room nothing is dropped.
        """
        dropped = 0
        begun = self._take_begun()
        stays = len(self._response) + (len(begun) - self._written_of_first if begun else 0)
        can_be_made = not stays or stays + size <= self.limit
        while can_be_made and self._frames and not self.fits(size):
            block = self._frames.popleft()
            self.size -= len(block)
            dropped += count_frames(block)
        if begun:
            self._frames.appendleft(begun)
        return dropped

    def _take_begun(self) -> bytes:
        """Take out the frame whose beginning has been written, if there is one; its bytes still count."""
        if not self._written_of_first:
            return b""
        block = self._frames.popleft()
        end = start = 0
        while end < self._written_of_first:
            start, end = end, end_of_frame(block, end)
        self._written_of_first -= start
        if end < len(block):
            self._frames.appendleft(block[end:])
        if end == start + self._written_of_first:
            self._written_of_first = 0
            return b""
        return block[start:end]

    def drop_unstarted(self) -> None:
        """Forget all but the response and what is left of a frame that has begun: the stream must stay whole."""
        begun = self._take_begun()
        self._frames.clear()
        self.size = len(self._response)
        if begun:
            self._frames.append(begun)
            self.size += len(begun) - self._written_of_first
