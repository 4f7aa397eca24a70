"""One connection of the admin address: requests in, answers out, in HTTP/1.1 by h11."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import h11
import trio

HEAD_LIMIT_BYTES = 16 * 1024
BODY_LIMIT_BYTES = 16 * 1024

_REQUEST_S = 10.0
"""How long a request may take to arrive, from its first byte on."""

_ANSWER_S = 10.0
"""How long the peer may take to make room for an answer."""

_LINGER_S = 1.0
"""How long a peer may take to read its last answer, and to stop sending."""

_READ_BYTES = 16 * 1024


class PeerError(Exception):
    """The peer is gone, too slow, or has sent what is no request."""


class Asked(NamedTuple):
    """A request. Header names are lower-case; the last of several headers of a name counts."""

    method: str
    target: str
    headers: dict[str, str]


class Reply(NamedTuple):
    """An answer to a request, which is written as a whole."""

    status: int
    media_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


_ALWAYS = (
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
)
"""What every answer says: it is of this moment, and for no other site."""


class Stream(NamedTuple):
    """An answer that is written piece by piece, the last one of its connection."""

    media_type: str
    write_to: Callable[[Connection], Awaitable[None]]
    """Writes the pieces, and returns when there are no more or the peer is gone."""


class Connection:
    """A peer's connection. Owns the socket, which is non-blocking."""

    def __init__(self, peer: socket.socket) -> None:
        self._socket = peer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT_BYTES)
        self.idle_since: float | None = trio.current_time()
        """Since when it has waited for a request (trio's clock); None: one is under way."""
        self.arriving_since: float | None = None
        """Since when a request has been arriving (trio's clock); None: none is incomplete."""
        self._is_writing = False
        """Whether the last write has stopped half-way."""

    async def next_request(self) -> Asked | None:
        """The next request, its body read and dropped; None at the end. Raises PeerError."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        if self._http.our_state is not h11.IDLE:
            return None
        if not self._http.trailing_data[0]:
            self.idle_since = trio.current_time()
            self._http.receive_data(await self._receive())
        self.idle_since = None
        self.arriving_since = trio.current_time()
        with trio.move_on_after(_REQUEST_S):
            request = await self._read_request()
            self.arriving_since = None
            return request
        raise PeerError(f"a request has not arrived within {_REQUEST_S:.0f} s")

    async def _read_request(self) -> Asked | None:
        request = await self._next_event()
        if not isinstance(request, h11.Request):
            return None
        await self._drop_body()
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in request.headers}
        return Asked(request.method.decode("ascii"), request.target.decode("latin-1"), headers)

    async def _drop_body(self) -> None:
        size = 0
        while not isinstance(event := await self._next_event(), h11.EndOfMessage):
            size += len(event.data) if isinstance(event, h11.Data) else 0
            if size > BODY_LIMIT_BYTES or isinstance(event, h11.ConnectionClosed):
                raise PeerError(f"a request's body has more than {BODY_LIMIT_BYTES} bytes")

    async def _next_event(self) -> h11.Event:
        """The next event of the peer. Raises PeerError."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    await self._write(h11.InformationalResponse(status_code=100, headers=[]))
                self._http.receive_data(await self._receive())
        except h11.RemoteProtocolError as error:
            await self._refuse(error)
            raise PeerError("it has sent no valid HTTP request") from None
        assert isinstance(event, h11.Event), "PAUSED comes only after the end of a request"
        return event

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            status = error.error_status_hint
            await self.answer(Reply(status, "text/plain; charset=utf-8", b"This is no valid HTTP request.\n"))
            await self._linger()

    async def _linger(self) -> None:
        """End the answers, and drop what still comes: closing at once would take back the last one (RFC 9112, 9.6)."""
        with trio.move_on_after(_LINGER_S), contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            await self.wait_gone()

    async def _receive(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                raise PeerError("it is gone") from None

    async def answer(self, reply: Reply, *, has_body: bool = True) -> None:
        """Write an answer. `has_body`: False for HEAD. Raises PeerError."""
        headers = [
            ("content-type", reply.media_type),
            ("content-length", str(len(reply.body))),
            *_ALWAYS,
            *reply.headers,
        ]
        await self._write(
            h11.Response(status_code=reply.status, headers=headers),
            *([h11.Data(data=reply.body)] if has_body and reply.body else []),
            h11.EndOfMessage(),
        )

    async def stream(self, stream: Stream) -> None:
        """Write an answer whose length isn't known. Raises PeerError."""
        headers = [("content-type", stream.media_type), ("connection", "close"), *_ALWAYS]
        await self._write(h11.Response(status_code=200, headers=headers))
        await stream.write_to(self)
        await self._linger()

    async def write_piece(self, piece: bytes) -> None:
        """Write a piece of a stream. Raises PeerError."""
        if piece:
            await self._write(h11.Data(data=piece))

    def end_stream(self, piece: bytes) -> None:
        """Write a stream's last piece, unless the last write has stopped half-way, or there is no room for it now.

        No-op for a stream that has ended.
        """
        if not self._is_writing and self._http.our_state is h11.SEND_BODY:
            data = self._http.send(h11.Data(data=piece)) or b""
            with contextlib.suppress(OSError):
                self._socket.send(data + (self._http.send(h11.EndOfMessage()) or b""))

    async def wait_gone(self) -> None:
        """Wait until the peer has ended the connection; what it still sends is dropped."""
        with contextlib.suppress(PeerError):
            while await self._receive():
                pass

    async def _write(self, *events: h11.Event) -> None:
        await self._write_bytes(b"".join(self._http.send(event) or b"" for event in events))

    async def _write_bytes(self, data: bytes) -> None:
        rest = memoryview(data)
        self._is_writing = True
        with trio.move_on_after(_ANSWER_S):
            while rest:
                try:
                    rest = rest[self._socket.send(rest) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._socket)
                except OSError:
                    raise PeerError("it is gone") from None
            self._is_writing = False
            return
        raise PeerError("it does not read its answers")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
