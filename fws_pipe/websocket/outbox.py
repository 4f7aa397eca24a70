"""Bytes on their way to one client: an HTTP response, then WebSocket frames. No I/O.

Two parties fill it. What others send to the client may wait up to the limit. When it finds no room, the owner is told
by `fits`, and closes the client, drops what has come, or has `make_room` drop what has waited longest: a slow client
costs only itself (docs/promises.md). The replies to the client's own messages wait beside that, and none is dropped:
where they are more than the limit, the client is read no further (clients/sender.py).

Whose a frame is has to be found out only for a client that is behind. What was queued before that counts as its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from fws_pipe.websocket.rfc6455 import count_frames, end_of_frame

_JOIN_BYTES = 128 * 1024
"""Small frames are joined up to this size for one system call; larger ones aren't worth the copy."""

OBJECT_BYTES = 48
"""What an object of Python's takes beside its text: so that many small ones don't exceed a limit unseen."""

_SMALL_BYTES = 4 * 1024
"""Small replies to a client that is behind are joined up to this size: an object each would take more than they."""


class Outbox:
    """A queue of whole WebSocket frames of which any number of leading bytes may be gone already."""

    __slots__ = (
        "_frames",
        "_gone",
        "_others",
        "_others_size",
        "_response",
        "_written_of_first",
        "limit",
        "size",
        "weight",
        "written",
    )

    def __init__(self, limit: int) -> None:
        self._frames: deque[bytes] = deque()
        self._response = b""
        """What is left of the HTTP response before all frames: it is never joined with them, and never dropped."""
        self.limit = limit
        self._written_of_first = 0
        self._gone = 0
        """Bytes that have left, ever: where in the stream the first byte stands that waits."""
        self._others: deque[tuple[int, int]] | None = None
        """Where in the stream others' frames stand: begin and end of each run of them; None: nowhere yet."""
        self._others_size = 0
        """How many bytes these are."""
        self.size = 0
        """Bytes that wait."""
        self.written = 0
        """Bytes of frames that were written, ever; also those that did not have to wait (`Wire.write`)."""
        self.weight = 0
        """About how much memory they take: of what many clients get, each has a part."""

    def __bool__(self) -> bool:
        return self.size > 0

    @property
    def others(self) -> int:
        """Bytes that wait and are known to be others'."""
        if self._others_size:
            self._forget_others_before(self._gone)
        return self._others_size

    @property
    def own(self) -> int:
        """Bytes that wait and aren't others', as far as that is known."""
        return self.size - self.others if self._others_size else self.size

    def fits(self, size: int) -> bool:
        """Whether others may add `size` bytes; where nothing of theirs waits, a frame of any size."""
        others = self.others
        return not others or others + size <= self.limit

    def begin_with(self, response: bytes) -> None:
        """Put a response before all frames."""
        self._response += response
        self.written -= len(response)  # it will count as written, and has no frames
        self.size += len(response)
        self.weight += len(response)

    def append(self, frame: bytes, weight: int = 0) -> None:
        """Queue whole frames, which take `weight` bytes of memory; 0: as many as they have."""
        self._frames.append(frame)
        self.size += len(frame)
        self.weight += weight or len(frame)

    def append_own(self, frame: bytes) -> None:
        """Queue frames that the client's own messages have caused, behind others that wait."""
        is_behind_others = self._others is not None and self._others and self._others[-1][1] == self._gone + self.size
        if is_behind_others or not self._frames or len(self._frames[-1]) + len(frame) > _SMALL_BYTES:
            self.append(frame)
        else:
            self._frames[-1] += frame
            self.size += len(frame)
            self.weight += len(frame)

    def append_others(self, frame: bytes, weight: int = 0) -> None:
        """Queue frames that others have caused, behind others that wait."""
        if self._others is None:
            self._others = deque()
        begin = self._gone + self.size
        end = begin + len(frame)
        if self._others and self._others[-1][1] == begin:
            begin, _ = self._others.pop()
        self._others.append((begin, end))
        self._others_size += len(frame)
        self.append(frame, weight)

    def _forget_others_before(self, position: int) -> None:
        """What stands before this place in the stream waits no more, or counts as the client's own from now on."""
        runs = self._others
        while runs and runs[0][0] < position:
            begin, end = runs.popleft()
            self._others_size -= min(end, position) - begin
            if end > position:
                runs.appendleft((position, end))

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
        """Note that `count` bytes of `next_bytes` have been written."""
        self.written += count
        if count == self.size:
            self._clear()
            return
        self._lose(count)
        if self._response:
            self._response = self._response[count:]
            return
        self._written_of_first += count
        if self._written_of_first == len(self._frames[0]):
            self._frames.popleft()
            self._written_of_first = 0

    def _clear(self) -> None:
        """Nothing waits any more."""
        self._gone += self.size
        self.size = self.weight = 0
        self._response = b""
        self._frames.clear()
        self._written_of_first = 0

    def _lose(self, count: int) -> None:
        """Note that `count` bytes no longer wait."""
        self._gone += count
        left = self.size - count
        self.weight = self.weight * left // self.size if left else 0
        self.size = left

    def write_with(self, send: Callable[[bytes | memoryview], int]) -> None:
        """Write with `send` until all is written, or it raises BlockingIOError. Raises what else it raises."""
        try:
            while self.size:
                self.advance(send(self.next_bytes()))
        except BlockingIOError:
            pass

    def pop_all(self) -> bytes:
        """Remove all that waits, and return it."""
        waiting = self._response + b"".join(self._frames)[self._written_of_first :]
        self._clear()
        return waiting

    def exported(self) -> dict[str, Any]:
        """What waits, as another process can `restore` it: whole frames, and how much of the first one has left."""
        self._forget_others_before(self._gone)
        return {
            "response": self._response,
            "frames": list(self._frames),
            "written": self._written_of_first,
            "others": [[begin - self._gone, end - self._gone] for begin, end in self._others or ()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what waited in another process; nothing waits yet. Frames of many clients count as this one's."""
        self._response = state["response"]
        self.written -= len(self._response)  # as in `begin_with`
        self._frames.extend(state["frames"])
        self._written_of_first = state["written"]
        self.size = len(self._response) + sum(map(len, self._frames)) - self._written_of_first
        self.weight = self.size
        if state["others"]:
            self._others = deque((self._gone + begin, self._gone + end) for begin, end in state["others"])
            self._others_size = sum(end - begin for begin, end in self._others)

    def make_room(self, size: int) -> int:
        """Drop the oldest of others' frames until `size` bytes find room; returns how many messages were dropped.

        What goes out together was put in together, and is dropped together. The client's own replies stay, and so does
        a frame that has begun.
        """
        dropped = 0
        begun = self._pop_begun()
        kept = [begun] if begun else []
        position = self._gone + len(self._response) + len(begun) - self._written_of_first
        while self._frames and not self.fits(size):
            block = self._frames.popleft()
            end = position + len(block)
            if self._is_others(position, end):
                # What stays before it moves up, so that everything behind it keeps its place in the stream.
                self._lose(len(block))
                self._forget_others_before(end)
                dropped += count_frames(block)
            else:
                kept.append(block)
            position = end
        self._frames.extendleft(reversed(kept))
        return dropped

    def _is_others(self, begin: int, end: int) -> bool:
        """Whether all bytes between two places in the stream are others'."""
        self._forget_others_before(begin)
        if not self._others:
            return False
        first, last = self._others[0]
        return first <= begin and end <= last

    def _pop_begun(self) -> bytes:
        """Remove the frame whose beginning has been written, if there is one; its bytes still count."""
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
        begun = self._pop_begun()
        self._frames.clear()
        if begun:
            self._frames.append(begun)
        self._lose(self.size - len(self._response) - len(begun) + self._written_of_first)
