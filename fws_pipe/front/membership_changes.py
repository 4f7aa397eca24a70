"""Tells the source of the clients and their groups, for the membership that it keeps in Redis.

It tells state, not history: one frame for each client that has changed since the last batch, however often. So the
number of waiting frames is bounded by the number of clients. No I/O of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from fws_pipe.clients.client import Client
from fws_pipe.clients.registry import Clients
from fws_pipe.protocol.codec import encode
from fws_pipe.protocol.events import presence_event, stamp, tick_event

HEARTBEAT_S = 5.0
"""The interval of ticks for the source, which show whether it hangs."""


class MembershipChanges:
    """Follows the clients of a link. `on_tick` is called before each tick is written."""

    def __init__(self, clients: Clients, on_tick: Callable[[], object]) -> None:
        self._clients = clients
        self._on_tick = on_tick
        self._changed: set[str] = set()
        self._work = trio.Event()
        clients.follow(self._note)

    def _note(self, client: Client) -> None:
        self._changed.add(client.id)
        self._work.set()

    async def run(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Write all clients and a tick, then changes and a tick every HEARTBEAT_S, until cancelled."""
        self._changed = {client.id for client in self._clients if client.is_open}
        next_tick = trio.current_time()
        while True:
            with trio.move_on_at(next_tick):
                await self._work.wait()
            batch = self._batch()
            if trio.current_time() >= next_tick:
                next_tick = trio.current_time() + HEARTBEAT_S
                batch += encode(stamp(tick_event(), 0, 0.0))
                self._on_tick()
            await write(batch)

    def _batch(self) -> bytes:
        changed, self._changed = self._changed, set()
        self._work = trio.Event()
        return b"".join(encode(presence_event(client_id, self._groups_of(client_id))) for client_id in changed)

    def _groups_of(self, client_id: str) -> list[str] | None:
        client = self._clients.get(client_id)
        return sorted(client.groups) if client is not None and client.is_open else None
