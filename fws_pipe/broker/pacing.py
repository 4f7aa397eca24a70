"""Pacing: no more is published while Redis holds something for a server that reads slowly.

Redis ends a subscriber for which it holds too much (`client-output-buffer-limit pubsub`: 32 MB, or 8 MB for a minute),
and what it held is lost. So after each MiB that it has published the sender looks at the subscribers (CLIENT LIST), and
waits while there is a server's source that Redis can't write to at once. Foreign subscribers hold up nothing: sources
are known by the client name that they give themselves. A source that doesn't catch up in time isn't waited for again
before it has: what becomes of it is up to Redis.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from fws_pipe.broker.connection import ERRORS, PASSING, Client, RedisSettings, explain

CHECK_BYTES = 1024 * 1024
"""What is published between two looks. Servers that look at the same time must stay below Redis's limit together."""

PATIENCE_S = 5.0
"""How long a source has to catch up; all that this server publishes waits meanwhile."""

_FIRST_NAP_S = 0.001
_LONGEST_NAP_S = 0.05


class Pacer:
    """Holds back what is published. `say` tells people, in one line; `count` counts.

    `nap` waits for so many seconds, and returns whether there is time for another one.
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
        """Bytes since the last look, for each node (of a cluster; elsewhere there is one, without a name)."""
        self._given_up: dict[str, set[str]] = {}
        """The ids of sources that haven't caught up in time, for each node."""

    def pace(self, client: Client, channel: str, size: int) -> None:
        """Call before so many bytes are published on a channel: waits for sources that lag behind.

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
        """The node that a channel's subscribers are connected to: its name, and a client for it."""
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

        How much it holds can't be compared with its limit: Valkey 9 counts large messages (`omem`) only when it writes,
        and what it has written of them only when all is.
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
            self._say(f"what is published does not wait for servers that read slowly: {why}; this is told once")
            return []
        return [subscriber for subscriber in subscribers if self._settings.is_source(subscriber.get("name", ""))]

    def _give_up(self, node: str, lagging: list[dict[str, str]]) -> None:
        for source in lagging:
            self._given_up[node].add(source["id"])
            self._count("slow servers no longer waited for")
            self._say(
                f"the server that is connected to Redis from {source['addr']} has not caught up within "
                f"{PATIENCE_S:.0f} s; it is not waited for until it has, and may miss what is published"
            )
