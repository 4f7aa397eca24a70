"""The sink's way to Redis: plain payloads for everybody, relayed actions for the other servers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

from fws_pipe.broker.connection import settings_from
from fws_pipe.broker.publisher import Publisher
from fws_pipe.broker.relay import RelaySender
from fws_pipe.errors import UsageError
from fws_pipe.pipes.blocks import say
from fws_pipe.protocol.actions import single_sends
from fws_pipe.protocol.codec import Frame

_EVENTS_AHEAD = 4096
"""How far an event's number may be ahead of the last tick: a tick stands behind 512 events at the latest."""


class RedisBroker:
    """`sink.Broker`, with Redis. Raises UsageError where the environment says nothing of a Redis.

    `while_waiting` is called before an action has to wait, and now and then while it does; `on_finished`, from another
    thread, when `finished` has grown.
    """

    def __init__(self, while_waiting: Callable[[], object], on_finished: Callable[[], object] = lambda: None) -> None:
        settings = settings_from(os.environ)
        if settings is None:
            raise UsageError("FWS_REDIS is empty; fws-pipe sets it from --redis-url")
        self._channel = settings.servers_channel
        self._refused = 0
        self._refused_before = False
        self._last_tick = 0
        self._sender = RelaySender(settings.run)
        self._publisher = Publisher(settings, say, while_waiting, on_finished)

    def note_tick(self, seq: int) -> None:
        """A tick has come through the chain: numbers of events up to there, and some more, can be believed."""
        self._last_tick = max(seq, self._last_tick)

    def _believed(self, seq: object) -> int | None:
        """The number of the event that caused an action; None for one that a filter has made up, a time stamp say.

        How far the server has got with publishing is kept in Redis as such a number: a made-up one would silence all
        publishes after the next crash.
        """
        return seq if type(seq) is int and seq <= self._last_tick + _EVENTS_AHEAD else None

    def publish(self, action: Frame) -> None:
        """Publish the plain payload, which any program can read; waits when Redis is away and the queue is full."""
        if action["channel"] == self._channel:
            self._refuse()
            return
        data = action["data"]
        self._publisher.put(
            action["channel"], data.encode() if isinstance(data, str) else data, self._believed(action.get("seq"))
        )

    def _refuse(self) -> None:
        # What a client says must not pass for another server's word.
        self._refused += 1
        if not self._refused_before:
            self._refused_before = True
            say(f"dropped a publish to {self._channel!r}, which is the servers' own channel; this is told once")

    def relay(self, action: Frame) -> None:
        """Pass a `send` on to the other servers: each message by itself, since each counts for how far we have got."""
        for single in single_sends(action):
            self._publisher.put(self._channel, self._sender.wrap(single), self._believed(single.get("seq")))

    @property
    def accepted(self) -> int:
        """How many messages have been taken, ever."""
        return self._publisher.accepted

    @property
    def finished(self) -> int:
        """How many of them Redis has confirmed, or refused: the oldest ones."""
        return self._publisher.finished

    @property
    def lost(self) -> int:
        """How many publishes will never be confirmed; known once `finish` has returned."""
        return self._publisher.lost

    def take_counts(self) -> Counter[str]:
        """What has been counted since the last time."""
        refused, self._refused = self._refused, 0
        return self._publisher.take_counts() + Counter({"publishes to the servers' channel": refused})

    def hurry(self) -> None:
        """There is no time left."""
        self._publisher.hurry()

    def finish(self) -> None:
        """Wait until Redis has confirmed everything."""
        self._publisher.finish()
