"""The sink's way to Redis: plain payloads for everybody, relayed actions for the other servers."""

from __future__ import annotations

import os
import sys
from collections import Counter

from fws_pipe.errors import UsageError
from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.relay import RelaySender
from fws_pipe.publisher import Publisher
from fws_pipe.redis_link import settings_from


class RedisAbroad:
    """`sink.Abroad`, with Redis. Raises UsageError where the environment says nothing of one."""

    def __init__(self) -> None:
        settings = settings_from(os.environ)
        if settings is None:
            raise UsageError("FWS_REDIS is empty; fws-pipe sets it from --redis-url")
        self._channel = settings.servers_channel
        self._sender = RelaySender(settings.server)
        self._publisher = Publisher(settings, lambda text: print(text, file=sys.stderr, flush=True))

    def publish(self, action: Frame) -> None:
        """Publish the plain payload, which any program can read; waits when Redis is away and the queue is full."""
        data = action["data"]
        self._publisher.put(action["channel"], data.encode() if isinstance(data, str) else data)

    def relay(self, action: Frame) -> None:
        """Pass an action on to the other servers."""
        self._publisher.put(self._channel, self._sender.wrap(action))

    def take_counts(self) -> Counter[str]:
        """What has been counted since the last time."""
        return self._publisher.take_counts()

    def hurry(self) -> None:
        """There is no time left."""
        self._publisher.hurry()

    def finish(self) -> None:
        """Wait until Redis has confirmed everything."""
        self._publisher.finish()
