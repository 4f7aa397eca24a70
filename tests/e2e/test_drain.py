"""The end of a server under load: what it has read is done, and what could not be is told."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack

from websockets.sync.client import connect

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
    assert "events that the chain has not finished; --drain-timeout says how long that may take" in line


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
