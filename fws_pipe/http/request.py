"""Reads the head of a client's HTTP request, and keeps the bytes after it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import trio

from fws_pipe.http import handshake
from fws_pipe.websocket.transport import Transport

_READ_BYTES = 16 * 1024
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_SPACE = 0x20


class Request(NamedTuple):
    """The answer to a client's request. `early` are the bytes after the head: they belong to the open WebSocket."""

    answer: handshake.Answer
    early: bytes = b""

    @property
    def upgrade(self) -> handshake.Upgrade | None:
        """The request itself; None where it is no valid request for a WebSocket."""
        return self.answer if isinstance(self.answer, handshake.Upgrade) else None


async def read_block(receive: Callable[[int], Awaitable[bytes]], max_bytes: int) -> bytes:
    """The next bytes, at most `max_bytes`; b"" when the connection has ended, cleanly or not."""
    try:
        return await receive(max_bytes)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return b""


async def read_request(
    transport: Transport,
    limit: int,
    tap: Callable[[bytes], object] | None,
    answer_to: Callable[[bytes], handshake.Answer],
) -> Request | None:
    """Read the request's head, of `limit` bytes at most; None when the client has gone before its end.

    `tap` is called with each block of bytes as it arrives, `answer_to` with the whole head.
    """
    if not await transport.begin():
        return None
    received = b""
    skipped = 0
    while not (end := _END_OF_HEAD.search(received)):
        if skipped + len(received) > limit:
            return Request(handshake.too_large(received, limit))
        if received and received[0] < _SPACE:
            return Request(answer_to(received))  # a TLS hello, or other bytes that will never be a request
        if not (block := await read_block(transport.receive_some, _READ_BYTES)):
            return None
        if tap is not None:
            tap(block)
        if not received:  # some clients send an empty line before the request (RFC 9112, section 2.2)
            request = block.lstrip(b"\r\n")
            skipped += len(block) - len(request)
            block = request
        received += block
    if skipped + end.end() > limit:
        return Request(handshake.too_large(received, limit))
    return Request(answer_to(received[: end.end()]), received[end.end() :])
