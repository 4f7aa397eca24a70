"""What a wire stands on: a TCP connection, plain or with TLS, behind one small interface.

A plain socket is written without waiting; TLS goes through trio's SSLStream, which may have to read in order to write,
so there only a task can. Never: looks into what it carries.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any, Protocol

import trio

from fws_pipe.websocket.outbox import Outbox

TLS_CHUNK_BYTES = 64 * 1024
"""How much goes into TLS at once; what is in there can't be taken back."""

_GOODBYE_S = 1.0

SocketAddress = tuple[str, int]


class Transport(Protocol):
    """A connection to a client, from its first byte to its end."""

    remote: SocketAddress
    descriptor: int | None
    """The descriptor to read from once it is readable; None where only `receive_some` can read."""
    has_begun: bool
    """Whether anything can be said to the client: with TLS not before the end of its handshake."""
    send_now: Callable[[bytes | memoryview], int]
    """Writes what can be written without waiting; returns how many bytes that were. Raises BlockingIOError when it is
    nothing, another OSError when the client is gone."""

    @property
    def own_send_now(self) -> Callable[[bytes | memoryview], int]:
        """What `send_now` is unless a wire has replaced it."""

    problem: str
    """Why `begin` has failed; empty where the client has just gone."""

    async def receive_first(self, max_bytes: int) -> bytes:
        """Some bytes of what stands before TLS, or none at the end; before `begin`. Raises as `receive_some`."""

    async def begin(self) -> bool:
        """Do what comes before the first byte of HTTP. False when that has failed."""

    def is_silent(self) -> bool:
        """Whether nothing at all has arrived from the client since it connected."""

    def fileno(self) -> int:
        """The socket's descriptor, also where it can't be read directly; -1 once it is closed."""

    def has_unread(self) -> bool:
        """Whether something waits to be read; the end counts."""

    def has_been_reset(self) -> bool:
        """Whether the connection has ended in both directions."""

    def has_been_ended(self) -> bool:
        """Whether the client has ended its side at least, as far as the system tells before all is read."""

    def describe_tls(self) -> dict[str, Any] | None:
        """What an `open` event tells of TLS: its version, and the subject of the client's certificate, if any."""

    async def receive_some(self, max_bytes: int) -> bytes:
        """Some bytes, or none at the end. Raises trio.BrokenResourceError or trio.ClosedResourceError."""

    def limit_unsent(self, size: int) -> None:
        """Have the kernel take no more than about `size` bytes that it can't send yet, where it can be told so."""

    async def write_more(self, outbox: Outbox) -> None:
        """Wait, and write some. Raises OSError, trio.BrokenResourceError or trio.ClosedResourceError."""

    async def say_goodbye(self) -> None:
        """Tell the client that nothing follows, before `close`."""

    async def linger(self) -> None:
        """End the output and throw away what still arrives, to its end. Raises OSError, or as `receive_some`."""

    def close(self) -> None:
        """Close the socket at once. Idempotent."""


class PlainTransport:
    """TCP with nothing around it. `connection` is not blocking."""

    __slots__ = ("_has_read", "_socket", "descriptor", "has_begun", "problem", "remote", "send_now")

    def __init__(self, connection: socket.socket, remote: SocketAddress) -> None:
        self._socket = connection
        self._has_read = False
        self.remote = remote
        self.descriptor: int | None = connection.fileno()
        self.has_begun = True
        self.problem = ""
        self.send_now: Callable[[bytes | memoryview], int] = connection.send

    @property
    def own_send_now(self) -> Callable[[bytes | memoryview], int]:
        """The socket's."""
        return self._socket.send

    async def receive_first(self, max_bytes: int) -> bytes:
        """There is no TLS: the same as `receive_some`."""
        return await self.receive_some(max_bytes)

    async def begin(self) -> bool:
        """No-op, always true."""
        return True

    def is_silent(self) -> bool:
        """Nothing has been read, and nothing waits to be."""
        return not self._has_read and not self.has_unread()

    def fileno(self) -> int:
        """The same as `descriptor`, until the socket is closed."""
        return self._socket.fileno()

    def has_unread(self) -> bool:
        """Whether the kernel has something to read."""
        return _tells(self._socket, select.POLLIN)

    def has_been_reset(self) -> bool:
        """As the kernel tells."""
        return _tells(self._socket, 0)

    def has_been_ended(self) -> bool:
        """As the kernel tells."""
        return _tells(self._socket, _THE_CLIENTS_END)

    def describe_tls(self) -> None:
        """None: there is no TLS."""

    async def receive_some(self, max_bytes: int) -> bytes:
        """Some bytes, or none at the end."""
        while True:
            try:
                block = self._socket.recv(max_bytes)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
            except OSError as error:
                raise trio.BrokenResourceError from error
            else:
                self._has_read = True
                return block

    def limit_unsent(self, size: int) -> None:
        """Set TCP_NOTSENT_LOWAT."""
        _limit_unsent(self._socket, size)

    async def write_more(self, outbox: Outbox) -> None:
        """Wait for the kernel to take some."""
        await trio.lowlevel.wait_writable(self._socket)
        outbox.write_with(self.send_now)

    async def say_goodbye(self) -> None:
        """No-op: the end of TCP says it."""

    async def linger(self) -> None:
        """Send the end, then read and forget."""
        self._socket.shutdown(socket.SHUT_WR)
        while await self.receive_some(_DISCARD_BYTES):
            await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close the socket."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


class TlsTransport:
    """TCP with TLS around it (RFC 8446); `context` is the server's of this moment."""

    def __init__(self, connection: socket.socket, remote: SocketAddress, context: ssl.SSLContext) -> None:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(connection))
        self._raw = stream
        self._has_read = False
        self.remote = remote
        self.descriptor: int | None = None
        self.has_begun = False
        self.problem = ""
        self.send_now: Callable[[bytes | memoryview], int] = takes_a_task
        # https_compatible: many clients end TCP without a word; WebSocket has its own end, so nothing is lost by it.
        self._stream = trio.SSLStream(stream, context, server_side=True, https_compatible=True)

    @property
    def own_send_now(self) -> Callable[[bytes | memoryview], int]:
        """Only a task can write."""
        return takes_a_task

    async def receive_first(self, max_bytes: int) -> bytes:
        """Some bytes of TCP."""
        await trio.lowlevel.wait_readable(self._raw.socket)
        self._has_read = True
        return bytes(await self._raw.receive_some(max_bytes))

    async def begin(self) -> bool:
        """Shake hands."""
        try:
            await trio.lowlevel.wait_readable(self._raw.socket)
            self._has_read = True
            await self._stream.do_handshake()
        except trio.BrokenResourceError as error:
            reason = getattr(error.__cause__, "reason", None)
            if reason:
                self.problem = f"the TLS handshake has failed: {reason.lower().replace('_', ' ')}"
            if reason == "HTTP_REQUEST":
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._raw.send_all(_SPEAKS_TLS)
                    await _discard(self._raw)
            return False
        except trio.ClosedResourceError:  # by us, to make room or to end
            return False
        self.has_begun = True
        return True

    def is_silent(self) -> bool:
        """The handshake has not begun, and nothing waits to be read."""
        return not self._has_read and not self.has_unread()

    def fileno(self) -> int:
        """What is read from it is encrypted."""
        return self._raw.socket.fileno()

    def has_unread(self) -> bool:
        """Whether the kernel has something to read, encrypted or not."""
        return _tells(self._raw.socket, select.POLLIN)

    def has_been_reset(self) -> bool:
        """As the kernel tells of TCP."""
        return _tells(self._raw.socket, 0)

    def has_been_ended(self) -> bool:
        """As the kernel tells of TCP."""
        return _tells(self._raw.socket, _THE_CLIENTS_END)

    def describe_tls(self) -> dict[str, Any]:
        """TLS's version and, when the client has shown a certificate, its subject."""
        certificate: dict[str, Any] = self._stream.getpeercert() or {}
        return {
            "version": self._stream.version(),
            "subject": subject_as_map(certificate["subject"]) if certificate else None,
        }

    async def receive_some(self, max_bytes: int) -> bytes:
        """Some bytes, or none at the end."""
        return bytes(await self._stream.receive_some(max_bytes))

    def limit_unsent(self, size: int) -> None:
        """Set TCP_NOTSENT_LOWAT."""
        _limit_unsent(self._raw.socket, size)

    async def write_more(self, outbox: Outbox) -> None:
        """Encrypt and send a chunk."""
        chunk = bytes(outbox.next_bytes()[:TLS_CHUNK_BYTES])
        outbox.advance(len(chunk))
        await self._stream.send_all(chunk)

    async def say_goodbye(self) -> None:
        """Send close_notify, without waiting for the client's (RFC 8446, section 6.1)."""
        with trio.move_on_after(_GOODBYE_S), contextlib.suppress(trio.BrokenResourceError, trio.BusyResourceError):
            await self._stream.aclose()

    async def linger(self) -> None:
        """Send close_notify, then the end, and forget what arrives, encrypted or not."""
        with contextlib.suppress(trio.BrokenResourceError):  # the client had more to say: that is what we are here for
            await self._stream.unwrap()
        await _discard(self._raw)

    def close(self) -> None:
        """Close the socket."""
        self._raw.socket.close()


_THE_CLIENTS_END: int = getattr(select, "POLLRDHUP", 0)
"""poll(2) tells of the end of what is to be read before that has been read; only on Linux."""


def _tells(connection: socket.socket | trio.socket.SocketType, events: int) -> bool:
    """Whether poll(2) tells one of these, or POLLHUP or POLLERR (a reset), of which it tells unasked."""
    poll = select.poll()
    poll.register(connection.fileno(), events)
    return bool(poll.poll(0))


def _limit_unsent(connection: socket.socket | trio.socket.SocketType, size: int) -> None:
    option: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        with contextlib.suppress(OSError):  # a Unix socket has no such option, and a small buffer
            connection.setsockopt(socket.IPPROTO_TCP, option, size)


def takes_a_task(data: bytes | memoryview) -> int:
    """Write nothing, as a full connection does: `write_more` must."""
    raise BlockingIOError


_SPEAKS_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
    b"This port speaks TLS: use wss:// or https://\n"
)

_DISCARD_BYTES = 64 * 1024


async def _discard(stream: trio.SocketStream) -> None:
    await stream.send_eof()
    while await stream.receive_some(_DISCARD_BYTES):
        pass


_SPECIAL = re.compile(r'[,=+"\\<>;]|^[ #]| $')


def subject_as_map(subject: Any) -> dict[str, str]:
    """A certificate's subject, as Python's ssl gives it, as a map; several values of one name with commas.

    In each value a backslash stands before `,` `=` and the other characters that RFC 4514 (section 2.4) escapes, so a
    comma without one is always between two values.
    """
    names: dict[str, str] = {}
    for relative_name in subject:
        for name, value in relative_name:
            escaped = _SPECIAL.sub(r"\\\g<0>", value).replace("\0", "\\00")
            names[name] = f"{names[name]}, {escaped}" if name in names else escaped
    return names
