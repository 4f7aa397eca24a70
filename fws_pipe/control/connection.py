"""One connection of the control socket: requests in, answers out, both as frames."""

from __future__ import annotations

import contextlib
import math
import socket
from collections import deque
from collections.abc import Sequence

import trio

from fws_pipe.errors import FrameError
from fws_pipe.protocol.codec import BLOCK_BYTES, Frame, FrameDecoder, encode
from fws_pipe.protocol.control import REQUEST_LIMIT_BYTES

_REQUEST_S = 30.0
"""The time limit for a request to arrive, from its first byte on."""

_ANSWER_S = 10.0
"""The time limit for the peer to make room for an answer."""


class PeerError(Exception):
    """The peer is gone or too slow, or has sent something other than a request."""


class Connection:
    """A peer's connection. Owns the socket, which is non-blocking."""

    def __init__(self, peer: socket.socket) -> None:
        self._socket = peer
        self._decoder = FrameDecoder("fws-ctl", REQUEST_LIMIT_BYTES)
        self._received = 0
        self._requests: deque[Frame] = deque()
        self.idle_since: float | None = trio.current_time()
        """The time since which it has waited for a request (trio's clock); None: a request is under way."""
        self.arriving_since: float | None = None
        """The time since which a request has been arriving (trio's clock); None: none is incomplete."""
        self.is_kept = False
        """Whether it may stay open while it is idle and other peers want to connect."""
        self.is_over = False
        """Whether no further request will be read."""
        self._is_inside_frame = False
        """Whether the last write stopped within a frame."""

    async def next_request(self) -> Frame | None:
        """Wait for the next request; returns None at the end. Raises PeerError."""
        if self.is_over:
            return None
        while not self._requests:
            is_begun = self._received > self._decoder.offset
            now = trio.current_time()
            self.idle_since, self.arriving_since = (None, self.arriving_since or now) if is_begun else (now, None)
            block = await self._receive(_REQUEST_S if is_begun else math.inf)
            try:
                if not block:
                    self._decoder.finish()
                    return None
                self._received += len(block)
                self._decoder.feed(block)
                self._requests.extend(self._decoder.frames())
            except FrameError as error:
                raise PeerError(f"expected requests, frames of at most {REQUEST_LIMIT_BYTES} bytes: {error}") from None
        self.idle_since = self.arriving_since = None
        await trio.lowlevel.checkpoint()  # a block may hold thousands of requests, each of which may be for all clients
        return self._requests.popleft()

    async def wait_gone(self) -> None:
        """Wait until the peer has ended the connection; bytes that it still sends are dropped."""
        with contextlib.suppress(PeerError):
            while await self._receive(math.inf):
                pass

    async def _receive(self, timeout_s: float) -> bytes:
        with trio.move_on_after(timeout_s):
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                try:
                    return self._socket.recv(BLOCK_BYTES)
                except BlockingIOError:
                    continue
                except OSError:
                    raise PeerError("it is gone") from None
        raise PeerError(f"a request did not arrive within {timeout_s:.0f} s")

    async def answer(self, *frames: Frame) -> None:
        """Write frames. Raises PeerError."""
        await self.write(b"".join(map(encode, frames)), _ANSWER_S)

    async def write(self, data: bytes, timeout_s: float = math.inf, descriptors: Sequence[int] = ()) -> None:
        """Write bytes within `timeout_s` seconds, with descriptors at the first of them. Raises PeerError."""
        rest = memoryview(data)
        self._is_inside_frame = True
        with trio.move_on_after(timeout_s):
            while rest:
                try:
                    if descriptors:
                        rest = rest[socket.send_fds(self._socket, [rest], descriptors) :]
                        descriptors = ()
                    else:
                        rest = rest[self._socket.send(rest) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._socket)
                except OSError:
                    raise PeerError("it is gone") from None
            self._is_inside_frame = False
            return
        raise PeerError("it does not read its answers")

    def shut_reading(self) -> None:
        """Let the peer write nothing more; what it has written can be read."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def say_at_last(self, frame: Frame) -> None:
        """Write a last frame, unless the last write stopped within a frame, or there is no room for it now."""
        if not self._is_inside_frame:
            with contextlib.suppress(OSError):
                self._socket.send(encode(frame))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
