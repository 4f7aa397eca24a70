"""What is published waits for servers that read slowly, with a real Redis; and for nothing else."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from fws_pipe.broker import pacing
from fws_pipe.broker.connection import RedisSettings
from fws_pipe.broker.publisher import QUEUE_LIMIT_BYTES, Publisher
from tests.conftest import start_or_skip
from tests.harness import PATIENCE_S, eventually
from tests.redis_servers import HOST, RedisServer

MESSAGE = bytes(1_000_000)
LIMIT_BYTES = 6 * 1024 * 1024
"""What Redis holds for a subscriber here: room for what is published until a look."""

BURST = 30
"""Messages that are too many for a subscriber that doesn't read: for Redis's limit, and the kernel's buffers."""


@pytest.fixture
def tight_redis(redis_server: RedisServer) -> RedisServer:
    """One that ends a subscriber earlier."""
    redis_server.client().config_set("client-output-buffer-limit", f"pubsub {LIMIT_BYTES} 0 0")
    return redis_server


def subscribe(redis_server: RedisServer, name: str) -> Any:
    """A subscription to the channel c, by a client of that name."""
    subscriber = redis_server.client(client_name=name or None).pubsub(ignore_subscribe_messages=True)
    subscriber.subscribe("c")
    assert subscriber.get_message(timeout=PATIENCE_S) is None  # the confirmation
    return subscriber


def put(queue: Publisher, count: int) -> None:
    for number in range(count):
        queue.put("c", MESSAGE, number)


def has_full_socket(redis_server: RedisServer) -> Callable[[], bool]:
    admin = redis_server.client()
    return lambda: any("w" in client["events"] for client in admin.client_list(_type="pubsub"))


def read(subscriber: Any, count: int) -> list[int]:
    """The sizes of so many messages, or of those that came before Redis ended it."""
    sizes: list[int] = []
    try:
        while len(sizes) < count:
            sizes.append(len(subscriber.get_message(timeout=PATIENCE_S)["data"]))
    except RedisConnectionError:
        pass
    return sizes


def test_a_source_that_reads_slowly_is_not_ended(tight_redis: RedisServer) -> None:
    subscriber = subscribe(tight_redis, "eve/fws:source")
    said: list[str] = []
    queue = Publisher(RedisSettings(tight_redis.url, server="one", run="r"), said.append)
    putting = threading.Thread(target=put, args=(queue, 100))
    putting.start()
    assert read(subscriber, 100) == [len(MESSAGE)] * 100
    putting.join()
    queue.finish()
    assert said == []


@pytest.mark.parametrize("name", ["", "fws2:source"])
def test_a_foreign_subscriber_that_never_reads_is_not_waited_for(
    redis_server: RedisServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "PATIENCE_S", 0.1)
    subscriber = subscribe(redis_server, name)
    said: list[str] = []
    queue = Publisher(RedisSettings(redis_server.url, server="one", run="r"), said.append)
    put(queue, BURST)
    queue.finish()
    assert queue.finished == BURST
    assert (queue.take_counts(), said) == ({}, [])
    subscriber.close()


def test_a_source_that_never_reads_is_given_up_once(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "PATIENCE_S", 0.1)
    subscriber = subscribe(redis_server, "fws:source")
    said: list[str] = []
    queue = Publisher(RedisSettings(redis_server.url, run="r"), said.append)
    put(queue, BURST)
    eventually(lambda: queue.finished == BURST, "that all is published")
    assert queue.take_counts() == {"slow servers no longer waited for": 1}
    [line] = said
    assert line.startswith(f"the server that is connected to Redis from {HOST}:")
    # It reads again after all, lags again, and is given up again.
    assert len(read(subscriber, BURST)) == BURST
    put(queue, BURST)
    eventually(lambda: queue.finished == 2 * BURST, "that all is published")
    assert queue.take_counts() == {"slow servers no longer waited for": 1}
    queue.finish()


def test_the_end_of_input_does_not_wait_for_a_source(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "PATIENCE_S", 10 * PATIENCE_S)
    subscriber = subscribe(redis_server, "fws:source")
    queue = Publisher(RedisSettings(redis_server.url, run="r"), print)
    put(queue, QUEUE_LIMIT_BYTES // len(MESSAGE))
    eventually(has_full_socket(redis_server), "a subscriber with a full socket")
    assert queue.finished < queue.accepted
    queue.finish()
    assert queue.finished == queue.accepted
    assert len(read(subscriber, queue.accepted)) == queue.accepted


def test_a_redis_that_goes_while_a_source_is_waited_for_is_an_outage(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "PATIENCE_S", 10 * PATIENCE_S)
    subscriber = subscribe(redis_server, "fws:source")
    said: list[str] = []
    queue = Publisher(RedisSettings(redis_server.url), said.append)
    put(queue, QUEUE_LIMIT_BYTES // len(MESSAGE))
    eventually(has_full_socket(redis_server), "a subscriber with a full socket")
    redis_server.kill()
    eventually(lambda: bool(said), "that publishing waits")
    redis_server.restart()
    eventually(lambda: queue.finished == queue.accepted, "that all is published")
    assert [re.split("[:,]", line)[0] for line in said] == ["publishing waits", "publishing again"]
    queue.finish()
    subscriber.close()


def test_who_may_not_look_publishes_all_the_same_and_says_so_once(tmp_path: Path) -> None:
    rights = ("~fws:*", "&c", "-@all", "+get", "+set", "+multi", "+exec", "+publish")
    with start_or_skip("valkey", tmp_path, "--user", "anna", "on", ">pw", *rights) as redis_server:
        said: list[str] = []
        queue = Publisher(RedisSettings(f"redis://anna:pw@{HOST}:{redis_server.port}", run="r"), said.append)
        put(queue, 10)
        queue.finish()
        assert queue.finished == 10
    [line] = said
    assert line.startswith("publishing does not wait for servers that read slowly: Redis at ")
    assert "client|list" in line


def test_little_costs_no_look(redis_server: RedisServer) -> None:
    queue = Publisher(RedisSettings(redis_server.url, run="r"), print)
    for number in range(1000):
        queue.put("c", bytes(800), number)
    queue.finish()
    assert "cmdstat_client|list" not in redis_server.client().info("commandstats")
