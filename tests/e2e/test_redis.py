"""Redis as users see it: channels in and out, groups across servers, membership, a Redis that goes and comes."""

from __future__ import annotations

import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import IO

import pytest
from websockets.sync.client import connect

from fws_pipe.broker.connection import REPLY_TIMEOUT_S
from fws_pipe.broker.membership import Membership
from fws_pipe.broker.settings import RedisSettings
from fws_pipe.config.topics import text_of
from fws_pipe.protocol.codec import encode
from tests.conftest import start_or_skip
from tests.e2e.test_chain import children_of, stage_of
from tests.harness import PATIENCE_S, Server, Servers, eventually
from tests.redis_servers import RedisServer, start_cluster, start_sentinel

SEND = {"type": "send", "to": "*"}
SOURCE = [sys.executable, "-P", "-m", "fws_pipe.broker.source"]


def with_redis(servers: Servers, redis: RedisServer, *arguments: str) -> Server:
    return servers.start("--redis-url", redis.url, *arguments)


def redis_cli(redis: RedisServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = shutil.which("redis-cli")
    if command is None:
        pytest.skip("redis-cli is not installed")
    return subprocess.run(
        [command, "-p", str(redis.port), *arguments], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )


def keys(redis: RedisServer) -> list[bytes]:
    """The keys that are left; how far a server has got with publishing stays there for an hour."""
    return [key for key in redis.client().keys("*") if not key.startswith(b"fws:published:")]


def members(redis: RedisServer, group: str) -> set[str]:
    membership = Membership(RedisSettings(redis.url))
    try:
        return membership.members(group)
    finally:
        membership.close()


def test_what_redis_cli_publishes_reaches_every_client_of_every_server(
    servers: Servers, any_redis_server: RedisServer
) -> None:
    first = with_redis(servers, any_redis_server, "broadcast_pubsub")
    second = with_redis(servers, any_redis_server, "broadcast_pubsub")
    with connect(first.url) as alice, connect(second.url) as bob:
        redis_cli(any_redis_server, "publish", "global", "hi")
        assert alice.recv(PATIENCE_S) == bob.recv(PATIENCE_S) == "hi"


def test_what_a_client_says_reaches_any_subscriber_as_the_plain_payload(
    servers: Servers, any_redis_server: RedisServer
) -> None:
    server = with_redis(servers, any_redis_server, "publish")
    subscriber = any_redis_server.client().pubsub(ignore_subscribe_messages=True)
    subscriber.subscribe("global")
    assert subscriber.get_message(timeout=PATIENCE_S) is None  # the confirmation
    with connect(server.url) as client:
        for data in ("hello", b"\x00\xff", "café"):
            client.send(data)
            message = subscriber.get_message(timeout=PATIENCE_S)
            assert message is not None
            assert message["data"] == (data if isinstance(data, bytes) else data.encode())


def test_channels_and_patterns(servers: Servers, redis_server: RedisServer) -> None:
    server = with_redis(
        servers, redis_server, "--redis-channels", "news,chat.*", "--redis-channels", "*", "stdout_pubsub"
    )
    assert server.port
    redis_server.client().publish("chat.7", "seven")
    server.stdout.wait_for("^chat.7 => seven$", 2)
    redis_server.client().publish("news", b"\xff")
    server.stdout.wait_for(r"^news => b'\\xff'$", 2)


def test_a_group_spans_servers(servers: Servers, redis_server: RedisServer) -> None:
    first = with_redis(servers, redis_server, "broadcast_by_token")
    second = with_redis(servers, redis_server, "broadcast_by_token")
    with (
        connect(first.url) as alice,
        connect(first.url) as bob,
        connect(second.url) as carol,
        connect(second.url) as dan,
    ):
        for client in (alice, bob, carol):
            client.send("token:tea")
            assert client.recv(PATIENCE_S) == "Successfully registered with broadcast group: tea"
        dan.send("hello?")
        assert dan.recv(PATIENCE_S) == "Error: No token has been set"
        dan.send("token:coffee")
        assert dan.recv(PATIENCE_S) == "Successfully registered with broadcast group: coffee"
        alice.send("tea time")
        assert bob.recv(PATIENCE_S) == carol.recv(PATIENCE_S) == "tea time"
        carol.send("token:coffee")
        assert carol.recv(PATIENCE_S) == "Successfully registered with broadcast group: coffee"
        alice.send("who is left?")
        assert bob.recv(PATIENCE_S) == "who is left?"
        dan.send("welcome")
        assert carol.recv(PATIENCE_S) == "welcome"


def test_broadcast_reaches_the_clients_of_all_servers_but_not_the_sender(
    servers: Servers, redis_server: RedisServer
) -> None:
    first, second = (with_redis(servers, redis_server, "broadcast") for _ in range(2))
    with connect(first.url) as alice, connect(first.url) as bob, connect(second.url) as carol:
        alice.send("1")
        carol.send("2")
        assert sorted([bob.recv(PATIENCE_S), bob.recv(PATIENCE_S)]) == ["1", "2"]
        assert alice.recv(PATIENCE_S) == "2"
        assert carol.recv(PATIENCE_S) == "1"


def test_servers_with_different_prefixes_do_not_hear_each_other(servers: Servers, redis_server: RedisServer) -> None:
    first = with_redis(servers, redis_server, "--redis-key", "one", "broadcast")
    second = with_redis(servers, redis_server, "--redis-key", "two", "broadcast | broadcast_pubsub")
    with connect(first.url) as alice, connect(second.url) as bob:
        alice.send("for servers of prefix one")
        redis_server.client().publish("global", "for all")
        assert bob.recv(PATIENCE_S) == "for all"


def test_membership_is_kept_and_goes_with_its_server(servers: Servers, redis_server: RedisServer) -> None:
    options = ("--presence-expiry", "2", "broadcast_by_token")
    first = with_redis(servers, redis_server, "--name", "one", *options)
    second = with_redis(servers, redis_server, "--name", "two", *options)
    with connect(first.url) as alice, connect(second.url) as bob, connect(second.url) as carol:
        for client in (alice, bob, carol):
            client.send("token:tea")
            assert client.recv(PATIENCE_S)
        eventually(lambda: members(redis_server, "token:tea") == {"one-1", "two-1", "two-2"}, "membership")
        carol.close()
        eventually(lambda: members(redis_server, "token:tea") == {"one-1", "two-1"}, "a client that has gone")
        second.crash()
        eventually(lambda: members(redis_server, "token:tea") == {"one-1"}, "the members of a dead server expire")
        eventually(lambda: redis_server.client().smembers("fws:presence") == {b"one"}, "its name is cleared away")
    assert first.stop() == 0
    assert keys(redis_server) == []


def test_two_servers_can_not_have_one_name(servers: Servers, redis_server: RedisServer) -> None:
    options = ("--name", "one", "--presence-expiry", "2", "broadcast")
    first = with_redis(servers, redis_server, *options)
    with connect(first.url) as alice, connect(first.url) as bob:
        second = with_redis(servers, redis_server, *options)
        assert second.wait() == 2
        assert "fws-pipe: --name one: another server" in second.stderr.lines[-1]
        assert "names must differ" in second.stderr.lines[-1]
        alice.send("still here")
        assert bob.recv(PATIENCE_S) == "still here"
    first.crash()
    again = with_redis(servers, redis_server, *options)
    assert again.port, "a dead server's name is free when it has expired"
    assert again.stop() == 0
    assert keys(redis_server) == []
    # One that never comes to serve gives its name back as well.
    assert with_redis(servers, redis_server, *options[:-1], "exit 3").wait() == 3
    assert keys(redis_server) == []


def test_what_others_may_publish_is_no_power_over_clients(servers: Servers, redis_server: RedisServer) -> None:
    server = with_redis(servers, redis_server, "publish fws:servers")
    with connect(server.url) as alice:
        relay: dict[str, object] = {"type": "relay", "origin": "x", "run": "r", "number": 1}
        close = encode({**relay, "action": {"type": "close", "to": "*"}})
        redis_server.client().publish("fws:servers", close)
        alice.send(close)
        server.stderr.wait_for("sink: dropped a publish to 'fws:servers', which is the servers' own channel")
        redis_server.client().publish("fws:servers", encode({**relay, "action": {**SEND, "data": "still here"}}))
        assert alice.recv(PATIENCE_S) == "still here"
    assert server.stop() == 0
    server.stderr.wait_for("counted.*publishes to the servers' channel: 1")


def test_a_full_queue_holds_back_no_reply_and_what_is_lost_with_it_is_told(
    servers: Servers, redis_server: RedisServer
) -> None:
    options = ("--drain-timeout", "0.5", "--max-message", "2M", "--outbox-limit", "8M")
    server = with_redis(servers, redis_server, *options, "publish | mirror")
    with connect(server.url, max_size=None) as client:
        redis_server.kill()
        for _ in range(16):
            client.send(bytes(2**20))
            client.recv(PATIENCE_S)
        client.send("the queue is full")
        assert client.recv(PATIENCE_S) == "the queue is full"
        server.signal(signal.SIGTERM)
        server.stderr.wait_for("sink: 17 messages could not be published to Redis at 127.0.0.1")
    server.wait()
    assert "SIGKILL" not in server.stderr.text
    server.stderr.wait_for("counted.*publishes lost: 17")


def _source_of(servers: Servers) -> int:
    return next(
        pid for pid in servers.processes() if b"fws_pipe.broker.source" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


_IMPATIENT = """
from fws_pipe.cli import entry
from fws_pipe.front import membership_changes, source_link
membership_changes.HEARTBEAT_S, source_link.SILENCE_S = 1.0, 3.0
entry.fws_pipe()
"""
"""A server that asks its source for a sign of life each second, instead of 5, and waits 3 s for it, instead of 15."""


def test_a_source_that_hangs_is_replaced(servers: Servers, redis_server: RedisServer) -> None:
    options = ("--port", "0", "--redis-url", redis_server.url)
    server = servers.start_command(sys.executable, "-c", _IMPATIENT, *options, "broadcast_pubsub")
    with connect(server.url) as client:
        os.kill(_source_of(servers), signal.SIGSTOP)
        server.stderr.wait_for("source hangs: it has not answered for 3 s; the source starts again")
        server.stderr.wait_for("the source serves again")
        redis_server.client().publish("global", "hi")
        assert client.recv(PATIENCE_S) == "hi"


def test_a_source_answers_the_server_while_redis_does_not_answer(servers: Servers, redis_server: RedisServer) -> None:
    settings = RedisSettings(redis_server.url, server="one", run="r", expiry_s=1.0)
    with subprocess.Popen(
        SOURCE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=servers.environment(**settings.to_environment()),
    ) as source:
        assert source.stdin
        assert source.stdout
        answers: queue.Queue[bytes] = queue.Queue()
        reader = threading.Thread(target=_collect, args=(source.stdout, answers))
        reader.start()
        for number in range(3):
            who = encode({"type": "presence", "id": str(number), "groups": []})
            tick = encode({"type": "tick", "seq": number, "time": 0.0})
            source.stdin.write(who + tick)
            source.stdin.flush()
            assert answers.get(timeout=REPLY_TIMEOUT_S / 2) == tick
            if number == 0:
                eventually(lambda: redis_server.client().exists("fws:presence:one") == 1, "membership")
                os.kill(redis_server.pid, signal.SIGSTOP)
        os.kill(redis_server.pid, signal.SIGCONT)
        source.stdin.close()
        assert source.wait(PATIENCE_S) == 0
        reader.join(PATIENCE_S)
    assert keys(redis_server) == []


def _collect(file: IO[bytes], blocks: queue.Queue[bytes]) -> None:
    while block := os.read(file.fileno(), 65536):
        blocks.put(block)


def test_a_source_by_hand_and_large_messages_both_ways(servers: Servers, redis_server: RedisServer) -> None:
    environment = servers.environment(FWS_REDIS_URL=redis_server.url)
    subprocess.run(["mkfifo", servers.folder / "back"], check=True)
    chain = "fws-front --port 0 --outbox-limit 64M <back | broadcast_pubsub | mirror | fws-sink >back"
    server = servers.start_command("/bin/sh", "-c", chain, environment=environment)
    with connect(server.url, max_size=None) as client:
        line = f"exec {shlex.join(SOURCE)} news 'chat.*' >back"
        source = servers.start_command("/bin/sh", "-c", line, environment=environment)
        redis = redis_server.client()
        eventually(lambda: redis.pubsub_numpat() == 1, "the source has subscribed: to patterns last")
        assert redis.info("commandstats")["cmdstat_subscribe"]["calls"] == 1, "a check would pass for the subscriber"
        assert redis.publish("news", "up") == 1
        count, size = 500, 30_000
        received: Counter[tuple[str, int]] = Counter()

        def receive() -> None:
            while received.total() < 1 + 2 * count:
                message = str(client.recv(PATIENCE_S))
                received[message[0], len(message)] += 1

        receiving = threading.Thread(target=receive)
        receiving.start()
        for _ in range(count):
            redis.publish("chat.1", "p" * size)
            client.send("m" * size)
        receiving.join(2 * PATIENCE_S)
        assert received == {("u", 2): 1, ("p", size): count, ("m", size): count}
    source.process.kill()
    source.wait()
    servers.interrupt("fws-front")
    server.wait()
    assert "broken frame" not in server.stderr.text


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--redis-url", "redis://:gehe1m@[::1"], {}, "--redis-url: expected a URL"),
        ([], {"FWS_REDIS_URL": "gehe1m"}, "FWS_REDIS_URL: expected a URL"),
        (["--redis-url", "redis://:gehe1m@localhost:1?foo=1"], {}, "leave ?foo= out"),
        (["--redis-url", "redis://:gehe1m@localhost:1?db=x"], {}, "has an option that redis-py doesn't take"),
        ([], {"FWS_REDIS": "redis://:gehe1m@localhost"}, "FWS_REDIS is not as fws-pipe sets it"),
        (["--redis-sharded", "a*"], {}, "'a*' is a pattern"),
    ],
)
def test_mistakes_with_a_source_by_hand_are_one_line_without_the_password(
    servers: Servers, arguments: list[str], environment: dict[str, str], words: str
) -> None:
    source = servers.start_command(*SOURCE, *arguments, environment=servers.environment(**environment))
    assert source.wait() == 2
    (line,) = source.stderr.lines
    assert words in line
    assert "gehe1m" not in line


def test_redis_restarts_in_the_middle(servers: Servers, redis_server: RedisServer) -> None:
    server = with_redis(servers, redis_server, "mirror | publish | broadcast_pubsub")
    with connect(server.url) as client:
        client.send("before")
        assert [client.recv(PATIENCE_S), client.recv(PATIENCE_S)] == ["before", "before"]
        redis_server.kill()
        server.stderr.wait_for("source: Redis at 127.0.0.1:[0-9]+ .*what is published meanwhile is missed")
        for number in range(100):
            client.send(f"meanwhile {number}")
            assert client.recv(PATIENCE_S) == f"meanwhile {number}"
        server.stderr.wait_for("sink: publishing waits: Redis at 127.0.0.1:[0-9]+ can't be reached")
        redis_server.restart()
        server.stderr.wait_for("source: subscribed again to Redis at 127.0.0.1:[0-9]+, after [0-9.]+ s")
        server.stderr.wait_for("sink: publishing again, after [0-9.]+ s")
        client.send("after")
        received: list[str | bytes] = []
        while received.count("after") < 2:
            received.append(client.recv(PATIENCE_S))
        assert received.count("after") == 2
    assert server.stop() == 0
    server.stderr.wait_for("counted.*redis lost by the source: 1")
    server.stderr.wait_for("counted.*redis found again by the source: 1")


def test_publishes_wait_while_redis_is_away_and_arrive_in_order(servers: Servers, redis_server: RedisServer) -> None:
    server = with_redis(servers, redis_server, "mirror | publish waiting")
    with connect(server.url) as client:
        client.send("0")
        assert client.recv(PATIENCE_S) == "0"
        redis_server.kill()
        for number in range(1, 500):
            client.send(str(number))
            assert client.recv(PATIENCE_S) == str(number)
        redis_server.restart()
        subscriber = redis_server.client().pubsub(ignore_subscribe_messages=True)
        subscriber.subscribe("waiting")
        subscriber.get_message(timeout=PATIENCE_S)
        client.send("500")
        received: list[bytes] = []
        while not received or received[-1] != b"500":
            message = subscriber.get_message(timeout=PATIENCE_S)
            assert message is not None
            received.append(message["data"])
        assert received == [str(number).encode() for number in range(501 - len(received), 501)]


class Listener:
    """Subscribes to a channel and collects what is published there."""

    def __init__(self, redis: RedisServer, channel: str) -> None:
        self._subscriber = redis.client().pubsub(ignore_subscribe_messages=True)
        self._subscriber.subscribe(channel)
        assert self._subscriber.get_message(timeout=PATIENCE_S) is None  # the confirmation

    def take(self, count: int) -> list[str]:
        return [self._subscriber.get_message(timeout=PATIENCE_S)["data"].decode() for _ in range(count)]

    def is_empty(self) -> bool:
        return self._subscriber.get_message() is None


def test_a_killed_sink_or_stage_loses_no_publish_and_repeats_none(servers: Servers, redis_server: RedisServer) -> None:
    server = with_redis(servers, redis_server, "cat | publish news | mirror")
    listener = Listener(redis_server, "news")
    with connect(server.url) as client:
        for turn, name in enumerate(["fws_pipe.chain.sink", "mirror", "fws_pipe.chain.sink", "publish"], 1):
            for number in range(100):
                client.send(f"{turn} {number}")
            assert client.recv(PATIENCE_S) == f"{turn} 0"
            os.kill(stage_of(server.pid, name), signal.SIGKILL)
            assert [client.recv(PATIENCE_S) for _ in range(99)] == [f"{turn} {number}" for number in range(1, 100)]
            server.stderr.wait_for("the chain serves again", count=turn)
            assert listener.take(100) == [f"{turn} {number}" for number in range(100)]
    assert server.stop() == 0
    assert listener.is_empty()


ANNOUNCE = """#!/usr/bin/env fws-python
from fws_pipe.sdk import on, publish, run

@on("open")
def came(event):
    publish("c", "here")

@on("message")
def said(event):
    publish("c", event["data"])

run()
"""


HALF = """#!/usr/bin/env fws-python
import sys
import msgpack

for frame in msgpack.Unpacker(sys.stdin.buffer.raw, read_size=1):
    if frame["type"] == "tick":
        sys.exit(1)
    sys.stdout.buffer.write(msgpack.packb(frame))
    sys.stdout.buffer.flush()
"""


def test_a_new_chain_publishes_only_when_it_has_taken_over(servers: Servers, redis_server: RedisServer) -> None:
    """Answers to its introduction went to Redis at once, also those of a chain that then failed."""
    config = servers.folder / "fws-pipe.toml"
    announce, half = servers.script("announce", ANNOUNCE), servers.script("half", HALF)
    config.write_text('chain = "mirror"')
    server = with_redis(servers, redis_server, "--config", str(config))
    listener = Listener(redis_server, "c")
    with connect(server.url) as client:
        for number in range(2):  # with the second one the tick behind the client's `open` is back
            client.send(str(number))
            assert client.recv(PATIENCE_S) == str(number)
        for chain, line in ((f"{announce} | {half}", "the old one goes on"), (announce, "the chain is replaced")):
            config.write_text(f'chain = "{chain}"')
            server.signal(signal.SIGHUP)
            server.stderr.wait_for(line)
            eventually(lambda: len(sinks_of(server)) == 1, "the other chain to end")
            assert chain == announce or listener.is_empty()
        client.send("more")
        assert listener.take(2) == ["here", "more"]
    assert server.stop() == 0
    assert listener.is_empty()


def sinks_of(server: Server) -> list[int]:
    return [pid for pid, line in children_of(server.pid).items() if "fws_pipe.chain.sink" in line]


def test_a_sink_that_somebody_has_told_to_end_publishes_all_the_same(
    servers: Servers, redis_server: RedisServer
) -> None:
    server = with_redis(servers, redis_server, "publish c | mirror")
    with connect(server.url) as client:
        os.kill(stage_of(server.pid, "fws_pipe.chain.sink"), signal.SIGTERM)
        redis_server.stop()
        client.send("while Redis is away")
        assert client.recv(PATIENCE_S) == "while Redis is away"
        server.stderr.wait_for("sink: publishing waits")
        redis_server.restart()
        server.stderr.wait_for("sink: publishing again")
    assert server.stop() == 0
    assert "lost:" not in server.stderr.text


def test_a_chain_that_dies_while_redis_is_away_publishes_all_when_it_is_back(
    servers: Servers, redis_server: RedisServer
) -> None:
    server = with_redis(servers, redis_server, "--stall-timeout", "5", "publish news | mirror")
    listener = Listener(redis_server, "news")
    with connect(server.url) as client:
        client.send("0")
        assert client.recv(PATIENCE_S) == "0"
        assert listener.take(1) == ["0"]
        os.kill(redis_server.pid, signal.SIGSTOP)
        for number in range(1, 50):
            client.send(str(number))
            assert client.recv(PATIENCE_S) == str(number), "local service goes on"
        os.kill(stage_of(server.pid, "fws_pipe.chain.sink"), signal.SIGKILL)
        server.stderr.wait_for(r"gets \d+ unfinished events again")
        client.send("50")
        assert client.recv(PATIENCE_S) == "50"
        os.kill(redis_server.pid, signal.SIGCONT)
        assert listener.take(50) == [str(number) for number in range(1, 51)]
    assert server.stop() == 0
    assert listener.is_empty()


@pytest.mark.slow
def test_a_sink_that_waits_for_redis_does_not_hang(servers: Servers, redis_server: RedisServer) -> None:
    # Room for all replies: this client reads none while a `send` of its own waits.
    options = ("--stall-timeout", "2", "--max-message", "2M", "--outbox-limit", "32M")
    server = with_redis(servers, redis_server, *options, "publish news | mirror")
    listener = Listener(redis_server, "news")
    # A Close frame that waits behind replies which nobody reads need not be waited for.
    with connect(server.url, max_size=None, close_timeout=1) as client, connect(server.url) as other:
        os.kill(redis_server.pid, signal.SIGSTOP)
        for _ in range(18):
            client.send(bytes(2**20))
        with pytest.raises(TimeoutError):
            while True:
                other.send("is anybody there?")
                other.recv(timeout=6.0)  # three times as long as the chain may owe a tick
        os.kill(redis_server.pid, signal.SIGCONT)
        assert other.recv(PATIENCE_S) == "is anybody there?"
    listener.take(18)
    assert "hangs" not in server.stderr.text


def test_a_killed_sink_repeats_nothing_to_other_servers(servers: Servers, redis_server: RedisServer) -> None:
    one = with_redis(servers, redis_server, "cat | broadcast")
    with connect(one.url) as talker, connect(one.url) as near:
        two = with_redis(servers, redis_server, "broadcast")
        with connect(two.url) as far:
            for number in range(200):
                talker.send(str(number))
            assert near.recv(PATIENCE_S) == far.recv(PATIENCE_S) == "0"
            os.kill(stage_of(one.pid, "fws_pipe.chain.sink"), signal.SIGKILL)
            talker.send("last")
            expected = [*map(str, range(1, 200)), "last"]
            assert [near.recv(PATIENCE_S) for _ in expected] == expected
            assert [far.recv(PATIENCE_S) for _ in expected] == expected


RIGHTS = (
    "+ping +get +set +expire +pttl +exists +del +hset +hlen +hdel +sadd +smembers +srem +multi +exec "
    "+publish +subscribe +psubscribe +unsubscribe +punsubscribe"
)
PACING_RIGHTS = "+client|list +client|setname"
STORAGE_RIGHTS = "+eval +rpush +ltrim +lrange +hget +hgetall"


def test_the_rights_that_the_documentation_names_are_enough_and_a_missing_one_is_named(
    servers: Servers, redis_server: RedisServer
) -> None:
    document = text_of("redis")
    shown = document[document.index("ACL SETUSER") :].split("\n- ")[0]
    assert {*RIGHTS.split(), *PACING_RIGHTS.split(), *STORAGE_RIGHTS.split()} == set(re.findall(r"\+[a-z|]+", shown))
    admin = redis_server.client()
    url = f"redis://chat:pw@127.0.0.1:{redis_server.port}"

    def allow(*rights: str) -> None:
        admin.execute_command("ACL", "SETUSER", "chat", "reset", "on", ">pw", "~fws:*", "-@all", *rights)

    allow("resetchannels", "&fws:*", "&global", *RIGHTS.split(), *PACING_RIGHTS.split())
    assert said_while_megabytes_are_published(servers, url) == []
    allow("resetchannels", "&fws:*", "&global", *RIGHTS.split())
    by_sink, by_source = sorted(said_while_megabytes_are_published(servers, url))
    assert "source: other servers do not wait while this one reads slowly: Redis at " in by_source
    assert "sink: publishing does not wait for servers that read slowly: Redis at " in by_sink
    for missing, named, options in (
        ("+hset", "HSET", ()),
        ("+publish", "publishing to channel", ()),
        ("&global", "subscribing to channel 'global'", ()),
        ("+eval", "EVAL", ("--storage", "redis")),
    ):
        allow("resetchannels", *(right for right in ("&fws:*", "&global", *RIGHTS.split()) if right != missing))
        server = servers.start("--redis-url", url, *options, "broadcast")
        assert server.wait() == 5
        [line] = server.stderr.lines
        assert f"does not allow this user {named}" in line
        assert "pw" not in line


def said_while_megabytes_are_published(servers: Servers, url: str) -> list[str]:
    """What a server says of Redis that publishes three megabytes and hears them."""
    server = servers.start("--redis-url", url, "publish | broadcast_pubsub")
    messages = [f"{number}" * 1_000_000 for number in range(3)]
    with connect(server.url) as client:
        for message in messages:
            client.send(message)
        assert [client.recv(PATIENCE_S) for _ in messages] == messages
    assert server.stop() == 0
    return [line for line in server.stderr.lines if "Redis" in line]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "stop"])
def test_storage_waits_for_redis_and_no_stage_dies(servers: Servers, redis_server: RedisServer, how: str) -> None:
    """A stage that waited for longer than --stall-timeout was killed, and its event skipped after the third time."""
    remember = servers.script(
        "remember",
        "#!/usr/bin/env fws-python\nimport os, sys\nfrom fws_pipe.sdk import on, run, send\n"
        "from fws_pipe.storage import open_storage\n"
        "storage = open_storage(os.environ)\n\n"
        "@on('message')\ndef remember(event):\n"
        "    print('asking', file=sys.stderr, flush=True)\n"
        "    storage.add('words', event['data'])\n"
        "    send(event['id'], ' '.join(sorted(storage['words'])))\n\nrun()\n",
    )
    chain = f"{remember} | to_json | tee frames | from_json"
    server = with_redis(servers, redis_server, "--storage", "redis", "--stall-timeout", "2", chain)
    frames = servers.folder / "frames"
    with connect(server.url) as client:
        client.send("before")
        assert client.recv(PATIENCE_S) == "before"
        if how == "kill":
            redis_server.kill()
        else:
            os.kill(redis_server.pid, signal.SIGSTOP)
        client.send("meanwhile")
        server.stderr.wait_for("asking", 2)
        eventually(lambda: frames.read_text().count('"alive"') >= 5, "that the stage has shown life for 5 s")
        if how == "kill":
            redis_server.restart()
        else:
            os.kill(redis_server.pid, signal.SIGCONT)
        assert client.recv(PATIENCE_S) == ("meanwhile" if how == "kill" else "before meanwhile")
    assert server.stop() == 0
    assert "skipped" not in server.stderr.text
    assert "chain starts again" not in server.stderr.text


def test_what_redis_never_got_is_told_at_the_end(servers: Servers, redis_server: RedisServer) -> None:
    server = with_redis(servers, redis_server, "--drain-timeout", "0.5", "mirror | publish")
    with connect(server.url) as client:
        redis_server.kill()
        for _ in range(3):
            client.send("lost")
            assert client.recv(PATIENCE_S) == "lost"
        server.signal(signal.SIGTERM)
        server.stderr.wait_for("sink: 3 messages could not be published to Redis at 127.0.0.1")
    server.wait()


def test_a_killed_source_comes_back(servers: Servers, redis_server: RedisServer) -> None:
    server = with_redis(servers, redis_server, "--name", "one", "broadcast_by_token | broadcast_pubsub")
    with connect(server.url) as client:
        client.send("token:tea")
        assert client.recv(PATIENCE_S)
        os.kill(_source_of(servers), signal.SIGKILL)
        server.stderr.wait_for("source was killed by SIGKILL; the source starts again")
        server.stderr.wait_for("the source serves again")
        redis_server.client().publish("global", "hi")
        assert client.recv(PATIENCE_S) == "hi"
        eventually(lambda: members(redis_server, "token:tea") == {"one-1"}, "membership is told again")


def test_a_cluster_with_sharded_channels(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> None:
    with start_cluster("valkey", tmp_path_factory.mktemp("cluster")) as cluster:
        options = ("--redis-url", cluster.url, "--redis-sharded", "--redis-channels", "global,news,weather")
        first, second = (servers.start(*options, "broadcast | broadcast_pubsub | publish news") for _ in range(2))
        with connect(first.url) as alice, connect(second.url) as bob:
            alice.send("hello")
            assert sorted([bob.recv(PATIENCE_S), bob.recv(PATIENCE_S)]) == ["hello", "hello"]
            assert alice.recv(PATIENCE_S) == "hello"


def test_a_sentinel(servers: Servers, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    with start_sentinel("valkey", tmp_path_factory.mktemp("sentinel"), redis_server) as sentinel:
        server = servers.start("--redis-url", sentinel.url, "publish | broadcast_pubsub")
        with connect(server.url) as client:
            client.send("hello")
            assert client.recv(PATIENCE_S) == "hello"


def test_a_redis_that_is_down_at_start(servers: Servers, redis_server: RedisServer) -> None:
    redis_server.kill()
    server = with_redis(servers, redis_server, "publish")
    assert server.wait() == 5
    (line,) = server.stderr.lines
    assert f"127.0.0.1:{redis_server.port}" in line
    assert "leave --redis-url" in line


def test_a_redis_that_wants_a_password(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> None:
    with start_or_skip("valkey", tmp_path_factory.mktemp("valkey"), "--requirepass", "s3cret") as redis:
        server = with_redis(servers, redis, "publish")
        assert server.wait() == 5
        (line,) = server.stderr.lines
        assert "redis://USER:PASSWORD@" in line
        url = f"redis://:s3cret@127.0.0.1:{redis.port}/0"
        server = servers.start("--redis-url", url, "publish | broadcast_pubsub")
        with connect(server.url) as client:
            client.send("hello")
            assert client.recv(PATIENCE_S) == "hello"
        assert server.stop() == 0
        assert "s3cret" not in server.stderr.text


SHOW_ENVIRONMENT = """#!/bin/sh
env | grep -c -e s3cret -e FWS_REDIS >&"$FWS_STDOUT_FD"
exec cat
"""


def test_stages_that_need_no_redis_never_see_its_password(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with start_or_skip("valkey", tmp_path_factory.mktemp("valkey"), "--requirepass", "s3cret") as redis:
        url = f"redis://:s3cret@127.0.0.1:{redis.port}/0"
        server = servers.start(
            f"{servers.script('show', SHOW_ENVIRONMENT)} | publish | broadcast_pubsub",
            environment=servers.environment(FWS_REDIS_URL=url),
        )
        with connect(server.url) as client:
            client.send("hello")
            assert client.recv(PATIENCE_S) == "hello"
        assert server.stop() == 0
        assert server.stdout.lines == ["0"]


def test_an_inherited_redis_is_none_of_this_servers(servers: Servers, redis_server: RedisServer) -> None:
    subscriber = redis_server.client().pubsub(ignore_subscribe_messages=True)
    subscriber.subscribe("global")
    assert subscriber.get_message(timeout=PATIENCE_S) is None  # the confirmation
    inherited = RedisSettings(redis_server.url).to_environment()
    server = servers.start("publish | broadcast_pubsub", environment=servers.environment(**inherited))
    with connect(server.url) as client:
        client.send("to ourselves")
        assert client.recv(PATIENCE_S) == "to ourselves"
    redis_server.client().publish("global", "the first thing that Redis hears")
    message = subscriber.get_message(timeout=PATIENCE_S)
    assert message is not None
    assert message["data"] == b"the first thing that Redis hears"


def test_a_channel_name_with_spaces(servers: Servers) -> None:
    server = servers.start("--redis-url", "redis://localhost", "--redis-channels", "two words", "publish")
    assert server.wait() == 2
    (line,) = server.stderr.lines
    assert "--redis-channels" in line
    assert "white space" in line
