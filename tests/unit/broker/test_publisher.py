"""The queue to Redis: bounded, in order, and what is lost is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from fws_pipe.broker import connection as redis_link
from fws_pipe.broker import publisher
from fws_pipe.broker.connection import RedisSettings
from fws_pipe.broker.publisher import Message, Publisher
from tests.conftest import start_or_skip
from tests.harness import PATIENCE_S
from tests.redis_servers import HOST, RedisServer

NOWHERE = RedisSettings("redis://127.0.0.1:1/0")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Nothing is published before this is set."""
    opened = threading.Event()

    def connect_later(settings: RedisSettings) -> Any:
        opened.wait(PATIENCE_S)
        return redis_link.connect(settings)

    monkeypatch.setattr(publisher, "connect", connect_later)
    yield opened
    opened.set()


def test_what_redis_refuses_does_not_take_the_rest_of_its_batch_with_it(tmp_path: Path, gate: threading.Event) -> None:
    with start_or_skip(
        "valkey", tmp_path, "--user", "anna", "on", ">pw", "~*", "resetchannels", "&free", "+@all"
    ) as redis:
        subscriber = redis.client().pubsub(ignore_subscribe_messages=True)
        subscriber.subscribe("free")
        assert subscriber.get_message(timeout=PATIENCE_S) is None  # the confirmation
        said: list[str] = []
        queue = Publisher(RedisSettings(f"redis://anna:pw@{HOST}:{redis.port}/0"), said.append)
        for number in range(10):
            queue.put("free", b"%d" % number)
            queue.put("secret", b"the data")
        gate.set()
        queue.finish()
        heard = [subscriber.get_message(timeout=PATIENCE_S)["data"] for _ in range(10)]
        assert heard == [b"%d" % number for number in range(10)]
    assert queue.take_counts() == {"publishes refused": 10}
    (line,) = said
    assert line.startswith("a publish to channel 'secret' is dropped: Redis at ")
    assert "the data" not in line


def test_after_an_outage_the_backlog_waits_for_the_servers_own_source(redis_server: RedisServer) -> None:
    settings = RedisSettings(f"redis://{HOST}:{redis_server.port}", server="one", run="1")
    waits = threading.Event()

    def say(text: str) -> None:
        if text.startswith("publishing waits"):
            waits.set()

    queue = Publisher(settings, say)
    redis_server.kill()
    queue.put("c", b"1")
    assert waits.wait(PATIENCE_S)
    redis_server.restart()
    subscriber = redis_server.client().pubsub(ignore_subscribe_messages=True)
    for channel in ("c", settings.own_channel):  # as the source does it, its own behind all others
        assert queue.finished == 0
        subscriber.subscribe(channel)
        assert subscriber.get_message(timeout=PATIENCE_S) is None  # the confirmation
    heard = []
    while b"1" not in heard:
        message = subscriber.get_message(timeout=PATIENCE_S)
        heard += [message["data"]] if message else []
    queue.finish()


def fill(queue: Publisher, waits: threading.Event) -> int:
    """Put messages until one has to wait; returns how many that were."""
    count = 0
    while not waits.is_set():
        queue.put("c", b"")
        count += 1
    return count


def test_nobody_waits_for_room_when_there_is_no_time_left(
    monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    monkeypatch.setattr(publisher, "QUEUE_LIMIT_BYTES", 1500)
    said: list[str] = []
    waits = threading.Event()
    queue = Publisher(NOWHERE, said.append, waits.set)
    filler = threading.Thread(target=fill, args=(queue, waits))
    filler.start()
    assert waits.wait(PATIENCE_S)
    queue.hurry()
    filler.join(PATIENCE_S)
    assert not filler.is_alive()
    queue.finish()
    # 150 bytes each beside the text: ten have found room, and the one that waited has not.
    assert said == ["11 messages could not be published to Redis at 127.0.0.1:1"]
    assert queue.lost == 11


@pytest.fixture
def heard(redis_server: RedisServer) -> Iterator[Callable[[int], list[bytes]]]:
    """What has been published on the channel c, so many messages of it."""
    subscriber = redis_server.client().pubsub(ignore_subscribe_messages=True)
    subscriber.subscribe("c")
    assert subscriber.get_message(timeout=PATIENCE_S) is None  # the confirmation
    yield lambda count: [subscriber.get_message(timeout=PATIENCE_S)["data"] for _ in range(count)]
    assert subscriber.get_message() is None


def publish(settings: RedisSettings, *messages: tuple[int | None, str]) -> dict[str, int]:
    """What one sink publishes in its life; returns what it has counted."""
    queue = Publisher(settings, lambda text: None)
    for seq, text in messages:
        queue.put("c", text.encode(), seq)
    queue.finish()
    assert queue.finished == queue.accepted == len(messages)
    return queue.take_counts()


def test_the_next_sink_publishes_only_what_the_last_one_had_not(
    redis_server: RedisServer, heard: Callable[[int], list[bytes]]
) -> None:
    settings = RedisSettings(redis_server.url, server="one", run="r")
    assert publish(settings, (3, "3a"), (4, "4a"), (4, "4b"), (None, "x")) == {}
    assert heard(4) == [b"3a", b"4a", b"4b", b"x"]
    # The next chain gets these events again. What has no number goes, wherever it stands.
    again = (3, "3a"), (None, "y"), (4, "4a"), (4, "4b"), (None, "z"), (4, "4c"), (5, "5a")
    assert publish(settings, *again) == {"publishes suppressed": 3}
    assert heard(4) == [b"y", b"z", b"4c", b"5a"]
    assert 3000 < redis_server.client().ttl("fws:published:one-r") <= 3600
    # Another run of the server begins anew, and by hand there is no telling one from the other.
    assert publish(RedisSettings(redis_server.url, server="one", run="s"), (3, "3a")) == {}
    assert (
        publish(RedisSettings(redis_server.url), (3, "3a")) == publish(RedisSettings(redis_server.url), (3, "3a")) == {}
    )
    assert heard(3) == [b"3a"] * 3


def test_a_transaction_whose_answer_never_came_is_not_published_twice(
    redis_server: RedisServer, heard: Callable[[int], list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Any] = []

    class Unlucky:
        """Loses the first answer to a transaction, as a connection does that breaks."""

        def __init__(self, client: Any) -> None:
            self.get, self.publish, self.close, self._client = client.get, lambda *_: 1, client.close, client

        def pipeline(self, **options: Any) -> Any:
            pipeline = self._client.pipeline(**options)
            execute = pipeline.execute

            def execute_and_lose() -> None:
                attempts.append(execute())
                if len(attempts) == 1:
                    raise redis.ConnectionError("gone")

            pipeline.execute = execute_and_lose
            return pipeline

    monkeypatch.setattr(publisher, "connect", lambda settings: Unlucky(redis_link.connect(settings)))
    counts = publish(RedisSettings(redis_server.url, run="r"), *[(number, str(number)) for number in range(5)])
    assert heard(5) == [b"0", b"1", b"2", b"3", b"4"]
    assert counts["redis lost by the sink"] == 1
    assert counts["publishes suppressed"] >= 1


def test_who_may_not_keep_the_progress_publishes_all_the_same(tmp_path: Path) -> None:
    with start_or_skip(
        "valkey", tmp_path, "--user", "anna", "on", ">pw", "resetkeys", "allchannels", "+@all"
    ) as redis_server:
        subscriber = redis_server.client().pubsub(ignore_subscribe_messages=True)
        subscriber.subscribe("c")
        assert subscriber.get_message(timeout=PATIENCE_S) is None
        said: list[str] = []
        queue = Publisher(RedisSettings(f"redis://anna:pw@{HOST}:{redis_server.port}/0", run="r"), said.append)
        for number in range(3):
            queue.put("c", b"%d" % number, number)
        queue.finish()
        assert [subscriber.get_message(timeout=PATIENCE_S)["data"] for _ in range(3)] == [b"0", b"1", b"2"]
    [line] = said
    assert line.startswith("after a crash publishes may be repeated: Redis at ")


def test_a_redis_that_is_full_still_publishes(redis_server: RedisServer, heard: Callable[[int], list[bytes]]) -> None:
    redis_server.client().config_set("maxmemory", "1")
    said: list[str] = []
    queue = Publisher(RedisSettings(redis_server.url, run="r"), said.append)
    for number in range(3):
        queue.put("c", b"%d" % number, number)
    queue.finish()
    assert heard(3) == [b"0", b"1", b"2"]
    [line] = said
    assert line.startswith("after a crash publishes may be repeated: Redis at ")
    assert queue.take_counts() == {}


def test_a_sink_that_stands_by_publishes_nothing_before_it_begins(
    redis_server: RedisServer, heard: Callable[[int], list[bytes]]
) -> None:
    settings = RedisSettings(redis_server.url, server="one", run="r")
    assert publish(settings, (3, "3")) == {}
    successor = Publisher(settings, lambda text: None, stands_by=True)
    successor.put("c", b"an answer to a replayed open", 2)
    # Meanwhile the old chain goes on; what it leaves unfinished the successor gets again.
    assert publish(settings, (4, "4"), (5, "5")) == {}
    assert heard(3) == [b"3", b"4", b"5"]
    assert successor.finished == 0
    successor.begin()
    for seq in (4, 5, 6):
        successor.put("c", b"%d" % seq, seq)
    successor.finish()
    assert heard(1) == [b"6"]
    assert successor.take_counts() == {"publishes suppressed": 3}


def test_a_sink_that_never_begins_drops_what_it_has(
    redis_server: RedisServer, heard: Callable[[int], list[bytes]]
) -> None:
    said: list[str] = []
    queue = Publisher(RedisSettings(redis_server.url, run="r"), said.append, stands_by=True)
    queue.put("c", b"2", 2)
    queue.finish()
    assert heard(0) == []
    assert said == []
    assert queue.lost == 0


def test_a_successor_whose_introduction_fills_the_queue_begins_at_once(
    redis_server: RedisServer, heard: Callable[[int], list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "QUEUE_LIMIT_BYTES", 300)
    queue = Publisher(RedisSettings(redis_server.url, run="r"), lambda text: None, stands_by=True)
    for seq in range(9):
        queue.put("c", b"%d" % seq, seq)
    queue.finish()
    assert heard(9) == [b"%d" % seq for seq in range(9)]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2 * publisher._BATCH_BYTES)))
def test_a_batch_is_as_much_as_fits_or_one_message(sizes: list[int]) -> None:
    messages = [Message("c", bytes(size), None) for size in sizes]
    batch = publisher._first_bytes(messages)
    assert batch == messages[: len(batch)]
    assert len(batch) >= min(1, len(messages))
    assert len(batch) <= 1 or sum(message.size for message in batch) <= publisher._BATCH_BYTES
    assert sum(message.size for message in messages[: len(batch) + 1]) > publisher._BATCH_BYTES or batch == messages
