"""Redis as the broker: what may be published, and which numbers are believed."""

from __future__ import annotations

import threading

import pytest

from fws_pipe.broker import STANDBY_VARIABLE
from fws_pipe.broker.redis_broker import RedisBroker
from fws_pipe.broker.settings import RedisSettings
from tests.harness import PATIENCE_S
from tests.redis_servers import RedisServer


def test_nothing_that_a_filter_publishes_passes_for_a_servers_word(
    redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = RedisSettings(redis_server.url, key="own", run="r")
    subscriber = redis_server.client().pubsub(ignore_subscribe_messages=True)
    subscriber.subscribe("own:servers", "other")
    assert [subscriber.get_message(timeout=PATIENCE_S) for _ in range(2)] == [None, None]  # the confirmations
    broker = RedisBroker(settings.to_environment(), lambda: None)
    for channel in ("own:servers", "own:servers", "other"):
        broker.publish({"type": "publish", "channel": channel, "data": "x"})
    broker.finish()
    assert subscriber.get_message(timeout=PATIENCE_S)["channel"] == b"other"
    assert broker.take_counts() == {"publishes to the servers' channel": 2}
    assert capsys.readouterr().err.count("'own:servers', which is the servers' own channel") == 1


def test_a_number_that_a_filter_makes_up_silences_no_publish_after_a_crash(redis_server: RedisServer) -> None:
    environment = RedisSettings(redis_server.url, server="one", run="r").to_environment()
    subscriber = redis_server.client().pubsub(ignore_subscribe_messages=True)
    subscriber.subscribe("c")
    assert subscriber.get_message(timeout=PATIENCE_S) is None  # the confirmation
    heard = []
    for numbers in ((5, 1767225600000), (6, 7)):  # a sink, and that of the next chain
        broker = RedisBroker(environment, lambda: None)
        broker.note_tick(4)
        for number in numbers:
            broker.publish({"type": "publish", "channel": "c", "data": f"{number}", "seq": number})
        broker.finish()
        heard += [subscriber.get_message(timeout=PATIENCE_S)["data"] for _ in numbers]
    assert heard == [b"5", b"1767225600000", b"6", b"7"]


def test_the_sink_of_a_successor_publishes_behind_the_tick_that_follows_its_introductions(
    redis_server: RedisServer,
) -> None:
    settings = RedisSettings(redis_server.url, server="one", run="r")
    finished = threading.Event()
    broker = RedisBroker({**settings.to_environment(), STANDBY_VARIABLE: "1"}, lambda: None, finished.set)
    broker.publish({"type": "publish", "channel": "c", "data": "x", "seq": 1})
    broker.note_tick(1)
    assert (broker.accepted, broker.finished) == (1, 0)
    broker.note_tick(1)
    assert finished.wait(PATIENCE_S)
    broker.finish()
    assert broker.finished == 1
