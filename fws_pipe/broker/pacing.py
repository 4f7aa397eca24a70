"""Pacing: publishing waits while Redis holds messages for a server that reads slowly.

Redis disconnects a subscriber for which it holds too much (`client-output-buffer-limit pubsub`: 32 MB, or 8 MB for a
minute), and those messages are lost. So after each MiB that it has published, the sender looks at the subscribers
(CLIENT LIST), and waits while Redis can't write to a server's source at once. It waits for sources only, which it knows
by their client name, and not for other programs. A source that doesn't catch up in time isn't waited for until it has
caught up; meanwhile Redis may disconnect it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from fws_pipe.broker.connection import ERRORS, PASSING, Client, RedisSettings, explain

CHECK_BYTES = 1024 * 1024
"""How much is published between two looks; small, since servers that look at the same time share Redis's limit."""

PATIENCE_S = 5.0
"""How long a source has to catch up, in seconds; all publishes of this server wait meanwhile."""

_FIRST_NAP_S = 0.001
_LONGEST_NAP_S = 0.05


class Pacer:
    """Holds publishing back. `say` logs one line; `count` adds to a counter, by name.

    `nap` waits the given seconds, and returns whether there is time to wait again.
    """

    def __init__(
        self,
        settings: RedisSettings,
        say: Callable[[str], object],
        count: Callable[[str], object],
        nap: Callable[[float], bool],
    ) -> None:
        self._settings = settings
        self._say = say
        self._count = count
        self._nap = nap
        self._may_look = True
        self._published: Counter[str] = Counter()
        """The bytes published since the last look, by node of a cluster; without a cluster the node is ""."""
        self._given_up: dict[str, set[str]] = {}
        """The client ids of sources that have not caught up in time, by node."""

    def pace(self, client: Client, channel: str, size: int) -> None:
        """Wait for sources that lag behind; call it before `size` bytes are published on a channel.

        Raises one of PASSING when Redis goes away meanwhile.
        """
        if not self._may_look:
            return
        node, client = self._node_of(client, channel)
        if self._published[node] >= CHECK_BYTES:
            self._wait_for_sources(node, client)
            self._published[node] = 0
        self._published[node] += size

    def _node_of(self, client: Client, channel: str) -> tuple[str, Client]:
        """The name of the node that a channel's subscribers are connected to, and a client for it."""
        if not self._settings.sharded:
            return "", client
        node = client.get_node_from_key(channel)
        return node.name, client.get_redis_connection(node)

    def _wait_for_sources(self, node: str, client: Client) -> None:
        deadline = time.monotonic() + PATIENCE_S
        pause = _FIRST_NAP_S
        while lagging := self._lagging(node, client):
            if time.monotonic() > deadline:
                self._give_up(node, lagging)
                return
            if not self._nap(pause):
                return
            pause = min(2 * pause, _LONGEST_NAP_S)

    def _lagging(self, node: str, client: Client) -> list[dict[str, str]]:
        """The sources to wait for: those whose socket is full, so that Redis waits until it can write.

        The amount that Redis holds (`omem`) is of no use: Valkey 9 counts a large message only when it begins to write
        it, and the written part only when all is written.
        """
        full = [source for source in self._sources(client) if "w" in source.get("events", "")]
        given_up = self._given_up.setdefault(node, set())
        given_up.intersection_update(source["id"] for source in full)
        return [source for source in full if source["id"] not in given_up]

    def _sources(self, client: Client) -> list[dict[str, str]]:
        """The subscriptions of all servers' sources, as CLIENT LIST shows them."""
        try:
            subscribers: list[dict[str, str]] = client.client_list(_type="pubsub")
        except PASSING:
            raise
        except ERRORS as error:
            self._may_look = False
            why = explain(error, self._settings)
            self._say(f"publishing does not wait for servers that read slowly: {why}; this is told once")
            return []
        return [subscriber for subscriber in subscribers if self._settings.is_source(subscriber.get("name", ""))]

    def _give_up(self, node: str, lagging: list[dict[str, str]]) -> None:
        for source in lagging:
            self._given_up[node].add(source["id"])
            self._count("slow servers no longer waited for")
            self._say(
                f"the server that is connected to Redis from {source['addr']} has not caught up within "
                f"{PATIENCE_S:.0f} s; publishing does not wait for it until it has, and it may miss messages"
            )
