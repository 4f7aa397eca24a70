"""Routes: a chain for each path, each by itself. What happens in one leaves the others' clients as they are."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fws_pipe.broker.membership import Membership
from fws_pipe.broker.settings import RedisSettings
from tests.harness import PATIENCE_S, Server, Servers, eventually
from tests.redis_servers import RedisServer

NAMED = """#!/usr/bin/env fws-python
import os, sys
from fws_pipe.sdk import on, run, send

word = "{word}"
print("my pid is", os.getpid(), file=sys.stderr, flush=True)

@on("message")
def answer(event):
    send(event["id"], f"{{word}} {{os.environ['FWS_ROUTE']}} {{event['data']}}")

run()
"""


def named(servers: Servers, word: str) -> str:
    """A filter that answers with a word, its route and the message."""
    return servers.script(word, NAMED.format(word=word))


def answer_of(client: ClientConnection, text: str) -> str:
    client.send(text)
    return str(client.recv(PATIENCE_S))


def asked(server: Server, path: str, text: str = "x") -> str:
    with connect(server.url.rstrip("/") + path) as client:
        return answer_of(client, text)


def status_of(server: Server, path: str) -> int:
    with pytest.raises(InvalidStatus) as refused, connect(server.url.rstrip("/") + path):
        pass
    return refused.value.response.status_code


def close_code_of(client: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosed):
        client.recv(PATIENCE_S)
    return client.close_code


def pid_of(server: Server, route: str, count: int = 1) -> int:
    """The process id of a route's own filter, of its run of this number."""
    return int(server.stderr.wait_for(rf"^{route}: stage 1 .*: my pid is ", count).rsplit(" ", 1)[1])


def test_each_path_has_its_chain_and_others_get_404_in_the_log(servers: Servers) -> None:
    a, b = named(servers, "a"), named(servers, "b")
    server = servers.start("-v", "--route", f"/a={a}", "--route", f"/log/*={b}", "--route", "/log/all=broadcast")
    assert asked(server, "/a?x=1") == "a /a x"
    assert asked(server, "/%61") == "a /a x"
    assert asked(server, "/log/deep/er") == "b /log/* x"
    with (
        connect(f"{server.url}/log/all") as one,
        connect(f"{server.url}/log/all") as other,
        connect(f"{server.url}/log/al") as stranger,
    ):
        one.send("to all of this route")
        assert other.recv(PATIENCE_S) == "to all of this route"
        assert answer_of(stranger, "y") == "b /log/* y"
    for path in ("/", "/log", "/b", "/a/"):
        assert status_of(server, path) == 404
    assert server.stop() == 0
    assert len([line for line in server.stderr.lines if line.endswith(": 404, no route is for its path")]) == 4
    assert "refused 404: 4" in server.stderr.text


def test_the_chain_of_the_command_line_is_for_all_other_paths(servers: Servers) -> None:
    a, rest = named(servers, "a"), named(servers, "rest")
    server = servers.start("--route", f"/a={a}", rest)
    assert asked(server, "/a") == "a /a x"
    assert asked(server, "/any/other") == "rest /* x"
    server.stderr.wait_for(r'^/\*: stage 1 "rest": my pid is ')
    assert server.stop() == 0


def test_one_chain_without_routes_is_named_in_no_line(servers: Servers) -> None:
    server = servers.start(named(servers, "only"))
    assert asked(server, "/any") == "only /* x"
    server.stderr.wait_for(r'^stage 1 "only": my pid is ')
    assert server.stop() == 0


def test_the_table_of_the_config_file(servers: Servers) -> None:
    file = servers.folder / "fws.toml"
    file.write_text(f"""
        chain = "{named(servers, "rest")}"

        [routes]
        "/a" = "{named(servers, "a")}"
        "/log/*" = ["{named(servers, "b")}"]
    """)
    server = servers.start("-c", str(file))
    answers = [asked(server, path) for path in ("/a", "/log/x", "/other")]
    assert answers == ["a /a x", "b /log/* x", "rest /* x"]
    assert server.stop() == 0


def test_the_death_of_one_routes_filter_again_and_again_costs_another_routes_clients_nothing(servers: Servers) -> None:
    a, b = named(servers, "a"), named(servers, "b")
    server = servers.start("--route", f"/a={a}", "--route", f"/b={b}")
    with connect(f"{server.url}/a") as victim, connect(f"{server.url}/b") as other:
        stopping = threading.Event()
        answered: list[str] = []

        def talk() -> None:
            while not stopping.is_set():
                answered.append(answer_of(other, str(len(answered))))

        talker = threading.Thread(target=talk)
        talker.start()
        try:
            for death in range(1, 4):
                pid = pid_of(server, "/a", death)
                victim.send(f"before death {death}")
                os.kill(pid, signal.SIGKILL)
                assert victim.recv(PATIENCE_S) == f"a /a before death {death}"
                server.stderr.wait_for("/a: the chain serves again", death)
        finally:
            stopping.set()
            talker.join(PATIENCE_S)
        assert answered == [f"b /b {number}" for number in range(len(answered))]
        assert len(answered) > 10
    assert "/b: the chain" not in server.stderr.text
    assert server.stop() == 0


@pytest.mark.slow
def test_a_route_that_gives_up_is_refused_until_a_reload_and_the_others_serve_on(servers: Servers) -> None:
    a, b = named(servers, "a"), named(servers, "b")
    server = servers.start("-v", "--route", f"/a={a}", "--route", f"/b={b}")
    with connect(f"{server.url}/a") as lost, connect(f"{server.url}/b") as other:
        assert answer_of(lost, "1") == "a /a 1"
        servers.script("a", "#!/bin/sh\nexit 3\n")
        os.kill(pid_of(server, "/a"), signal.SIGKILL)
        assert close_code_of(lost) == 1011
        server.stderr.wait_for("/a: the chain failed 5 times in a row: .*; new clients get 503 until a reload")
        assert status_of(server, "/a") == 503
        assert answer_of(other, "2") == "b /b 2"
        named(servers, "a")
        server.signal(signal.SIGHUP)
        eventually(lambda: can_be_asked(server, "/a"), "the route serves again")
        assert answer_of(other, "3") == "b /b 3"
    assert server.stop() == 0
    assert ": 503, its route's chain has failed" in server.stderr.text


def can_be_asked(server: Server, path: str) -> bool:
    try:
        asked(server, path)
    except InvalidStatus:
        return False
    return True


def test_a_route_that_cannot_start_is_refused_and_the_others_serve(servers: Servers) -> None:
    broken = servers.script("broken", "#!/bin/sh\necho 'no luck' >&2\nexit 3\n")
    server = servers.start("--route", f"/a={broken}", "--route", "/b=mirror")
    server.stderr.wait_for('/a: the chain could not start: stage 1 "broken" exited with status 3; new clients get 503')
    assert server.stderr.text.count("no luck") == 1
    assert status_of(server, "/a") == 503
    assert asked(server, "/b") == "x"
    assert server.stop() == 0


def test_a_route_that_starts_slowly_is_503_until_it_serves_and_no_other_chain_gets_its_clients(
    servers: Servers,
) -> None:
    slow = servers.script("slow", "#!/bin/sh\nuntil test -e go; do sleep 0.05; done\nexec mirror\n")
    server = servers.start("-v", "--route", f"/slow={slow}", "--route", "/quick=mirror", "broadcast")
    assert asked(server, "/quick") == "x"
    with pytest.raises(InvalidStatus) as refused, connect(f"{server.url}/slow"):
        pass
    assert (refused.value.response.status_code, refused.value.response.headers["Retry-After"]) == (503, "1")
    server.stderr.wait_for(": 503, its route's chain does not serve yet")
    (servers.folder / "go").touch()
    eventually(lambda: can_be_asked(server, "/slow"), "the route serves")
    assert server.stop() == 0


def test_the_server_ends_when_no_route_is_left(servers: Servers) -> None:
    broken = servers.script("broken", "#!/bin/sh\nexit 3\n")
    server = servers.start("--route", f"/a={broken}", "--route", f"/b={broken}")
    assert server.wait() == 3
    assert "fws-pipe: the chain could not start: " in server.stderr.lines[-1]
    assert len([line for line in server.stderr.lines if "new clients get 503" in line]) == 1
    assert len([line for line in server.stderr.lines if "no other route is left" in line]) == 1


def routes_file(servers: Servers) -> tuple[Path, Callable[..., None]]:
    """A config file, and what writes routes into it."""
    file = servers.folder / "fws.toml"

    def write(**chains: str) -> None:
        table = "\n".join(f'"/{name}" = "{chain}"' for name, chain in chains.items())
        file.write_text(f"[routes]\n{table}\n")

    return file, write


def test_a_reload_replaces_what_has_changed_starts_what_is_new_and_ends_what_is_gone(servers: Servers) -> None:
    a, b, c = named(servers, "a"), named(servers, "b"), named(servers, "c")
    file, write = routes_file(servers)
    write(a=a, b=b, c=c)
    server = servers.start("-c", str(file))
    with (
        connect(f"{server.url}/a") as same,
        connect(f"{server.url}/b") as changed,
        connect(f"{server.url}/c") as gone,
    ):
        for client, word in ((same, "a"), (changed, "b"), (gone, "c")):
            assert answer_of(client, "1") == f"{word} /{word} 1"
        pid = pid_of(server, "/a")
        write(a=a, b=c, d=named(servers, "d"))
        gone.send("2")
        assert gone.recv(PATIENCE_S) == "c /c 2"
        server.signal(signal.SIGHUP)
        assert close_code_of(gone) == 1001
        server.stderr.wait_for("/b: the chain is replaced")
        assert answer_of(changed, "3") == "c /b 3"
        eventually(lambda: can_be_asked(server, "/d"), "the new route serves")
        assert status_of(server, "/c") == 404
        assert answer_of(same, "4") == "a /a 4"
        assert pid_of(server, "/a") == pid
        assert not [line for line in server.stderr.lines if line.startswith("fws-pipe: /a: ")]
    assert server.stop() == 0


def test_a_reload_with_no_change_that_shows_replaces_every_chain(servers: Servers) -> None:
    server = servers.start("--route", f"/a={named(servers, 'a')}", "--route", f"/b={named(servers, 'b')}")
    with connect(f"{server.url}/a") as one, connect(f"{server.url}/b") as other:
        assert [answer_of(one, "1"), answer_of(other, "1")] == ["a /a 1", "b /b 1"]
        server.signal(signal.SIGHUP)
        for route in ("/a", "/b"):
            server.stderr.wait_for(f"{route}: the chain is replaced")
        assert [answer_of(one, "2"), answer_of(other, "2")] == ["a /a 2", "b /b 2"]
    assert server.stop() == 0


def test_watch_replaces_the_chain_whose_filter_has_changed_alone(servers: Servers) -> None:
    a, b = named(servers, "a"), named(servers, "b")
    server = servers.start("--watch", "--route", f"/a={a}", "--route", f"/b={b}")
    with connect(f"{server.url}/a") as one:
        assert answer_of(one, "1") == "a /a 1"
        servers.script("a", NAMED.format(word="newer"))
        server.stderr.wait_for("/a: the chain is replaced")
        assert answer_of(one, "2") == "newer /a 2"
    assert "/b: " not in "".join(line for line in server.stderr.lines if "chain" in line)
    assert server.stop() == 0


def test_a_new_chain_that_cannot_start_leaves_the_old_one_and_a_new_route_that_cannot_is_503(servers: Servers) -> None:
    a = named(servers, "a")
    broken = servers.script("broken", "#!/bin/sh\nexit 3\n")
    file, write = routes_file(servers)
    write(a=a)
    server = servers.start("-c", str(file))
    with connect(f"{server.url}/a") as client:
        assert answer_of(client, "1") == "a /a 1"
        write(a=broken, b=broken)
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("/a: the new chain does not serve, so the old one goes on")
        server.stderr.wait_for("/b: the chain could not start")
        assert answer_of(client, "2") == "a /a 2"
        eventually(lambda: status_of(server, "/b") == 503, "the new route is known")
        file.write_text("port = 0\n")
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("the chain stays as it is: .*no longer names a chain")
        assert answer_of(client, "3") == "a /a 3"
    assert server.stop() == 0


def test_a_drain_lets_every_route_finish(servers: Servers) -> None:
    slow = servers.script(
        "slow",
        "#!/usr/bin/env fws-python\nimport time\nfrom fws_pipe.sdk import on, run, send\n"
        '@on("message")\ndef answer(event):\n    time.sleep(0.2)\n    send(event["id"], event["data"])\nrun()\n',
    )
    server = servers.start("--route", f"/slow={slow}", "--route", "/quick=mirror", "broadcast")
    with connect(f"{server.url}/slow") as late, connect(f"{server.url}/quick") as quick, connect(server.url) as rest:
        assert answer_of(quick, "1") == "1"
        for text in ("1", "2", "3"):
            late.send(text)
        assert late.recv(PATIENCE_S) == "1"
        server.signal(signal.SIGTERM)
        assert [late.recv(PATIENCE_S) for _ in range(2)] == ["2", "3"]
        assert [close_code_of(client) for client in (late, quick, rest)] == [1001] * 3
    assert server.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--route", "/a"), "--route: expected PATH=CHAIN"),
        (("--route", "a=cat"), "--route: expected a path such as /chat"),
        (("--route", "/a*=cat"), "--route: expected a path such as /chat"),
        (("--route", "/a=cat", "--route", "/%61=mirror"), "route /a: this path has two chains; leave one of them out"),
        (("--route", "/*=cat", "mirror"), "route /*: the chain 'mirror' serves all other paths already"),
        (("--route", "/a=mirrror"), 'route /a: stage 1 "mirrror": no such filter'),
    ],
)
def test_a_route_that_makes_no_sense_is_one_line(servers: Servers, arguments: tuple[str, ...], words: str) -> None:
    server = servers.start(*arguments)
    assert server.wait() == 2
    assert words in server.stderr.lines[0]
    assert "Traceback" not in server.stderr.text


def test_servers_are_joined_route_by_route(servers: Servers, redis_server: RedisServer) -> None:
    """What is sent in a route reaches the same route of other servers; a server without routes is the chain of `/*`."""
    routes = ("--route", "/a=broadcast", "--route", "/tea=broadcast_by_token", "broadcast")
    redis = ("--redis-url", redis_server.url)
    red = servers.start(*redis, "--name", "red", *routes)
    green = servers.start(*redis, "--name", "green", *routes)
    old = servers.start(*redis, "--name", "old", "broadcast")
    with ExitStack() as stack:
        clients = {
            (server, path): stack.enter_context(connect(server.url.rstrip("/") + path))
            for server in (red, green, old)
            for path in ("/a", "/tea", "/other")
        }

        def says(server: Server, path: str, text: str, *hearers: tuple[Server, str]) -> None:
            clients[server, path].send(text)
            assert [clients[hearer].recv(PATIENCE_S) for hearer in hearers] == [text] * len(hearers)

        says(red, "/a", "in a", (green, "/a"))
        says(red, "/other", "everywhere else", (green, "/other"), *((old, path) for path in ("/a", "/tea", "/other")))
        says(old, "/other", "from one without routes", (red, "/other"), (green, "/other"), (old, "/a"), (old, "/tea"))
        for server in (red, green):
            clients[server, "/tea"].send("token:tea")
            assert clients[server, "/tea"].recv(PATIENCE_S)
        with (
            closing(Membership(RedisSettings(redis_server.url, route="/tea"))) as drinkers,
            closing(Membership(RedisSettings(redis_server.url))) as rest,
        ):
            eventually(lambda: len(drinkers.members("token:tea")) == 2, "a route's groups are its own")
            assert rest.members("token:tea") == set()
            assert len(rest.clients()) == 2 + 3
        for client in clients.values():  # nothing has come but what was asked for
            with pytest.raises(TimeoutError):
                client.recv(0)
    assert [server.stop() for server in (red, green, old)] == [0, 0, 0]
    assert redis_server.client().keys("fws:*server*") == []


def test_a_removed_route_leaves_redis_and_the_server_keeps_its_name(
    servers: Servers, redis_server: RedisServer
) -> None:
    client = redis_server.client()
    file, write = routes_file(servers)
    write(a="broadcast", b="broadcast")
    server = servers.start("-c", str(file), "--redis-url", redis_server.url, "--name", "red")
    with connect(f"{server.url}/a"), connect(f"{server.url}/b") as gone:
        eventually(lambda: client.hlen("fws:presence:/b:red") == 1, "the client is in Redis")
        write(a="broadcast")
        server.signal(signal.SIGHUP)
        assert close_code_of(gone) == 1001
        eventually(lambda: not client.exists("fws:presence:/b:red"), "the route's clients have left Redis")
        assert client.hlen("fws:presence:/a:red") == 1
        assert client.exists("fws:server:red")
    assert server.stop() == 0
    assert client.keys("fws:*server*") == []


def test_no_filter_writes_on_the_channel_of_another_routes_servers(servers: Servers, redis_server: RedisServer) -> None:
    forger = servers.script(
        "forger",
        "#!/usr/bin/env fws-python\nfrom fws_pipe.sdk import on, publish, run\n"
        '@on("message")\ndef forge(event):\n    publish("fws:servers:/b", event["data"])\nrun()\n',
    )
    server = servers.start("--redis-url", redis_server.url, "--route", f"/a={forger}", "--route", "/b=broadcast")
    with connect(f"{server.url}/a") as client:
        client.send("x")
        server.stderr.wait_for("dropped a publish to 'fws:servers:/b', which is the servers' own channel")
    assert server.stop() == 0


def test_lines_from_outside_go_to_every_route(servers: Servers) -> None:
    server = servers.start(
        "--source", "hello=echo hello; exec sleep 1000",
        "--route", f"/a={servers.reporter()}", "--route", f"/b={servers.reporter()}",
    )  # fmt: skip
    assert [event["data"] for event in server.events("consumer", 2)] == ["'hello'"] * 2
    assert server.stop() == 0
