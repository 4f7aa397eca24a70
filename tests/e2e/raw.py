"""A WebSocket client on a bare socket: it can break every rule."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from typing import NamedTuple

from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event

from fws_pipe.websocket.frames import mask_in_python
from tests.harness import PATIENCE_S

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def request(port: int, *extra: str, line: str = "GET / HTTP/1.1") -> bytes:
    """An upgrade request."""
    lines = [
        line,
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *extra,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def frame(
    payload: bytes, opcode: int = TEXT, first: int | None = None, masked: bool = True, key: bytes = bytes(4)
) -> bytes:
    """A WebSocket frame; its mask is zeros, which is legal, unless told. `first` replaces its first byte."""
    mask = 0x80 if masked else 0
    size = len(payload)
    head = bytes([0x80 | opcode if first is None else first])
    if size < 126:
        head += bytes([mask | size])
    elif size < 65536:
        head += bytes([mask | 126]) + struct.pack("!H", size)
    else:
        head += bytes([mask | 127]) + struct.pack("!Q", size)
    return head + key + mask_in_python(payload, key) if masked else head + payload


def hello_of_tls(context: ssl.SSLContext) -> bytes:
    """The first bytes of a client that wants TLS."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


class Reply(NamedTuple):
    """A WebSocket frame that a server has sent: its first byte and its payload."""

    first: int
    payload: bytes


def split_replies(stream: bytes) -> list[Reply]:
    """The whole frames of what a server has sent. Raises ValueError for a masked one: no server may mask."""
    replies = []
    position = 0
    while position + 2 <= len(stream):
        size = stream[position + 1]
        if size & 0x80:
            raise ValueError(f"a masked frame from a server: {stream[position : position + 16]!r}")
        start = position + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(stream[start : start + width], "big")
            start += width
        if start + size > len(stream):
            break
        replies.append(Reply(stream[position], stream[start : start + size]))
        position = start + size
    return replies


class RawClient:
    """A connection whose bytes the test writes itself."""

    def __init__(self, port: int, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", port))
        self.port = port
        self._early = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def begin_tls(self, context: ssl.SSLContext) -> None:
        """What follows goes through TLS."""
        self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def end_output(self) -> None:
        """Say that nothing follows, and go on reading."""
        if isinstance(self.socket, ssl.SSLSocket):
            self.socket.settimeout(0)
            with contextlib.suppress(ssl.SSLWantReadError):
                self.socket.unwrap()  # close_notify goes out, and the server's is not waited for
            self.socket.settimeout(PATIENCE_S)
        socket.socket.shutdown(self.socket, socket.SHUT_WR)

    def upgrade(self, behind: bytes = b"") -> bytes:
        """Open, with `behind` in the same segment as the request; returns the response's head."""
        self.send(request(self.port) + behind)
        head = self.read_head()
        assert b" 101 " in head, head
        return head

    def read_head(self) -> bytes:
        """The head of the answer to a request."""
        received = b""
        while b"\r\n\r\n" not in received:
            block = self.socket.recv(65536)
            assert block, received
            received += block
        head, self._early = received.split(b"\r\n\r\n", 1)
        return head

    def read_to_end(self) -> bytes:
        """All bytes until the server ends the connection."""
        received, self._early = self._early, b""
        while block := self.socket.recv(65536):
            received += block
        return received

    def read(self, size: int) -> bytes:
        """So many bytes."""
        received, self._early = self._early, b""
        while len(received) < size:
            block = self.socket.recv(65536)
            assert block, received
            received += block
        received, self._early = received[:size], received[size:]
        return received

    def read_events_to_end(self) -> list[Event]:
        """What the server says until it ends the connection, read by wsproto."""
        parser = Connection(ConnectionType.CLIENT)
        parser.receive_data(self.read_to_end())
        return list(parser.events())

    def read_close_code(self) -> int:
        """The code of the Close frame that is the last thing the server says."""
        *_, close = self.read_events_to_end()
        assert isinstance(close, CloseConnection), close
        return int(close.code)

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
