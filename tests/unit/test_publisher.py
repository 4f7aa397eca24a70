"""The queue to Redis: bounded, in order, and what is lost is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fws_pipe import publisher, redis_link
from fws_pipe.abroad import RedisAbroad
from fws_pipe.publisher import Publisher
from fws_pipe.redis_link import RedisSettings
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
    assert line.startswith("what goes to channel 'secret' is not published: Redis at ")
    assert "the data" not in line


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
    assert queue.take_counts() == {"publishes lost": 11}


def test_nothing_that_a_filter_publishes_passes_for_a_servers_word(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = RedisSettings(redis_server.url, key="own", run="r")
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    subscriber = redis_server.client().pubsub(ignore_subscribe_messages=True)
    subscriber.subscribe("own:servers", "other")
    assert [subscriber.get_message(timeout=PATIENCE_S) for _ in range(2)] == [None, None]  # the confirmations
    abroad = RedisAbroad(lambda: None)
    for channel in ("own:servers", "own:servers", "other"):
        abroad.publish({"type": "publish", "channel": channel, "data": "x"})
    abroad.finish()
    assert subscriber.get_message(timeout=PATIENCE_S)["channel"] == b"other"
    assert abroad.take_counts() == {"publishes to the servers' channel": 2}
    assert capsys.readouterr().err.count("'own:servers', which is the servers' own channel") == 1
