"""The broker, which joins servers and other programs: Redis, or none. Its user need not know which.

Loads redis-py only where there is Redis: that takes longer than all else in a sink, and most servers do without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from fws_pipe.broker import VARIABLE
from fws_pipe.protocol.codec import Frame


class Broker(Protocol):
    """Takes what is for other servers' clients or for other programs, and says how far it has got with that."""

    @property
    def accepted(self) -> int:
        """How many messages it has taken, ever."""

    @property
    def finished(self) -> int:
        """How many of them are done, the oldest ones: published, or refused."""

    @property
    def lost(self) -> int:
        """How many messages have been given up, after `finish`."""

    def publish(self, action: Frame) -> bool:
        """Take a `publish` action; False: there is nothing to publish to, so the front has to carry it out."""

    def relay(self, action: Frame) -> None:
        """Pass a `send` on to the other servers."""

    def note_tick(self, seq: int) -> None:
        """Note that a tick has come through the chain."""

    def take_counts(self) -> Mapping[str, int]:
        """What has been counted since the last call."""

    def hurry_on_sigterm(self) -> None:
        """From now on SIGTERM shortens the wait of `finish`, where there may be one, instead of ending the process."""

    def finish(self) -> None:
        """Wait until all messages are done."""


class NoBroker:
    """The broker of a server without Redis: there are no others."""

    accepted = 0
    finished = 0
    lost = 0

    def publish(self, action: Frame) -> bool:
        """Always false: the front makes a `consumer` event of it."""
        return False

    def relay(self, action: Frame) -> None:
        """No-op."""

    def note_tick(self, seq: int) -> None:
        """No-op."""

    def take_counts(self) -> Mapping[str, int]:
        """Always empty."""
        return {}

    def hurry_on_sigterm(self) -> None:
        """No-op: nothing is waited for, so SIGTERM may end the process."""

    def finish(self) -> None:
        """No-op."""


def open_broker(
    environment: Mapping[str, str], while_waiting: Callable[[], object], on_finished: Callable[[], object]
) -> Broker:
    """The broker that FWS_REDIS names, or a NoBroker where it isn't set.

    `while_waiting` is called before an action has to wait, and now and then while it does; `on_finished`, from another
    thread, when `finished` has grown. Raises UsageError for a value that fws-pipe has not written.
    """
    if VARIABLE not in environment:
        return NoBroker()
    from fws_pipe.broker.redis_broker import RedisBroker

    return RedisBroker(environment, while_waiting, on_finished)
