"""Sets by key in Redis, and pub/sub on its channels."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

import redis

from fws_pipe.broker.settings import RedisSettings
from fws_pipe.sdk.user_storage import add_redis_options
from fws_pipe.storage.redis_storage import RedisStorage

from .base import BasePubSubStorageObject, SetsMixin
from .subscribers.redis import RedisSubscriber


class StorageObject(SetsMixin, BasePubSubStorageObject):
    """Sets by key in Redis, which all servers share."""

    def __init__(self, options: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(options, *args, **kwargs)
        host, port = options.redis_host, options.redis_port
        self.redis = redis.Redis(host=host, port=port)
        url = f"redis://[{host}]:{port}/0" if ":" in host else f"redis://{host}:{port}/0"
        self.storage = RedisStorage(RedisSettings(url=url, key=options.redis_key))

    def get_client(self) -> Any:
        """The client of redis-py."""
        return self.redis

    def publish(self, channel: Any, data: Any) -> None:
        """Publish to a channel (PUBLISH)."""
        self.redis.publish(channel, bytes(data) if isinstance(data, bytearray) else data)

    @classmethod
    def get_subscriber(cls) -> Any:
        """The class RedisSubscriber."""
        return RedisSubscriber

    @classmethod
    def parser(cls, parser: ArgumentParser) -> ArgumentParser:
        """Add --redis_host, --redis_port, --redis_channels and --redis_key."""
        return add_redis_options(parser)
