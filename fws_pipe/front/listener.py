"""Opens the listening sockets, and accepts connections."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import trio

from fws_pipe.admission.lobby import Lobby
from fws_pipe.admission.proxies import UNIX
from fws_pipe.errors import SystemRefusedError
from fws_pipe.front.unix_socket import UnixListener, listen_unix
from fws_pipe.log import Log

_BACKLOG = 4096
"""Connections that may wait to be accepted, so that a storm of reconnecting clients isn't refused."""


async def open_listeners(hosts: Sequence[str], port: int, option: str | None = None) -> list[socket.socket]:
    """Listen on each address of each host. Port 0 lets the system choose a port, which all addresses share.

    Raises SystemRefusedError if the port is in use, permission is missing or a host is unknown; its text names the
    option that gives both, or (None) --host and --port.
    """
    listeners: list[socket.socket] = []
    try:
        for host in hosts:
            for family, _, _, _, address in await _addresses(host, port):
                chosen = port or (address_of(listeners[0])[1] if listeners else 0)
                listeners.append(_listen(family, (address[0], chosen, *address[2:]), host, option))
    except SystemRefusedError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def open_unix_listeners(paths: Sequence[str], mode: int) -> list[socket.socket]:
    """Listen on each path, with the socket file's `mode`; closing a listener removes its file.

    Raises SystemRefusedError.
    """
    listeners: list[socket.socket] = []
    try:
        for path in paths:
            listeners.append(listen_unix(path, mode, _BACKLOG))
    except SystemRefusedError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


Listener = socket.socket


def file_of(listener: Listener) -> str | None:
    """The path of the file that goes with a listener; None: there is none, or it is not ours."""
    return listener.file if isinstance(listener, UnixListener) else None


def let_go_of_file(listener: Listener) -> None:
    """Another server has this listener, and its file."""
    if isinstance(listener, UnixListener):
        listener.let_go_of_file()


def listener_of(descriptor: int, file: str | None) -> Listener:
    """The listener with this descriptor, which another server had, and its file. Raises OSError."""
    if file is None:
        listener = socket.socket(fileno=descriptor)
    else:
        listener = UnixListener(descriptor)
        listener.own(file)
    listener.setblocking(False)
    return listener


async def _addresses(host: str, port: int) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
    try:
        return await trio.socket.getaddrinfo(  # type: ignore[return-value]  # its type covers more than TCP
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:  # UnicodeError: a label that is empty or too long
        reason = getattr(error, "strerror", None) or str(error)
        raise SystemRefusedError(f"can't listen on host {host!r}: {reason}; is the name right?") from None


def _listen(family: int, address: tuple[object, ...], host: str, option: str | None) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise SystemRefusedError(_why(error, host, address[1], option)) from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Each address gets its own socket, so [::] must not take the IPv4 address as well.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise SystemRefusedError(_why(error, host, address[1], option)) from None
    return sock


def _why(error: OSError, host: str, port: object, option: str | None) -> str:
    choose = f"choose another with {option or '--port'}"
    mends = {
        errno.EADDRINUSE: f"the port is in use; stop what uses it, or {choose} (0 picks a free one)",
        errno.EACCES: f"no permission; ports below 1024 need privileges: {choose}",
        errno.EADDRNOTAVAIL: f"this machine has no such address; see {option or '--host'}",
    }
    return f"can't listen on {host} port {port}: {mends.get(error.errno or 0, error.strerror or str(error))}"


def address_of(listener: socket.socket) -> tuple[str, int]:
    """The (host, port) that a listener is bound to."""
    host, port = listener.getsockname()[:2]
    return host, port


def url_of(listener: socket.socket, has_tls: bool) -> str:
    """The ws:// or wss:// URL of a listener; for a Unix socket `ws+unix:PATH`, for an abstract one `ws+unix:@NAME`."""
    scheme = "wss" if has_tls else "ws"
    if listener.family == socket.AF_UNIX:
        name = listener.getsockname()
        return f"{scheme}+unix:" + (name if isinstance(name, str) else "@" + name[1:].decode(errors="replace"))
    host, port = address_of(listener)
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}"


ACCEPT_AT_ONCE = 64
"""The most connections that are accepted before open connections get their turn."""

PAUSE_S = 0.1
"""The pause in accepting when the system is out of descriptors or memory."""

_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


async def accept_all(
    listener: socket.socket,
    serve: Callable[[socket.socket, tuple[str, int]], object],
    log: Log,
    lobby: Lobby | None = None,
) -> None:
    """Accept connections while the lobby has room, until cancelled. `serve` gets the socket and the peer's address.

    When the system is out of descriptors or memory it pauses, and logs that once.
    """
    is_short = False
    while True:
        await trio.lowlevel.wait_readable(listener)
        if lobby is not None:
            await lobby.wait_room()
        try:
            for connection, remote in _accept_some(
                listener, ACCEPT_AT_ONCE if lobby is None else lobby.room(ACCEPT_AT_ONCE)
            ):
                serve(connection, remote)
                is_short = False
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            if not is_short:
                log.always(f"can't accept a connection just now ({error.strerror}); raise the limit: ulimit -n")
                if lobby is not None:
                    lobby.pauses += 1
            is_short = True
            await trio.sleep(PAUSE_S)


def _accept_some(listener: socket.socket, at_most: int) -> Iterator[tuple[socket.socket, tuple[str, int]]]:
    for _ in range(at_most):
        try:
            connection, address = listener.accept()
        except (BlockingIOError, ConnectionError):  # there is none, or the peer has gone already
            return
        connection.setblocking(False)
        if listener.family == socket.AF_UNIX:
            yield connection, (UNIX, 0)
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A socket for both protocols, as a service manager may hand over, shows IPv4 addresses in this form.
            yield connection, (address[0].removeprefix("::ffff:"), address[1])


class Peer(Protocol):
    """A connection that asks, is answered, and may ask again."""

    @property
    def idle_since(self) -> float | None:
        """Since when nothing is asked (trio's clock); None: something is."""

    @property
    def arriving_since(self) -> float | None:
        """Since when a request has been incomplete (trio's clock); None: none is."""


PeerT = TypeVar("PeerT", bound=Peer)


def longest_waiting(peers: Iterable[PeerT]) -> PeerT | None:
    """The peer that makes room for another: idle for longest, or else incomplete for longest; None: all have asked."""
    peers = list(peers)
    idle = [(peer.idle_since, number) for number, peer in enumerate(peers) if peer.idle_since is not None]
    incomplete = [(peer.arriving_since, number) for number, peer in enumerate(peers) if peer.arriving_since is not None]
    waiting = idle or incomplete
    return peers[min(waiting)[1]] if waiting else None


def quiet_libraries() -> None:
    """Silence trio-websocket's log: `disconnect` events tell of the same faults of clients."""
    logger = logging.getLogger("trio-websocket")
    logger.propagate = False
    logger.handlers = [logging.NullHandler()]
