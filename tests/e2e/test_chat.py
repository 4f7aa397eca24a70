"""Clients that nobody here wrote (websockets, websocat) talk through real chains."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.sync.client import connect as connect_sync

from tests.harness import BIN, Servers

FOUR_STAGES = "cat | broadcast | cat | to_json | from_json"


@asynccontextmanager
async def clients(url: str, count: int) -> AsyncIterator[list[ClientConnection]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(connect(url, compression=None, max_size=None, max_queue=None))
            for _ in range(count)
        ]


def test_the_default_chain_is_a_chat_with_a_log(servers: Servers) -> None:
    server = servers.start()
    with connect_sync(server.url) as alice, connect_sync(server.url) as bob:
        alice.send("hello")
        assert bob.recv(30) == "hello"
        bob.send("hi alice")
        assert alice.recv(30) == "hi alice"
    server.stdout.wait_for("disconnect 1000", count=2)
    assert server.stop() == 0
    assert [line.split(" ", 1)[1] for line in server.stdout.lines if "=>" in line] == ["=> hello", "=> hi alice"]


def test_two_websocats_chat(servers: Servers) -> None:
    server = servers.start("-v", "broadcast")
    websocat = shutil.which("websocat", path=str(BIN))
    assert websocat is not None

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([websocat, "--text", server.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    with start() as alice, start() as bob:
        server.stderr.wait_for("has come", count=2)
        for talker, listener, line in ((alice, bob, b"hello\n"), (bob, alice, b"hi alice\n")):
            assert talker.stdin is not None
            assert listener.stdout is not None
            talker.stdin.write(line)
            talker.stdin.flush()
            assert listener.stdout.readline() == line
        alice.kill()
        bob.kill()


def test_fifty_clients_hear_all_others_and_not_themselves(servers: Servers) -> None:
    server = servers.start("broadcast")

    async def scenario() -> None:
        async with clients(server.url, 50) as everyone:
            for number, client in enumerate(everyone):
                await client.send(str(number))
            for number, client in enumerate(everyone):
                heard = [int(await client.recv()) for _ in range(49)]
                assert sorted(heard) == [other for other in range(50) if other != number]

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert server.stop() == 0


def test_ten_thousand_rapid_messages_through_four_stages(servers: Servers) -> None:
    server = servers.start(FOUR_STAGES.replace("broadcast", "mirror"))

    async def scenario() -> None:
        async with clients(server.url, 1) as [client]:

            async def talk() -> None:
                for number in range(10_000):
                    await client.send(f"message {number}")

            async with asyncio.TaskGroup() as group:
                group.create_task(talk())
                for number in range(10_000):
                    assert await client.recv() == f"message {number}"

    asyncio.run(asyncio.wait_for(scenario(), 90))
    assert server.stop() == 0


def test_fifty_clients_at_once_through_four_stages_keep_each_ones_order(servers: Servers) -> None:
    server = servers.start(FOUR_STAGES, "--outbox-limit", "8M")
    each = 40

    async def scenario() -> None:
        async with clients(server.url, 50) as everyone:

            async def talk(name: int, client: ClientConnection) -> None:
                for number in range(each):
                    await client.send(json.dumps([name, number]))

            async def listen(name: int, client: ClientConnection) -> None:
                heard: dict[int, list[int]] = {}
                for _ in range(49 * each):
                    sender, number = json.loads(await client.recv())
                    heard.setdefault(sender, []).append(number)
                assert name not in heard
                assert heard == {other: list(range(each)) for other in range(50) if other != name}

            async with asyncio.TaskGroup() as group:
                for name, client in enumerate(everyone):
                    group.create_task(talk(name, client))
                    group.create_task(listen(name, client))

    asyncio.run(asyncio.wait_for(scenario(), 90))
    assert server.stop() == 0


@pytest.mark.parametrize(
    "message",
    [
        "",
        b"",
        "plain",
        b"\x00\xff binary",
        "nul\0 in text",
        "line one\nline two\r\n",
        " \t ",
        "\ufeffbom",
        "emoji \N{CLINKING BEER MUGS} \N{FAMILY}",
        "base64:not bytes",
        "x" * 2**20,
        bytes(range(256)) * 2**12,
    ],
    ids=lambda message: repr(message[:12]),
)
def test_messages_arrive_as_they_are(servers: Servers, message: str | bytes) -> None:
    url = servers.start("mirror | to_json | from_json").url
    with connect_sync(url, max_size=None) as client:
        client.send(message)
        echoed = client.recv(30)
        assert type(echoed) is type(message)
        assert echoed == message


def test_fragments_with_a_ping_between_make_one_message(servers: Servers) -> None:
    url = servers.start("mirror").url

    async def scenario() -> None:
        async with connect(url) as client:

            async def fragments() -> AsyncIterator[str]:
                yield "one "
                pong = await client.ping()
                await pong
                yield "two "
                yield "three"

            await client.send(fragments())
            assert await client.recv() == "one two three"

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_a_chain_with_jq_filters_spam_and_lets_bytes_pass(servers: Servers) -> None:
    if not shutil.which("jq"):
        pytest.skip("jq is not installed")
    jq = """jq -c --unbuffered 'select(.type != "message" or (.data | test("spam") | not))'"""
    url = servers.start(f"to_json | {jq} | from_json | broadcast").url
    with connect_sync(url) as alice, connect_sync(url) as bob:
        for message in ("ham", "spam spam", b"\0\xff", "eggs"):
            alice.send(message)
        assert [bob.recv(30) for _ in range(3)] == ["ham", b"\0\xff", "eggs"]
