"""Three servers and one Redis behave as one server, until one of them, or Redis, goes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.sync.client import connect as connect_now
from websockets.sync.connection import Connection

from fws_pipe.broker.membership import Membership
from fws_pipe.broker.settings import RedisSettings
from tests.e2e.test_chain import stage_of
from tests.harness import PATIENCE_S, Server, Servers, eventually, run
from tests.redis_servers import RedisServer

CLIENTS = 300
MESSAGES = 3


def three_servers(servers: Servers, redis: RedisServer, *arguments: str) -> list[Server]:
    options = ("--redis-url", redis.url, "--presence-expiry", "2")
    started = [
        servers.start(*options, "--name", name, "--control", str(servers.folder / name), *arguments)
        for name in ("red", "green", "blue")
    ]
    assert len({server.port for server in started}) == 3
    return started


def kept_by(name: str, servers: Servers) -> int:
    """How many bytes a server keeps in its journal: events that the chain or Redis has not finished."""
    status = run("fws-ctl", "--control", str(servers.folder / name), "status")
    kept: int = json.loads(status.stdout)["gauges"]["bytes in the journal"]
    return kept


async def with_clients(
    started: list[Server], count: int, work: Callable[[list[ClientConnection]], Awaitable[None]]
) -> None:
    """Connect so many clients, spread over the servers, and let them work."""
    clients: list[ClientConnection] = []
    try:
        for number in range(count):
            clients.append(await connect(started[number % len(started)].url, ping_interval=None, max_queue=None))
        await asyncio.wait_for(work(clients), 2 * PATIENCE_S)
    finally:
        await asyncio.gather(*(client.close() for client in clients), return_exceptions=True)


async def receive(client: ClientConnection, count: int) -> list[str]:
    return [str(await client.recv()) for _ in range(count)]


@pytest.mark.slow
def test_every_message_reaches_all_others_once_and_in_its_senders_order(
    servers: Servers, redis_server: RedisServer
) -> None:
    async def work(clients: list[ClientConnection]) -> None:
        async def talk(number: int) -> None:
            for message in range(MESSAGES):
                await clients[number].send(f"{number}:{message}")

        everybody = asyncio.gather(*(receive(client, (CLIENTS - 1) * MESSAGES) for client in clients))
        await asyncio.gather(*(talk(number) for number in range(CLIENTS)))
        received = await everybody
        for own, messages in enumerate(received):
            by_sender: dict[int, list[str]] = {}
            for message in messages:
                by_sender.setdefault(int(message.split(":")[0]), []).append(message)
            assert own not in by_sender
            assert by_sender == {
                sender: [f"{sender}:{message}" for message in range(MESSAGES)]
                for sender in range(CLIENTS)
                if sender != own
            }

    started = three_servers(servers, redis_server, "broadcast")
    asyncio.run(with_clients(started, CLIENTS, work))
    # Nothing that came twice waits behind: what was sent went out, and no more.
    assert [server.stop() for server in started] == [0, 0, 0]


def test_a_killed_servers_members_vanish_and_the_others_go_on(servers: Servers, redis_server: RedisServer) -> None:
    started = three_servers(servers, redis_server, "broadcast_by_token")
    membership = Membership(RedisSettings(redis_server.url))

    def names() -> set[str]:
        return {member.split("-")[0] for member in membership.members("token:tea")}

    async def work(clients: list[ClientConnection]) -> None:
        for client in clients:
            await client.send("token:tea")
            assert await client.recv()
        eventually(lambda: len(membership.members("token:tea")) == 9, "everybody is in Redis")
        started[2].crash()
        eventually(lambda: names() == {"red", "green"}, "the dead server's members are gone")
        assert {client.split("-")[0] for client in membership.clients()} == {"red", "green"}
        await clients[0].send("are you there?")
        for client in (clients[1], clients[3], clients[4], clients[6], clients[7]):
            assert await client.recv() == "are you there?"

    try:
        asyncio.run(with_clients(started, 9, work))
    finally:
        membership.close()
    eventually(lambda: set(servers.processes()) == set(_living(servers, started[:2])), "its processes have ended")


def test_a_burst_waits_for_a_server_that_does_not_read_for_a_moment(
    servers: Servers, redis_server: RedisServer
) -> None:
    """Redis ended its subscription, and what it held for it was lost."""
    admin = redis_server.client()
    admin.config_set("client-output-buffer-limit", "pubsub 3500000 0 0")
    near, far = (servers.start("--redis-url", redis_server.url, "broadcast") for _ in range(2))
    messages = [f"{number:02}" * 500_000 for number in range(10)]
    with connect_now(near.url) as talker, connect_now(near.url) as neighbour, connect_now(far.url) as listener:
        source = stage_of(far.pid, "fws_pipe.broker.source")
        os.kill(source, signal.SIGSTOP)
        for message in messages:
            talker.send(message)
        heard = list(islice(until_silence(neighbour), len(messages)))
        eventually(
            lambda: any("w" in client["events"] for client in admin.client_list(_type="pubsub")),
            "Redis can't write to the source that is stopped",
        )
        os.kill(source, signal.SIGCONT)
        for _ in range(500):  # Redis looks at its limit only when there is something to add
            admin.publish("global", "")
        assert [listener.recv(PATIENCE_S) for _ in messages] == messages
        assert heard + [neighbour.recv(PATIENCE_S) for _ in messages[len(heard) :]] == messages
    assert near.stop() == far.stop() == 0
    assert "Redis" not in near.stderr.text + far.stderr.text


def until_silence(client: Connection) -> Iterator[str]:
    """What a client hears, until it is nothing for a while."""
    try:
        while True:
            yield str(client.recv(timeout=0.3))
    except TimeoutError:
        pass


def _living(servers: Servers, started: list[Server]) -> list[int]:
    roots = {server.pid for server in started}
    return [pid for pid in servers.processes() if pid in roots or _parent_of(pid) in roots]


def _parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def test_redis_restarts_and_local_service_goes_on_and_the_log_says_what_was_missed(
    servers: Servers, redis_server: RedisServer
) -> None:
    started = three_servers(servers, redis_server, "broadcast")

    async def work(clients: list[ClientConnection]) -> None:
        red, green, _, red_too, *_ = clients
        await red.send("before")
        assert await green.recv() == await red_too.recv() == "before"
        # Until Redis has confirmed it too: one that has lost its memory would get it again.
        eventually(lambda: kept_by("red", servers) == 0, "the journal of the server that has published is empty")
        redis_server.kill()
        for server in started:
            server.stderr.wait_for("source: Redis at .*what is published meanwhile is missed")
        for number in range(50):
            await red.send(f"meanwhile {number}")
            assert await red_too.recv() == f"meanwhile {number}"
        redis_server.restart()
        for server in started:
            server.stderr.wait_for("source: subscribed again to Redis")
        await red.send("after")
        assert await red_too.recv() == "after"
        # Publishing was tried again until it worked: some of it before this server had subscribed.
        heard: list[str] = []
        while not heard or heard[-1] != "after":
            heard.append(str(await green.recv()))
        assert heard == [f"meanwhile {number}" for number in range(51 - len(heard), 50)] + ["after"]
        missed = 51 - len(heard)
        if missed:
            started[1].stderr.wait_for(f"source: missed {missed} actions of other servers")

    asyncio.run(with_clients(started, 6, work))
    assert started[1].stop() == 0
    started[1].stderr.wait_for("counted.*redis lost by the source: 1")
