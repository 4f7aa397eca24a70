"""Redis in chaos: a server that comes back with its data, and our own subscriber and publisher.

The subscriber misses nothing: a Redis that starts again listens on a Unix socket first, where only we look for it, and
opens its port, where the server waits for it, when the subscriber is there. Before it is stopped its clients are
paused, and the subscriber reads all that was executed: Redis ends without writing what still waits for a subscriber.
And it keeps on disk how far the server had published.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.chaos.accounts import EVERYWHERE, OUTSIDE, Listener, Message, compose
from tests.harness import PATIENCE_S
from tests.redis_servers import RedisServer

OUT_CHANNEL = "chaos"
IN_CHANNEL = "chaos-in"
_PUBLISH_EVERY_S = 0.1

_LAST_WORD = b"paused"
"""What Redis publishes for the subscriber, behind all else, as it is paused before its end."""

_PAUSE_MS = round(2 * PATIENCE_S * 1000)
"""Longer than the last word is waited for."""


class Subscriber:
    """Listens to what is published, through any number of lives of Redis."""

    def __init__(self) -> None:
        self.listener = Listener("the subscriber", EVERYWHERE, owed_from={})
        self._thread: threading.Thread | None = None
        self._has_heard_last_word = threading.Event()

    def begin(self, client: Any) -> None:
        """Redis lives: subscribe. Returns when nothing will be missed."""
        self.wait_end()
        subscription = client.pubsub(ignore_subscribe_messages=False)
        subscription.subscribe(OUT_CHANNEL)
        assert subscription.get_message(timeout=PATIENCE_S)["type"] == "subscribe"
        self._has_heard_last_word.clear()
        self._thread = threading.Thread(target=self._follow, args=(client, subscription), daemon=True)
        self._thread.start()

    def wait_last_word(self) -> None:
        """Redis is paused: wait until all that it has executed has been heard."""
        assert self._has_heard_last_word.wait(PATIENCE_S)

    def wait_end(self) -> None:
        """Redis has ended: take what it has left."""
        if self._thread is not None:
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive()

    def _follow(self, client: Any, subscription: Any) -> None:
        with client, subscription:
            while True:
                try:
                    message = subscription.get_message(timeout=None)
                except redis.ConnectionError:
                    return
                if message is None:
                    continue
                if message["data"] == _LAST_WORD:
                    self._has_heard_last_word.set()
                else:
                    self.listener.hear(message["data"])


class GatedRedis(RedisServer):
    """A Valkey that opens its port only when the subscriber is subscribed."""

    def __init__(self, folder: Path, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self._socket = str(folder / "socket")
        # Save points: SIGTERM saves.
        super().__init__("valkey", folder, ["--save", "3600 1000000"], None, None)

    def connect_aside(self) -> Any:
        """A client that needs no port; it is the caller's to close."""
        return redis.Redis(unix_socket_path=self._socket, retry=Retry(NoBackoff(), 0), socket_timeout=PATIENCE_S)

    def stop(self) -> None:
        """Stop it, when all that it has executed has been heard."""
        with contextlib.closing(self.connect_aside()) as client, client.pipeline(transaction=True) as last:
            last.publish(OUT_CHANNEL, _LAST_WORD)
            last.client_pause(_PAUSE_MS)
            last.execute()
        self._subscriber.wait_last_word()
        super().stop()

    def _port_arguments(self, port: int) -> list[str]:
        return ["--port", "0", "--unixsocket", self._socket]

    def _prove_that_it_answers(self, port: int, pid: int) -> None:
        self.port = port
        with contextlib.closing(self.connect_aside()) as client:
            assert client.info("server")["process_id"] == pid
            self._subscriber.begin(redis.Redis(unix_socket_path=self._socket, retry=Retry(NoBackoff(), 0)))
            client.config_set("port", port)

    def cut_connections(self) -> None:
        """End the server's connections, as a network does; ours stay."""
        with contextlib.closing(self.connect_aside()) as client:
            for other in client.client_list():
                if "/" not in other["addr"]:  # a path is a connection on the Unix socket: ours
                    with contextlib.suppress(redis.ResponseError):  # it has gone by itself
                        client.client_kill_filter(_id=other["id"])


class Publisher:
    """Publishes numbered messages for the server's clients to hear."""

    def __init__(self, server: GatedRedis) -> None:
        self._server = server
        self.said = 0

    async def run(self) -> None:
        """Publish for ever."""
        for number in itertools.count(1):
            await self.publish(number)
            await asyncio.sleep(_PUBLISH_EVERY_S)

    async def publish(self, number: int) -> None:
        """Publish one message, if Redis is there."""
        self.said = number
        await asyncio.to_thread(self._publish, compose(Message(OUTSIDE, number)))

    def _publish(self, payload: bytes) -> None:
        with contextlib.suppress(redis.ConnectionError), contextlib.closing(self._server.connect_aside()) as client:
            client.publish(IN_CHANNEL, payload)
