"""The broker, which joins servers and other programs: Redis, or none. Its callers need not know which.

redis-py is loaded only where there is Redis: loading it takes longer than all else in a sink, and most servers have
none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from fws_pipe.broker import VARIABLE
from fws_pipe.protocol.codec import Frame


class Broker(Protocol):
    """Queues messages for other servers' clients and for other programs, and says how many of them are published."""

    @property
    def accepted(self) -> int:
        """The number of messages queued so far."""

    @property
    def finished(self) -> int:
        """The number of messages, the oldest ones, that have been published or refused."""

    @property
    def lost(self) -> int:
        """The number of messages that will never be published; known once `finish` has returned."""

    def publish(self, action: Frame) -> bool:
        """Queue a `publish` action; False: there is no broker to publish to, so the front has to execute it."""

    def relay(self, action: Frame) -> None:
        """Queue a `send` for the other servers' clients."""

    def note_tick(self, seq: int) -> None:
        """Note that the tick `seq` has passed the chain."""

    def take_counts(self) -> Mapping[str, int]:
        """The counters by name, as they have grown since the last call."""

    def hurry_on_sigterm(self) -> None:
        """From now on let SIGTERM cut short the wait of `finish`; where there is no wait it ends the process."""

    def finish(self) -> None:
        """Wait until all messages are published or refused, or SIGTERM has come."""


class NoBroker:
    """The broker of a server without Redis, and so without other servers."""

    accepted = 0
    finished = 0
    lost = 0

    def publish(self, action: Frame) -> bool:
        """Always False: the front makes a `consumer` event of the action."""
        return False

    def relay(self, action: Frame) -> None:
        """No-op."""

    def note_tick(self, seq: int) -> None:
        """No-op."""

    def take_counts(self) -> Mapping[str, int]:
        """Always empty."""
        return {}

    def hurry_on_sigterm(self) -> None:
        """No-op: `finish` doesn't wait, so SIGTERM may end the process."""

    def finish(self) -> None:
        """No-op."""


def open_broker(
    environment: Mapping[str, str], while_waiting: Callable[[], object], on_finished: Callable[[], object]
) -> Broker:
    """The broker that FWS_REDIS names; a NoBroker where it isn't set.

    `while_waiting` is called before an action waits for room in the queue, and about once a second meanwhile.
    `on_finished` is called, from another thread, when `finished` has grown. Raises UsageError for a value of FWS_REDIS
    that fws-pipe has not written.
    """
    if VARIABLE not in environment:
        return NoBroker()
    from fws_pipe.broker.redis_broker import RedisBroker

    return RedisBroker(environment, while_waiting, on_finished)
