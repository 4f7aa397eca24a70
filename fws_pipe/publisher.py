"""Publishes to Redis in batches, from a thread of its own, so that a Redis that is away holds up nobody else.

What waits is bounded in bytes; when the queue is full `put` waits: the sink reads no more, and back-pressure takes its
course down to the clients. A batch is sent again until Redis has confirmed it. It is one transaction: published as a
whole or not at all; only when the connection breaks before the answer is that unknown, and it may be published twice.
When Redis refuses a batch its messages go one by one, so that only those are lost that it really refuses.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from fws_pipe.redis_link import ERRORS, PASSING, Client, RedisSettings, close_quietly, connect, explain, jittered_delays

QUEUE_LIMIT_BYTES = 16 * 1024 * 1024
"""What waits for Redis: some seconds of a busy server, or hours of a quiet one."""

_MESSAGE_BYTES = 150
"""What a message takes beside its text: a tuple and two objects of Python's."""

_BATCH = 1000
_REMEMBERED_REFUSALS = 1000

_HURRY_CHECK_S = 0.1
"""How often whoever waits looks whether there is still time: a signal handler can't wake it."""

Message = tuple[str, bytes]


class Publisher:
    """A queue to Redis. `say` tells people, in one line; `before_wait` is called before `put` waits."""

    def __init__(
        self, settings: RedisSettings, say: Callable[[str], object], before_wait: Callable[[], object] = lambda: None
    ) -> None:
        self._settings = settings
        self._say = say
        self._before_wait = before_wait
        self._waiting: deque[Message] = deque()
        self._size = 0
        self._one_by_one = 0
        """So many of the oldest messages were refused together."""
        self._refusals: set[tuple[str, str]] = set()
        self._dropped = 0
        self._changed = threading.Condition()
        self._ended = False
        self._hurry = threading.Event()
        self._counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def put(self, channel: str, data: bytes) -> None:
        """Queue a message; waits while the queue is full. When there is no time left it is dropped instead."""
        if self._is_full:
            self._before_wait()
        with self._changed:
            while self._is_full and not self._hurry.is_set():
                self._changed.wait(_HURRY_CHECK_S)
            if self._is_full:
                self._dropped += 1
                return
            self._waiting.append((channel, data))
            self._size += _size_of(channel, data)
            self._changed.notify_all()

    @property
    def _is_full(self) -> bool:
        return self._size >= QUEUE_LIMIT_BYTES

    def take_counts(self) -> Counter[str]:
        """What has been counted since the last time."""
        with self._changed:
            counts, self._counts = self._counts, Counter()
        return counts

    def hurry(self) -> None:
        """There is no time left. Safe in a signal handler: the main thread, which runs those, only looks at the event,
        so the lock inside it is never its own.
        """
        self._hurry.set()

    def finish(self) -> None:
        """Wait until everything is published, or there is no time left; says and counts what was not published."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        while self._thread.is_alive() and not self._hurry.is_set():
            self._thread.join(_HURRY_CHECK_S)
        with self._changed:
            lost = len(self._waiting) + self._dropped
        if lost:
            self._say(f"{lost} messages could not be published to Redis at {self._settings.address}")
            self._count("publishes lost", lost)

    def _run(self) -> None:
        client: Client | None = None
        next_delay = jittered_delays()
        away_since: float | None = None
        while batch := self._next_batch():
            try:
                client = client or connect(self._settings)
                self._publish(client, batch)
            except PASSING as error:
                if away_since is None:
                    away_since = time.monotonic()
                    self._say(f"publishing waits: {explain(error, self._settings)}")
                    self._count("redis lost by the sink")
                if client is not None:
                    close_quietly(client)
                client = None
                if self._hurry.wait(next_delay()):
                    return
                continue
            except ERRORS as error:
                if len(batch) > 1:
                    self._one_by_one = len(batch)
                    continue
                self._note_refused(batch[0][0], explain(error, self._settings))
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
            limit = 1 if self._settings.sharded or self._one_by_one else _BATCH
            return [self._waiting[index] for index in range(min(limit, len(self._waiting)))]

    def _publish(self, client: Client, batch: list[Message]) -> None:
        if len(batch) == 1:
            publish = client.spublish if self._settings.sharded else client.publish
            publish(*batch[0])
            return
        with client.pipeline(transaction=True) as pipeline:
            for channel, data in batch:
                pipeline.publish(channel, data)
            pipeline.execute()

    def _note_refused(self, channel: str, reason: str) -> None:
        self._count("publishes refused")
        if (channel, reason) not in self._refusals and len(self._refusals) < _REMEMBERED_REFUSALS:
            self._refusals.add((channel, reason))
            self._say(f"what goes to channel {channel!r} is not published: {reason}; this is told once")

    def _forget(self, batch: list[Message]) -> None:
        with self._changed:
            for channel, data in batch:
                self._waiting.popleft()
                self._size -= _size_of(channel, data)
            self._one_by_one = max(0, self._one_by_one - len(batch))
            self._changed.notify_all()

    def _count(self, name: str, by: int = 1) -> None:
        with self._changed:
            self._counts[name] += by


def _size_of(channel: str, data: bytes) -> int:
    return len(channel) + len(data) + _MESSAGE_BYTES
