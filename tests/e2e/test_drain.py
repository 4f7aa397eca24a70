"""The end of a server under load: what it has read is done, and what could not be is told."""

from __future__ import annotations

import itertools
import signal
import socket
import threading
import time
from contextlib import ExitStack, suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect

from tests.e2e.raw import CLOSE, RawClient, frame
from tests.harness import PATIENCE_S, Servers, eventually
from tests.redis_servers import RedisServer

SLOW = """#!/usr/bin/env fws-python
import time
from fws_pipe.sdk import on, run, send, publish

@on("message")
def answer(event):
    time.sleep({seconds})
    send(event["id"], event["data"])
    publish("news", event["data"])

run()
"""


def read_replies(client: RawClient, size: int, replies: list[int]) -> None:
    """Collect the numbers of the replies until the Close frame, which must be 1001."""
    while (head := client.read(2))[0] != 0x80 | CLOSE:
        assert head == bytes((0x81, size))
        replies.append(int(client.read(size)))
    assert client.read(head[1])[:2] == (1001).to_bytes(2, "big")


def test_what_was_read_is_answered_before_the_close(servers: Servers) -> None:
    """Clients send as fast as they can when the server is asked to stop: no reply is missing in between."""
    server = servers.start("cat | mirror")
    clients = [RawClient(server.port) for _ in range(10)]
    for client in clients:
        client.upgrade()
    stopped = threading.Event()

    def flood(client: RawClient) -> None:
        try:
            for number in range(1_000_000):
                if stopped.is_set():
                    break
                client.send(frame(b"%07d" % number))
        except OSError:
            pass

    senders = [threading.Thread(target=flood, args=(client,)) for client in clients]
    replies: list[list[int]] = [[] for _ in clients]
    readers = [
        threading.Thread(target=read_replies, args=(client, 7, answered))
        for client, answered in zip(clients, replies, strict=True)
    ]
    for thread in (*senders, *readers):
        thread.start()
    eventually(lambda: all(len(answered) > 1000 for answered in replies), "some load")
    assert server.stop() == 0
    stopped.set()
    for thread in (*senders, *readers):
        thread.join(PATIENCE_S)
    for client in clients:
        client.socket.close()
    assert all(answered == list(range(len(answered))) for answered in replies)
    assert "has not finished" not in server.stderr.text


def test_publishes_are_confirmed_before_the_end(servers: Servers, redis_server: RedisServer) -> None:
    slow = servers.script("slow", SLOW.format(seconds=0.005))
    server = servers.start("--redis-url", redis_server.url, slow)
    with redis_server.client() as redis:
        listener = redis.pubsub()
        listener.subscribe("news")
        assert listener.get_message(timeout=PATIENCE_S)["type"] == "subscribe"
        with connect(server.url) as client:
            for number in range(100):
                client.send(str(number))
            assert client.recv(PATIENCE_S) == "0"
            server.signal(signal.SIGTERM)
            assert [client.recv(PATIENCE_S) for _ in range(99)] == [str(number) for number in range(1, 100)]
            assert server.wait() == 0
        heard = [listener.get_message(timeout=PATIENCE_S)["data"] for _ in range(100)]
        assert heard == [b"%d" % number for number in range(100)]
        listener.close()


def test_what_is_left_at_the_drain_timeout_is_told(servers: Servers) -> None:
    server = servers.start("--drain-timeout", "1", servers.script("slow", SLOW.format(seconds=0.1)))
    with connect(server.url) as client:
        for number in range(100):
            client.send(str(number))
        assert client.recv(PATIENCE_S) == "0"
        server.signal(signal.SIGTERM)
        assert server.wait() == 6
    [line] = [line for line in server.stderr.lines if "stopped with" in line]
    assert "events that the chain has not finished; a longer --drain-timeout gives them more time" in line


def test_publishes_that_redis_does_not_take_are_told(servers: Servers, redis_server: RedisServer) -> None:
    server = servers.start("--redis-url", redis_server.url, "--drain-timeout", "2", "publish news | mirror")
    with connect(server.url) as client:
        client.send("1")
        assert client.recv(PATIENCE_S) == "1"
        redis_server.stop()
        for number in range(3):
            client.send(str(number))
            assert client.recv(PATIENCE_S) == str(number)
        server.signal(signal.SIGTERM)
        assert server.wait() == 6
    assert "publishes that Redis has not confirmed" in server.stderr.text


def test_many_clients_that_answer_at_once_have_all_closed_in_order(servers: Servers) -> None:
    server = servers.start(servers.reporter())
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(server.port)) for _ in range(300)]
        for client in clients:
            client.upgrade()
        server.signal(signal.SIGTERM)
        for client in clients:
            head = client.read(2)
            client.send(frame(client.read(head[1]), CLOSE))
        assert server.wait() == 0
    gone = server.events("disconnect", 300)
    assert [(event["code"], event["clean"]) for event in gone] == [(1001, True)] * 300


def test_clients_are_closed_one_after_the_other_and_told_when_to_return(servers: Servers) -> None:
    server = servers.start("--drain-over", "2s", "mirror")
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server.url)) for _ in range(8)]
        server.signal(signal.SIGTERM)
        ended = threading.Semaphore(0)
        closed: list[float] = []
        seen: list[tuple[int, str]] = []
        heard: list[str | bytes] = []

        def follow(client: ClientConnection) -> None:
            with suppress(ConnectionClosed):
                while True:
                    heard.append(client.recv(PATIENCE_S))
            closed.append(time.monotonic())
            assert client.close_code is not None
            seen.append((client.close_code, client.close_reason or ""))
            ended.release()

        threads = [threading.Thread(target=follow, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        assert ended.acquire(timeout=PATIENCE_S)
        last = next(client for client in clients if client.state is State.OPEN)
        last.send("still served")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
        for thread in threads:
            thread.join(PATIENCE_S)
        assert server.wait() == 0
    assert seen == [(1012, "the server restarts: try again in 2 s")] * 8
    assert heard == ["still served"]
    gaps = [after - before for before, after in itertools.pairwise(sorted(closed))]
    assert min(gaps) > 0.02, "one by one"


def test_a_signal_closes_the_clients_that_are_left_at_once(servers: Servers) -> None:
    server = servers.start("--drain-over", "5m", "mirror")
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server.url)) for _ in range(3)]
        server.signal(signal.SIGTERM)
        server.stderr.wait_for("closing the clients over 300 s, then draining for up to 10 s")
        clients[0].send("1")
        assert clients[0].recv(PATIENCE_S) == "1"
        server.signal(signal.SIGTERM)
        for client in clients:
            with pytest.raises(ConnectionClosed):
                client.recv(PATIENCE_S)
            assert (client.close_code, client.close_reason) == (1012, "the server restarts: try again in 300 s")
        assert server.wait() == 0
