"""Redis as the broker: publishes plain payloads for all programs, and relays actions to the other servers."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Mapping

from fws_pipe.broker import STANDBY_VARIABLE, VARIABLE
from fws_pipe.broker.publisher import Publisher
from fws_pipe.broker.relay import RelaySender
from fws_pipe.broker.settings import settings_from
from fws_pipe.errors import UsageError
from fws_pipe.pipes.blocks import say
from fws_pipe.protocol.actions import single_sends
from fws_pipe.protocol.codec import Frame

_EVENTS_AHEAD = 4096
"""How far an event's number may be ahead of the last tick: a tick stands behind 512 events at the latest."""

_TICKS_BEFORE_EVENTS = 2
"""A successor gets a tick behind its introduction, and another one when it has taken over (`Feed.run`)."""


class RedisBroker:
    """`broker.Broker`, with Redis; the arguments are `open_broker`'s. Raises UsageError if FWS_REDIS is empty."""

    def __init__(
        self,
        environment: Mapping[str, str],
        while_waiting: Callable[[], object],
        on_finished: Callable[[], object] = lambda: None,
    ) -> None:
        settings = settings_from(environment)
        if settings is None:
            raise UsageError(f"{VARIABLE} is empty; fws-pipe sets it from --redis-url")
        self._channel = settings.servers_channel
        self._refused = 0
        self._refused_before = False
        self._last_tick = 0
        self._sender = RelaySender(settings.run)
        self._ticks_to_come = _TICKS_BEFORE_EVENTS if environment.get(STANDBY_VARIABLE) else 0
        """How many ticks must come through before anything is published."""
        self._publisher = Publisher(settings, say, while_waiting, on_finished, stands_by=self._ticks_to_come > 0)

    def note_tick(self, seq: int) -> None:
        """A tick has come through the chain: numbers of events up to there, and some more, can be believed."""
        self._last_tick = max(seq, self._last_tick)
        if self._ticks_to_come:
            self._ticks_to_come -= 1
            if not self._ticks_to_come:
                self._publisher.begin()

    def _believed(self, seq: object) -> int | None:
        """The number of the event that caused an action; None for one that a filter has made up, a time stamp say.

        How far the server has got with publishing is kept in Redis as such a number: a made-up one would silence all
        publishes after the next crash.
        """
        return seq if type(seq) is int and seq <= self._last_tick + _EVENTS_AHEAD else None

    def publish(self, action: Frame) -> bool:
        """Publish the plain payload, which any program can read; waits when Redis is away and the queue is full."""
        if action["channel"] == self._channel:
            self._refuse()
            return True
        data = action["data"]
        self._publisher.put(
            action["channel"], data.encode() if isinstance(data, str) else data, self._believed(action.get("seq"))
        )
        return True

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

    def hurry_on_sigterm(self) -> None:
        """From now on SIGTERM shortens the wait of `finish` instead of ending the process."""
        signal.signal(signal.SIGTERM, lambda number, frame: self._publisher.hurry())

    def finish(self) -> None:
        """Wait until Redis has confirmed everything."""
        self._publisher.finish()
