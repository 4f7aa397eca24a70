"""Reads the head of a client's HTTP request, and keeps what came behind it."""

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
    """What a client wants. `early` came with the request: it belongs to the connection once that is open."""

    answer: handshake.Answer
    early: bytes = b""

    @property
    def origins(self) -> list[str]:
        """The pages that it names, as far as it could be read."""
        return self.answer.origins if isinstance(self.answer, handshake.Upgrade) else []


async def read_block(receive: Callable[[int], Awaitable[bytes]], max_bytes: int) -> bytes:
    """At most so many of the next bytes; none when the connection has ended, in good manners or not."""
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
    """Read the request's head, of `limit` bytes at most; None when the client has gone without one.

    `tap` sees each block, `answer_to` the whole head.
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
