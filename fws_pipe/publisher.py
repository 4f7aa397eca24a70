"""Publishes to Redis in batches, from a thread of its own, so that a Redis that is away holds up nobody else.

What waits is bounded in bytes; when the queue is full `put` waits: the sink reads no more, and back-pressure takes its
course down to the clients. A batch is sent again until Redis has confirmed it. It is one transaction: published as a
whole or not at all; only when the connection breaks before the answer is that unknown, and it may be published twice.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from redis.exceptions import ClusterError, ConnectionError, ReadOnlyError, RedisClusterException, TimeoutError

from fws_pipe.redis_link import ERRORS, Client, RedisSettings, connect, explain

QUEUE_LIMIT_BYTES = 16 * 1024 * 1024
"""What waits for Redis: some seconds of a busy server, or hours of a quiet one."""

_BATCH = 1000
_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 5.0

_AWAY = (ConnectionError, TimeoutError, ReadOnlyError, ClusterError, RedisClusterException, OSError)
"""What passes: Redis is down, is being replaced by another master, or its cluster is not whole."""

Message = tuple[str, bytes]


def jittered_delays() -> Callable[[], float]:
    """How long to wait before each attempt: longer each time, and not the same for many servers at once."""
    ceiling = _FIRST_DELAY_S

    def next_delay() -> float:
        nonlocal ceiling
        delay = random.uniform(ceiling / 2, ceiling)
        ceiling = min(ceiling * 2, _LONGEST_DELAY_S)
        return delay

    return next_delay


class Publisher:
    """A queue to Redis. `say` tells people, in one line."""

    def __init__(self, settings: RedisSettings, say: Callable[[str], object]) -> None:
        self._settings = settings
        self._say = say
        self._waiting: deque[Message] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self._ended = False
        self._hurry = threading.Event()
        self._counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def put(self, channel: str, data: bytes) -> None:
        """Queue a message; waits while the queue is full."""
        with self._changed:
            while self._size >= QUEUE_LIMIT_BYTES and not self._hurry.is_set():
                self._changed.wait()
            self._waiting.append((channel, data))
            self._size += len(data) + len(channel)
            self._changed.notify_all()

    def take_counts(self) -> Counter[str]:
        """What has been counted since the last time."""
        with self._changed:
            counts, self._counts = self._counts, Counter()
        return counts

    def hurry(self) -> None:
        """There is no time left. Safe in a signal handler: takes no lock."""
        self._hurry.set()

    def finish(self) -> None:
        """Wait until everything is published, or there is no time left; says what was not published."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        while self._thread.is_alive() and not self._hurry.is_set():
            self._thread.join(_FIRST_DELAY_S)
        if self._waiting:
            self._say(f"{len(self._waiting)} messages could not be published to Redis at {self._settings.address}")

    def _run(self) -> None:
        client: Client | None = None
        next_delay = jittered_delays()
        away_since: float | None = None
        while batch := self._next_batch():
            try:
                client = client or connect(self._settings)
                self._publish(client, batch)
            except _AWAY as error:
                if away_since is None:
                    away_since = time.monotonic()
                    self._say(f"publishing waits: {explain(error, self._settings)}")
                    self._count("redis lost by the sink")
                _close(client)
                client = None
                if self._hurry.wait(next_delay()):
                    return
                continue
            except ERRORS as error:
                self._say(f"{len(batch)} messages were not published: {explain(error, self._settings)}")
                self._count("publishes refused", len(batch))
            if away_since is not None:
                self._say(f"publishing again, after {time.monotonic() - away_since:.1f} s")
                away_since, next_delay = None, jittered_delays()
            self._forget(batch)

    def _next_batch(self) -> list[Message]:
        """The oldest messages, which stay queued until they are published; none at the end."""
        with self._changed:
            while not self._waiting and not self._ended:
                self._changed.wait()
            # Messages for several nodes are no transaction: one at a time, so that none is sent twice for the others.
            limit = 1 if self._settings.sharded else _BATCH
            return [self._waiting[index] for index in range(min(limit, len(self._waiting)))]

    def _publish(self, client: Client, batch: list[Message]) -> None:
        if self._settings.sharded:
            for channel, data in batch:
                client.spublish(channel, data)
            return
        with client.pipeline(transaction=True) as pipeline:
            for channel, data in batch:
                pipeline.publish(channel, data)
            pipeline.execute()

    def _forget(self, batch: list[Message]) -> None:
        with self._changed:
            for channel, data in batch:
                self._waiting.popleft()
                self._size -= len(data) + len(channel)
            self._changed.notify_all()

    def _count(self, name: str, by: int = 1) -> None:
        with self._changed:
            self._counts[name] += by


def _close(client: Client | None) -> None:
    if client is not None:
        try:
            client.close()
        except ERRORS:
            pass  # it is of no use any more
