"""Opens the listening sockets, and says in one line why it can't."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence

import trio

from fws_pipe.errors import SystemRefusedError
from fws_pipe.log import Log

_BACKLOG = 4096
"""Connections that may wait to be accepted: a storm of reconnecting clients must not be refused."""


async def open_listeners(hosts: Sequence[str], port: int) -> list[trio.SocketListener]:
    """Listen on each address of each host. Port 0 lets the system choose one, the same for all addresses.

    Raises SystemRefusedError: port in use, no permission, unknown host.
    """
    listeners: list[trio.SocketListener] = []
    try:
        for host in hosts:
            for family, _, _, _, address in await _addresses(host, port):
                chosen = port or (address_of(listeners[0])[1] if listeners else 0)
                listeners.append(_listen(family, (address[0], chosen, *address[2:]), host))
    except SystemRefusedError:
        for listener in listeners:
            listener.socket.close()
        raise
    return listeners


async def _addresses(host: str, port: int) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
    try:
        return await trio.socket.getaddrinfo(  # type: ignore[return-value]  # wider than what TCP gives
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:  # UnicodeError: a label that is empty or too long
        reason = getattr(error, "strerror", None) or str(error)
        raise SystemRefusedError(f"can't listen on host {host!r}: {reason}; is the name right?") from None


def _listen(family: int, address: tuple[object, ...], host: str) -> trio.SocketListener:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise SystemRefusedError(_why(error, host, address[1])) from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Each address gets a socket of its own; [::] must not take the IPv4 one as well.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise SystemRefusedError(_why(error, host, address[1])) from None
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _why(error: OSError, host: str, port: object) -> str:
    mends = {
        errno.EADDRINUSE: "the port is in use; stop what uses it, or choose another with --port (0 picks a free one)",
        errno.EACCES: "no permission; ports below 1024 need privileges: choose another with --port",
        errno.EADDRNOTAVAIL: "this machine has no such address; see --host",
    }
    return f"can't listen on {host} port {port}: {mends.get(error.errno or 0, error.strerror or str(error))}"


def address_of(listener: trio.SocketListener) -> tuple[str, int]:
    """The (host, port) that a listener is bound to."""
    host, port = listener.socket.getsockname()[:2]
    return host, port


def url_of(listener: trio.SocketListener, has_tls: bool) -> str:
    """The ws:// or wss:// URL of a listener."""
    host, port = address_of(listener)
    shown = f"[{host}]" if ":" in host else host
    return f"{'wss' if has_tls else 'ws'}://{shown}:{port}"


class _OneLineHandler(logging.Handler):
    """trio pauses accepting when descriptors run out, and logs that with a traceback. One line will do."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on the record's message."""
        error = record.exc_info[1] if record.exc_info else None
        self._log.always(f"can't accept a connection just now ({error}); raise the limit of open files: ulimit -n")


def quiet_libraries(log: Log) -> None:
    """Send what trio and trio-websocket log through our own log, a line each."""
    for name in ("trio.serve_listeners", "trio-websocket"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers = [_OneLineHandler(log) if name.startswith("trio.") else logging.NullHandler()]
