"""Serves the control socket: accepts peers, and answers each of them in a task of its own."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from fws_pipe.control.connection import Connection, PeerError
from fws_pipe.control.requests import Requests
from fws_pipe.errors import EXIT_SYSTEM, EXIT_USAGE
from fws_pipe.front.listener import accept_all, longest_waiting
from fws_pipe.log import Log
from fws_pipe.protocol.control import refused

MOST_CONNECTIONS = 16
"""The most peers at a time, beside the taps of chains. A further peer replaces the one that has been idle for longest.

Where none is idle, it replaces the one whose request has been incomplete for longest.
"""

_CREDENTIALS = struct.Struct("3i")
"""struct ucred: pid, uid, gid (unix(7))."""


Spawn = Callable[[Callable[[], Awaitable[object]]], object]


class ControlServer:
    """Answers the peers of a listening socket with `requests`. `spawn` starts a task whose errors end only the task."""

    def __init__(self, listener: socket.socket, requests: Requests, spawn: Spawn, log: Log) -> None:
        self._listener = listener
        self._requests = requests
        self._spawn = spawn
        self._log = log
        self._open: dict[Connection, trio.CancelScope] = {}

    async def run(self) -> None:
        """Accept for ever."""
        await accept_all(self._listener, self._take, self._log)

    def _take(self, peer: socket.socket, remote: object) -> None:
        """Serve a peer, unless it runs as another user, or MOST_CONNECTIONS peers are busy."""
        connection = Connection(peer)
        user = _user_of(peer)
        if user not in (0, os.geteuid(), None):
            self._log.always(f"refused user {user} on the control socket: only the server's user and root may use it")
            connection.close()
        elif len(self._counted) >= MOST_CONNECTIONS and not self._make_room():
            connection.say_at_last(refused(EXIT_SYSTEM, f"{MOST_CONNECTIONS} others are connected; try again later"))
            connection.close()
        else:
            scope = self._open[connection] = trio.CancelScope()
            self._spawn(partial(self._serve, connection, scope))

    @property
    def _counted(self) -> list[Connection]:
        """The connections that MOST_CONNECTIONS limits."""
        return [connection for connection in self._open if not connection.is_kept]

    def _make_room(self) -> bool:
        """End the connection that has waited for longest; False: all have asked."""
        waiting = longest_waiting(self._counted)
        if waiting is None:
            return False
        self._open.pop(waiting).cancel()
        return True

    async def _serve(self, connection: Connection, scope: trio.CancelScope) -> None:
        try:
            with scope:
                while (request := await connection.next_request()) is not None:
                    await self._requests.answer(request, connection)
        except PeerError as error:
            self._log.debug(f"control socket: a peer's connection ends: {error}")
            connection.say_at_last(refused(EXIT_USAGE, str(error)))
        finally:
            self._open.pop(connection, None)
            connection.close()


def _user_of(peer: socket.socket) -> int | None:
    """The id of a peer's user; None where the system can't tell, and only the socket's file mode keeps others out."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    _, user, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(user)
