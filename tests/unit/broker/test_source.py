"""A subscription reads whole messages, however they arrive."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from fws_pipe.broker.connection import RedisSettings, connect
from fws_pipe.broker.source import Backlog, Source, _Subscription
from tests.redis_servers import HOST, RedisServer

PIECE_BYTES = 8192


@contextmanager
def slow_network_to(port: int) -> Iterator[int]:
    """A port that passes on what Redis says in pieces, with a pause after each."""
    with socket.create_server((HOST, 0)) as listener, socket.create_connection((HOST, port)) as server:

        def pass_on_answers(client: socket.socket) -> None:
            while block := server.recv(PIECE_BYTES):
                client.sendall(block)
                ended.wait(0.01)

        def pass_on_requests() -> None:
            client, _ = listener.accept()
            with client:
                answers = threading.Thread(target=pass_on_answers, args=(client,))
                answers.start()
                while block := client.recv(PIECE_BYTES):
                    server.sendall(block)
                server.shutdown(socket.SHUT_RDWR)
                answers.join()

        ended = threading.Event()
        requests = threading.Thread(target=pass_on_requests)
        requests.start()
        yield listener.getsockname()[1]
        ended.set()
        requests.join()


@pytest.mark.parametrize("size", [10, 20_000, 1_000_000])
def test_a_message_that_arrives_in_pieces_is_read_whole(redis_server: RedisServer, size: int) -> None:
    with (
        slow_network_to(redis_server.port) as port,
        closing(connect(RedisSettings(f"redis://{HOST}:{port}"))) as client,
    ):
        subscription = _Subscription(client.pubsub(), ["c"], False)
        subscription.confirm()
        for number in range(3):
            redis_server.client().publish("c", b"%d" % number * size)
        received: list[bytes] = []
        while len(received) < 3:
            received += [message["data"] for message in subscription.receive()]
        assert received == [b"%d" % number * size for number in range(3)]
        subscription.close()


@pytest.mark.parametrize(
    ("key", "option", "name"),
    [
        ("fws", "", "fws:source"),
        ("fws", "?client_name=eve", "eve/fws:source"),
        ("a räum/e", "?client_name=e/v:e", "e/v:e/a%20r%C3%A4um%2Fe:source"),  # Redis takes no space, and ASCII only
    ],
)
def test_a_subscription_has_a_name(redis_server: RedisServer, key: str, option: str, name: str) -> None:
    said: list[str] = []
    settings = RedisSettings(f"redis://{HOST}:{redis_server.port}{option}", key)
    assert names_of_two_subscriptions(redis_server, Source(settings, said.append), settings) == [name, name]
    assert settings.is_source(name)
    assert said == []


def test_who_may_not_name_itself_subscribes_all_the_same_and_says_so_once(redis_server: RedisServer) -> None:
    redis_server.client().execute_command("ACL", "SETUSER", "default", "-client|setname")
    said: list[str] = []
    settings = RedisSettings(redis_server.url)
    assert names_of_two_subscriptions(redis_server, Source(settings, said.append), settings) == ["", ""]
    [line] = said
    assert line.startswith("other servers do not wait while this one reads slowly: Redis at ")


def names_of_two_subscriptions(redis_server: RedisServer, source: Source, settings: RedisSettings) -> list[str]:
    with closing(connect(settings)) as client:
        subscriptions = [source._subscribe(client, ["c"], False) for _ in range(2)]
        for subscription in subscriptions:
            subscription.confirm()
        return [subscriber["name"] for subscriber in redis_server.client().client_list(_type="pubsub")]


def test_ticks_do_not_wait_behind_a_busy_channel() -> None:
    """The front takes a source that returns no tick for one that hangs."""
    may_write, begun, blocks = threading.Semaphore(0), threading.Semaphore(0), list[list[bytes]]()

    def write(frames: list[bytes]) -> None:
        begun.release()
        may_write.acquire()
        blocks.append(frames)

    backlog = Backlog(write)
    backlog.put([b"first message"])
    begun.acquire()
    backlog.put([b"second message"])
    backlog.put([b"third message"])
    backlog.put_first([b"tick"])
    may_write.release()
    begun.acquire()
    backlog.put_first([b"count"])
    stopping = threading.Thread(target=backlog.stop)
    stopping.start()
    may_write.release(3)
    stopping.join()
    assert blocks[:2] == [[b"first message"], [b"tick", b"second message"]]
    assert blocks[2][0] == b"count", "what goes first is written before the end"
