"""A subscriber to channels of Redis."""

from __future__ import annotations

from typing import Any

from .base import BaseSubscriber


class RedisSubscriber(BaseSubscriber):
    """Puts each message of the channels in `options` on the queue, in the form that redis-py gives."""

    kill_channel = "__KILL__"

    def __init__(self, client: Any, options: Any) -> None:
        self.redis_client = client
        channels = options.redis_channels
        channels = ["global"] if channels is None else channels
        self.data_producer = client.pubsub()
        self.data_producer.subscribe(*channels, self.kill_channel)
        self._is_killed = False

    def kill(self) -> None:
        """End the listener."""
        self._is_killed = True
        self.redis_client.publish(self.kill_channel, "#YOLO")

    def listener(self, web_socket_instance: Any) -> None:
        """Listen until killed."""
        for data in self.data_producer.listen():
            web_socket_instance.queue.put(data)
            if self._is_killed:
                self.data_producer.unsubscribe()
                break
