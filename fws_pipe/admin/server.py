"""Serves the admin address: accepts its peers, and answers each of them in a task of its own."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from fws_pipe.admin.connection import Connection, PeerError, Stream
from fws_pipe.admin.site import Site
from fws_pipe.front.listener import accept_all, longest_waiting
from fws_pipe.log import Log

MOST_CONNECTIONS = 16
"""The most peers at a time. A further peer replaces the one that has been idle for longest.

Where none is idle, it replaces the one whose request has been incomplete for longest.
"""

Spawn = Callable[[Callable[[], Awaitable[object]]], object]


class AdminServer:
    """Answers the peers of listening sockets from `site`. `spawn` starts a task whose errors end only itself."""

    def __init__(self, site: Site, spawn: Spawn, log: Log) -> None:
        self._site = site
        self._spawn = spawn
        self._log = log
        self._open: dict[Connection, trio.CancelScope] = {}

    async def run(self, listener: socket.socket) -> None:
        """Accept for ever."""
        await accept_all(listener, self._take, self._log)

    def _take(self, peer: socket.socket, remote: object) -> None:
        """Serve a peer, unless all that there may be are busy."""
        connection = Connection(peer)
        if len(self._open) >= MOST_CONNECTIONS and not self._make_room():
            connection.close()
        else:
            scope = self._open[connection] = trio.CancelScope()
            self._spawn(partial(self._serve, connection, scope))

    def _make_room(self) -> bool:
        """End the connection that has waited for longest; False: all have asked."""
        waiting = longest_waiting(self._open)
        if waiting is None:
            return False
        self._open.pop(waiting).cancel()
        return True

    async def _serve(self, connection: Connection, scope: trio.CancelScope) -> None:
        try:
            with scope:
                while (asked := await connection.next_request()) is not None:
                    reply = await self._site.answer(asked)
                    if isinstance(reply, Stream):
                        await connection.stream(reply)
                    else:
                        await connection.answer(reply, has_body=asked.method != "HEAD")
        except PeerError as error:
            self._log.debug(f"admin address: a peer's connection ends: {error}")
        finally:
            self._open.pop(connection, None)
            connection.close()
