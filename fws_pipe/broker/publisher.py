"""Publishes to Redis in batches, from a thread of its own, so that the sink goes on while Redis is away.

    put -> queue (bounded in bytes) -> batch -> MULTI, PUBLISH ..., SET position, EXEC -> forgotten, `finished` grows

When the queue is full `put` waits: the sink reads no more, and back-pressure reaches the clients.

The sink of a successor stands by (chain/successor.py): what its chain publishes during the introduction stays queued
until `begin`, which is called when it has taken over, and is dropped if it never does. So one sink at a time publishes
and writes the position.

The invariant: the queue and the position that Redis keeps (`RedisSettings.published_key`) together say of each message
whether it was published. A message leaves the queue only when Redis has answered for it, so none is lost while the sink
lives; the front keeps its event until then, so none is lost with the sink. The position is written in the transaction
that publishes, and a sink that connects reads it first, so a message that carries its event's number isn't published
twice. What would break that, and what prevents it:

- The connection breaks after EXEC and before its answer. The batch is still queued; on the next connection the position
  shows that it was published, and `_drop_done` forgets it.
- The sink is killed. The next sink gets the same events again, counts their actions from the same numbers, and drops
  those up to the position.
- A filter invents a number. `redis_broker` believes only numbers near the last tick; without one a message is published
  each time it comes.
- Redis refuses a batch. Its messages go one by one, so that only those are lost that Redis really refuses.

Not covered: a cluster has no transaction over slots, so the one message on its way may be published twice; so may
messages when this user may not write the position, which is reported. And a successor that fills the queue during its
introduction begins at once, since otherwise it could never take over: then its sink and the old one may both write the
position, and what the old chain leaves unfinished may be published twice.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import accumulate, islice, takewhile
from typing import NamedTuple

from redis.exceptions import NoPermissionError

from fws_pipe.broker.connection import (
    ERRORS,
    PASSING,
    Client,
    RedisSettings,
    close_quietly,
    connect,
    explain,
    jittered_delays,
)
from fws_pipe.broker.pacing import Pacer
from fws_pipe.pipes.blocks import start_thread
from fws_pipe.wording import counted

QUEUE_LIMIT_BYTES = 16 * 1024 * 1024
"""How much may wait for Redis: some seconds of a busy server, or hours of a quiet one."""

_MESSAGE_BYTES = 150
"""The memory of a message besides its text, in bytes: a tuple and two Python objects."""

_SOURCE_PATIENCE_S = 15.0
"""How long this server's own source has to subscribe again after an outage, in seconds: three of its longest pauses."""

_SOURCE_CHECK_S = 0.05

_BATCH = 1000
_BATCH_BYTES = 1024 * 1024
"""The largest batch of several messages: a whole batch enters each subscriber's buffer in Redis at once."""

_REMEMBERED_REFUSALS = 1000

_HURRY_CHECK_S = 0.1
"""How often a waiting thread checks whether to hurry, in seconds: a signal handler can't wake it."""

_CHECKS_A_CALL = 10
"""The number of such checks between two calls of `while_waiting`."""

_PROGRESS_EXPIRY_S = 3600
"""How long Redis keeps the position after the last publish, in seconds: longer than a chain is ever down."""


class Position(NamedTuple):
    """How far publishing has got: up to and with the `actions`th message of the event `seq`."""

    seq: int
    actions: int

    def after(self, seq: int) -> Position:
        """The position after one more message, which event `seq` has caused."""
        return Position(seq, self.actions + 1 if seq == self.seq else 1)


class Message(NamedTuple):
    """A message to be published. `seq` is the number of the event that caused it; None: unknown."""

    channel: str
    data: bytes
    seq: int | None

    @property
    def size(self) -> int:
        """The memory that it takes, in bytes."""
        return len(self.channel) + len(self.data) + _MESSAGE_BYTES


class Publisher:
    """Queues messages, and publishes them from a thread of its own. `say` logs one line.

    `while_waiting` is called before `put` waits, and about once a second meanwhile. `on_finished` is called, from that
    thread, when `finished` has grown. With `stands_by` nothing is published before `begin`.
    """

    def __init__(
        self,
        settings: RedisSettings,
        say: Callable[[str], object],
        while_waiting: Callable[[], object] = lambda: None,
        on_finished: Callable[[], object] = lambda: None,
        *,
        stands_by: bool = False,
    ) -> None:
        self._settings = settings
        self._say = say
        self._while_waiting = while_waiting
        self._on_finished = on_finished
        self._waiting: deque[Message] = deque()
        self._size = 0
        self._one_by_one = 0
        """How many of the oldest messages go one by one, since Redis refused their batch."""
        self._position = Position(0, 0)
        """The position before the oldest queued message."""
        self._done: Position | None = None
        """The position that Redis keeps; None: all queued messages are after it."""
        self._keeps_progress = bool(settings.run)
        """Whether Redis keeps the position. Not by hand: nothing tells one run of a front from another there."""
        self.accepted = 0
        """The number of messages queued so far."""
        self.finished = 0
        """The number of messages, the oldest ones, that have been published or refused."""
        self._refusals: set[tuple[str, str]] = set()
        self._dropped = 0
        self._stands_by = stands_by
        self._changed = threading.Condition()
        self._ended = False
        self._hurry = threading.Event()
        self._counts: Counter[str] = Counter()
        self.lost = 0
        """The number of messages that will never be published; known once `finish` has returned."""
        self._pacer = Pacer(settings, say, self._count, self._nap)
        self._thread = start_thread(self._run, "publisher")

    def begin(self) -> None:
        """Begin to publish, since the chain has taken over. Idempotent."""
        with self._changed:
            self._stands_by = False
            self._changed.notify_all()

    def put(self, channel: str, data: bytes, seq: object = None) -> None:
        """Queue a message, and wait while the queue is full; after `hurry` drop it instead of waiting.

        `seq` is the number of the event that caused it; anything but an int: unknown.
        """
        if self._is_full:
            self._wait_room()
        with self._changed:
            if self._is_full:
                self._dropped += 1
                return
            message = Message(channel, data, seq if type(seq) is int else None)
            self._waiting.append(message)
            self._size += message.size
            self.accepted += 1
            self._changed.notify_all()

    def _wait_room(self) -> None:
        self.begin()  # or there would never be room
        checks = 0
        while self._is_full and not self._hurry.is_set():
            if checks % _CHECKS_A_CALL == 0:
                self._while_waiting()
            checks += 1
            with self._changed:
                if self._is_full:
                    self._changed.wait(_HURRY_CHECK_S)

    @property
    def _is_full(self) -> bool:
        return self._size >= QUEUE_LIMIT_BYTES

    def take_counts(self) -> Counter[str]:
        """The counters by name, as they have grown since the last call."""
        with self._changed:
            counts, self._counts = self._counts, Counter()
        return counts

    def hurry(self) -> None:
        """Let `put` and `finish` wait no longer. Safe in a signal handler.

        Signal handlers run in the main thread, which only reads the event otherwise, and so never holds its lock.
        """
        self._hurry.set()

    def finish(self) -> None:
        """Wait until all messages are published or refused, or `hurry` was called; log how many are not published.

        A sink that still stands by drops what waits: its chain has not taken over, so its answers don't count.
        """
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        while self._thread.is_alive() and not self._hurry.is_set():
            self._thread.join(_HURRY_CHECK_S)
        with self._changed:
            lost = 0 if self._stands_by else len(self._waiting) + self._dropped
        if lost:
            self._say(f"{counted(lost, 'message')} could not be published to Redis at {self._settings.address}")
            self.lost = lost

    def _run(self) -> None:
        client: Client | None = None
        next_delay = jittered_delays()
        away_since: float | None = None
        while self._wait_for_work():
            batch: list[Message] = []
            try:
                if client is None:
                    client = connect(self._settings)
                    self._ask_how_far(client)
                    if away_since is not None:
                        self._wait_for_source(client)
                batch = self._next_batch()
                if batch:
                    self._pacer.pace(client, batch[0].channel, sum(message.size for message in batch))
                    self._publish(client, batch)
            except ERRORS as error:
                if isinstance(error, PASSING) or not batch:
                    if away_since is None:
                        away_since = time.monotonic()
                        self._say(f"publishing waits: {explain(error, self._settings)}")
                        self._count("redis lost by the sink")
                    if client is not None:
                        close_quietly(client)
                    client = None
                    if self._is_over_within(next_delay()):
                        return
                    continue
                if len(batch) > 1:
                    self._one_by_one = len(batch)
                    continue
                self._note_refused(batch[0].channel, explain(error, self._settings))
            if away_since is not None:
                self._say(f"publishing again, after {time.monotonic() - away_since:.1f} s")
                away_since, next_delay = None, jittered_delays()
            self._forget(batch)
            self._on_finished()

    def _wait_for_source(self, client: Client) -> None:
        """Wait until this server's own source is subscribed again: otherwise it would miss the server's own messages.

        PUBLISH and SPUBLISH return the number of subscribers that get a message. After _SOURCE_PATIENCE_S this gives
        up, and logs it.
        """
        if not self._settings.run:
            return  # by hand there may be no source
        ask = client.spublish if self._settings.sharded else client.publish
        deadline = time.monotonic() + _SOURCE_PATIENCE_S
        try:
            while not ask(self._settings.own_channel, b""):
                with self._changed:
                    if self._ended:
                        return
                    self._changed.wait(_SOURCE_CHECK_S)
                if time.monotonic() > deadline:
                    self._say("this server's own source is not subscribed; it misses what is published now")
                    self._count("published before the source was subscribed")
                    return
        except NoPermissionError:
            pass  # without that right it can't be known

    def _is_over_within(self, delay_s: float) -> bool:
        """Wait `delay_s` seconds; True at once when the input has ended and `hurry` was called.

        `hurry` alone doesn't end it: any process may have sent the signal while the front still sends events.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._ended and self._hurry.is_set(), delay_s)

    def _nap(self, delay_s: float) -> bool:
        """Wait `delay_s` seconds. False at the end of input: the rest of the queue is below Redis's limit."""
        with self._changed:
            return not self._changed.wait_for(lambda: self._ended, delay_s)

    def _wait_for_work(self) -> bool:
        """Wait for messages to publish; False at the end."""
        with self._changed:
            while not self._ended and (self._stands_by or not self._waiting):
                self._changed.wait()
            return bool(self._waiting) and not self._stands_by

    def _ask_how_far(self, client: Client) -> None:
        """Read the position: queued messages may have been published, by an earlier sink or just before a break."""
        if not self._keeps_progress:
            return
        try:
            answer = client.get(self._settings.published_key)
        except PASSING:
            raise
        except ERRORS as error:
            self._keep_no_progress(error)
            return
        self._done = _parse_position(answer) if answer is not None else None

    def _keep_no_progress(self, error: Exception) -> None:
        self._keeps_progress = False
        self._say(f"after a crash publishes may be repeated: {explain(error, self._settings)}")

    def _next_batch(self) -> list[Message]:
        """The oldest messages, as one batch, which stay queued until Redis has answered; empty: all are published."""
        with self._changed:
            self._drop_done()
            # In a cluster there is no transaction over several nodes: messages go one at a time, so that one failure
            # repeats no other message.
            limit = 1 if self._settings.sharded or self._one_by_one else _BATCH
            oldest = _first_bytes(list(islice(self._waiting, limit)))
            if self._done is None:
                return oldest
            # Those without a number count as not published; numbered ones after them may have been published.
            return list(takewhile(lambda message: message.seq is None, oldest))

    def _drop_done(self) -> None:
        """Drop the oldest messages that were published before, by the position that Redis keeps."""
        while self._done is not None and self._waiting and (seq := self._waiting[0].seq) is not None:
            if self._position.after(seq) > self._done:
                self._done = None
                return
            self._forget_oldest()
            self._counts["publishes suppressed"] += 1

    def _publish(self, client: Client, batch: list[Message]) -> None:
        """Publish a batch, and write the new position. Raises one of ERRORS when Redis doesn't take the messages."""
        position = self._position
        for message in batch:
            position = position if message.seq is None else position.after(message.seq)
        if self._done is not None:
            position = max(position, self._done)
        if self._settings.sharded:
            client.spublish(batch[0].channel, batch[0].data)
            self._note_in_cluster(client, position)
        elif self._keeps_progress or len(batch) > 1:
            self._publish_together(client, batch, position)
        else:
            client.publish(batch[0].channel, batch[0].data)

    def _publish_together(self, client: Client, batch: list[Message], position: Position) -> None:
        try:
            with client.pipeline(transaction=True) as pipeline:
                for message in batch:
                    pipeline.publish(message.channel, message.data)
                if self._keeps_progress:
                    self._note_progress(pipeline, position)
                pipeline.execute()
        except PASSING:
            raise
        except ERRORS as error:
            if len(batch) > 1:
                raise
            client.publish(batch[0].channel, batch[0].data)
            self._keep_no_progress(error)  # the message alone was taken, so Redis refuses the position

    def _note_in_cluster(self, client: Client, position: Position) -> None:
        if self._keeps_progress:
            try:
                self._note_progress(client, position)
            except PASSING:
                raise
            except ERRORS as error:
                self._keep_no_progress(error)

    def _note_progress(self, client: Client, position: Position) -> None:
        value = f"{position.seq} {position.actions}"
        client.set(self._settings.published_key, value, ex=_PROGRESS_EXPIRY_S)

    def _note_refused(self, channel: str, reason: str) -> None:
        self._count("publishes refused")
        if (channel, reason) not in self._refusals and len(self._refusals) < _REMEMBERED_REFUSALS:
            self._refusals.add((channel, reason))
            self._say(f"a publish to channel {channel!r} is dropped: {reason}; this is told once a channel and reason")

    def _forget(self, batch: list[Message]) -> None:
        with self._changed:
            for _ in batch:
                self._forget_oldest()
            self._one_by_one = max(0, self._one_by_one - len(batch))
            self._changed.notify_all()

    def _forget_oldest(self) -> None:
        message = self._waiting.popleft()
        self._size -= message.size
        self.finished += 1
        if message.seq is not None:
            self._position = self._position.after(message.seq)

    def _count(self, name: str, by: int = 1) -> None:
        with self._changed:
            self._counts[name] += by


def _first_bytes(messages: list[Message]) -> list[Message]:
    """The first messages, up to _BATCH_BYTES together, but at least one if there is any."""
    ends = accumulate(message.size for message in messages)
    return [message for message, end in zip(messages, ends, strict=True) if end <= _BATCH_BYTES] or messages[:1]


def _parse_position(answer: bytes) -> Position | None:
    """The position that `_note_progress` has written; None for any other text, which no server has written."""
    try:
        seq, actions = map(int, answer.split())
    except ValueError:
        return None
    return Position(seq, actions)
