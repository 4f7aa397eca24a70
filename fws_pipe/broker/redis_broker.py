"""Redis as the broker: publishes plain payloads for all programs, and relays `send` actions to other servers."""

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
"""How far an event's number may be ahead of the last tick's; there is a tick after at most 512 events."""

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
        self._settings = settings
        self._channel = settings.servers_channel
        self._refused = 0
        self._refused_before = False
        self._last_tick = 0
        self._sender = RelaySender(settings.run)
        self._ticks_to_come = _TICKS_BEFORE_EVENTS if environment.get(STANDBY_VARIABLE) else 0
        """How many ticks must come through before anything is published."""
        self._publisher = Publisher(settings, say, while_waiting, on_finished, stands_by=self._ticks_to_come > 0)

    def note_tick(self, seq: int) -> None:
        """Note that the tick `seq` has passed the chain: events' numbers up to it, and some more, are credible."""
        self._last_tick = max(seq, self._last_tick)
        if self._ticks_to_come:
            self._ticks_to_come -= 1
            if not self._ticks_to_come:
                self._publisher.begin()

    def _believed(self, seq: object) -> int | None:
        """The number of the event that caused an action; None for a number that a filter has made up, such as a time.

        The position that Redis keeps holds such a number: with a made-up one all publishes after the next crash would
        count as published before.
        """
        return seq if type(seq) is int and seq <= self._last_tick + _EVENTS_AHEAD else None

    def publish(self, action: Frame) -> bool:
        """Queue the plain payload, which any program can read; waits while the queue is full. Always True."""
        if self._settings.is_servers_channel(action["channel"]):
            self._refuse(action["channel"])
            return True
        data = action["data"]
        self._publisher.put(
            action["channel"], data.encode() if isinstance(data, str) else data, self._believed(action.get("seq"))
        )
        return True

    def _refuse(self, channel: str) -> None:
        # A client's message, which a filter publishes, must not pass for another server's.
        self._refused += 1
        if not self._refused_before:
            self._refused_before = True
            say(f"dropped a publish to {channel!r}, which is the servers' own channel; this is told once")

    def relay(self, action: Frame) -> None:
        """Queue a `send` for the other servers: each message by itself, since the position counts messages."""
        for single in single_sends(action):
            self._publisher.put(self._channel, self._sender.wrap(single), self._believed(single.get("seq")))

    @property
    def accepted(self) -> int:
        """The number of messages queued so far."""
        return self._publisher.accepted

    @property
    def finished(self) -> int:
        """The number of messages, the oldest ones, that Redis has confirmed or refused."""
        return self._publisher.finished

    @property
    def lost(self) -> int:
        """The number of messages that will never be confirmed; known once `finish` has returned."""
        return self._publisher.lost

    def take_counts(self) -> Counter[str]:
        """The counters by name, as they have grown since the last call."""
        refused, self._refused = self._refused, 0
        return self._publisher.take_counts() + Counter({"publishes to the servers' channel": refused})

    def hurry_on_sigterm(self) -> None:
        """From now on let SIGTERM cut short the wait of `finish`, in place of ending the process."""
        signal.signal(signal.SIGTERM, lambda number, frame: self._publisher.hurry())

    def finish(self) -> None:
        """Wait until Redis has confirmed or refused all messages, or SIGTERM has come."""
        self._publisher.finish()
