"""Tells the source who is here and in which groups, for the membership that it keeps in Redis.

State, not history: one frame for each client that has changed since the last batch, however often it has. So what
waits is bounded by the number of clients. No I/O of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from fws_pipe.front.clients import Client, Clients
from fws_pipe.protocol.codec import encode
from fws_pipe.protocol.events import presence_event, stamp, tick_event


class Presence:
    """Follows the clients of a front."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._changed: set[str] = set()
        self._work = trio.Event()
        clients.follow(self._note)

    def _note(self, client: Client) -> None:
        self._changed.add(client.id)
        self._work.set()

    async def run(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write for ever: all clients and a tick, then what changes."""
        self._changed = {client.id for client in self._clients if client.is_open}
        await write(self._batch() + encode(stamp(tick_event(), 0, 0.0)))
        while True:
            await self._work.wait()
            await write(self._batch())

    def _batch(self) -> bytes:
        changed, self._changed = self._changed, set()
        self._work = trio.Event()
        return b"".join(encode(presence_event(client_id, self._groups_of(client_id))) for client_id in changed)

    def _groups_of(self, client_id: str) -> list[str] | None:
        client = self._clients.get(client_id)
        return sorted(client.groups) if client is not None and client.is_open else None
