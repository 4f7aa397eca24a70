"""A new chain takes the place of the old one: no client notices, nothing is lost, one that fails changes nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.e2e.raw import RawClient, frame
from tests.harness import PATIENCE_S, Servers, descriptors_of, eventually

ANSWER = """#!/usr/bin/env fws-python
from fws_pipe.sdk import on, run, send

@on("message")
def answer(event):
    send(event["id"], "{word} " + event["data"])

run()
"""


def answer_of(client: ClientConnection, text: str) -> str:
    client.send(text)
    return str(client.recv(PATIENCE_S))


def test_a_changed_filter_is_taken_up_at_sighup(servers: Servers) -> None:
    filter_ = servers.script("answer", ANSWER.format(word="old"))
    server = servers.start(f"{servers.reporter()} | {filter_}")
    with connect(server.url) as client:
        assert answer_of(client, "1") == "old 1"
        servers.script("answer", ANSWER.format(word="new"))
        assert answer_of(client, "2") == "old 2"
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("the chain is replaced")
        assert answer_of(client, "3") == "new 3"
        opens = server.events("open", 2)
        assert [event["replay"] for event in opens] == [False, True]
        assert opens[0]["id"] == opens[1]["id"]
    assert server.stop() == 0
    assert "starts again" not in server.stderr.text


def test_the_chain_of_the_config_file_is_read_again(servers: Servers) -> None:
    file = servers.folder / "fws.toml"
    file.write_text('chain = "mirror"\n')
    server = servers.start("-c", str(file))
    with connect(server.url) as client:
        assert answer_of(client, "1") == "1"
        file.write_text(f'chain = "{servers.script("answer", ANSWER.format(word="new"))}"\n')
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("the chain is replaced")
        assert answer_of(client, "2") == "new 2"
        for text, words in (
            ('chain = "mirrror"\n', 'the chain stays as it is: stage 1 "mirrror": no such filter'),
            ("chain = \n", "the chain stays as it is: .*fws.toml"),
            ("", "the chain stays as it is: .*fws.toml no longer names a chain"),
        ):
            file.write_text(text)
            server.signal(signal.SIGHUP)
            server.stderr.wait_for(words)
            assert answer_of(client, "3") == "new 3"
    assert server.stop() == 0


def test_a_config_file_that_is_a_pipe_is_read_once(servers: Servers) -> None:
    file = servers.folder / "fws.toml"
    file.write_text('chain = "mirror"\n')
    server = servers.start("-c", str(file))
    with connect(server.url) as client:
        assert answer_of(client, "1") == "1"
        file.unlink()
        os.mkfifo(file)
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("the chain stays as it is: .*fws.toml is not a regular file, so it can't be read again")
        assert answer_of(client, "2") == "2"
    assert server.stop() == 0


def test_a_chain_of_the_command_line_needs_no_config_file_to_be_replaced(servers: Servers) -> None:
    file = servers.folder / "fws.toml"
    file.write_text("chain = 'mirror'\n")
    filter_ = servers.script("answer", ANSWER.format(word="old"))
    server = servers.start("-c", str(file), filter_)
    with connect(server.url) as client:
        assert answer_of(client, "1") == "old 1"
        file.write_text("")
        servers.script("answer", ANSWER.format(word="new"))
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("the chain is replaced")
        assert answer_of(client, "2") == "new 2"
        file.unlink()
        os.mkfifo(file)
        servers.script("answer", ANSWER.format(word="newest"))
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("the chain is replaced", count=2)
        assert answer_of(client, "3") == "newest 3"
    assert server.stop() == 0


def test_the_new_chain_may_put_clients_into_groups_but_does_not_greet_them_again(servers: Servers) -> None:
    text = """#!/usr/bin/env fws-python
from fws_pipe.sdk import join, on, run, send

@on("open")
def came(event):
    send(event["id"], "welcome")
    join(event["id"], "{group}")

@on("message")
def said(event):
    send(group="{group}", data=event["data"])

run()
"""
    filter_ = servers.script("greet", text.format(group="old"))
    server = servers.start(filter_)
    with connect(server.url) as client:
        assert client.recv(PATIENCE_S) == "welcome"
        servers.script("greet", text.format(group="new"))
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("the chain is replaced")
        assert answer_of(client, "hello") == "hello"
    assert server.stop() == 0


def test_an_unchanged_chain_puts_nobody_back_into_a_group(servers: Servers) -> None:
    filter_ = servers.script(
        "lobby",
        """#!/usr/bin/env fws-python
from fws_pipe.sdk import join, leave, on, run, send

@on("open")
def came(event):
    join(event["id"], "lobby")

@on("message")
def said(event):
    if event["data"] == "leave":
        leave(event["id"], "lobby")
    send(group="lobby", data="lobby " + event["data"])
    send(event["id"], "own " + event["data"])

run()
""",
    )
    server = servers.start(filter_)
    with connect(server.url) as client:
        assert answer_of(client, "leave") == "own leave"
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("the chain is replaced")
        assert answer_of(client, "1") == "own 1"
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("#!/bin/sh\necho no >&2\nexit 7\n", "exited with status 7; its last words: no"),
        (
            "#!/usr/bin/env fws-python\nfrom fws_pipe.sdk import on, run\n"
            "@on('open')\ndef came(event):\n    event['typo']\nrun()\n",
            "KeyError: 'typo'",
        ),
        ("#!/bin/sh\nprintf hello\nexec cat >/dev/null\n", "broken frame"),
        ("#!/bin/sh\ncat >/dev/null\n", "no tick has come back within 10 s"),
    ],
)
def test_a_new_chain_that_does_not_serve_leaves_the_old_one(servers: Servers, broken: str, words: str) -> None:
    filter_ = servers.script("answer", ANSWER.format(word="old"))
    server = servers.start(filter_)
    with connect(server.url) as client:
        assert answer_of(client, "1") == "old 1"
        base = descriptors_of(server.pid), len(servers.processes())
        servers.script("answer", broken)
        server.signal(signal.SIGHUP)
        server.stderr.wait_for(f"the new chain does not serve, so the old one goes on: .*{words}")
        assert answer_of(client, "2") == "old 2"
        eventually(lambda: (descriptors_of(server.pid), len(servers.processes())) == base, "the end of the new chain")
        servers.script("answer", ANSWER.format(word="new"))
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("the chain is replaced")
        assert answer_of(client, "3") == "new 3"
    assert server.stop() == 0


def test_watch_takes_up_what_has_changed(servers: Servers) -> None:
    filter_ = servers.script("answer", ANSWER.format(word="old"))
    server = servers.start("--watch", filter_)
    with connect(server.url) as client:
        assert answer_of(client, "1") == "old 1"
        servers.script("answer", ANSWER.format(word="much newer"))
        server.stderr.wait_for("--watch: ")
        server.stderr.wait_for("the chain is replaced")
        assert answer_of(client, "2") == "much newer 2"
        servers.script("answer", ANSWER.format(word="newest"))
        server.stderr.wait_for("the chain is replaced", count=2)
        assert answer_of(client, "3") == "newest 3"
    assert server.stop() == 0


def test_watch_lets_a_file_alone_that_each_new_chain_writes(servers: Servers) -> None:
    restless = servers.script("written.py", "")
    server = servers.start("--watch", f"tee -a data.mp | sh -c 'date +%N >written.py; exec cat' {restless} | mirror")
    servers.script("written.py", "# changed")
    server.stderr.wait_for("--watch: no longer watching ./written.py: it changes at each reload")
    assert server.stop() == 0


def test_watch_replaces_no_chain_while_the_server_stops(servers: Servers) -> None:
    slow = servers.script(
        "slow", ANSWER.replace("    send(", "    import time; time.sleep(1.5)\n    send(").format(word="old")
    )
    server = servers.start("--watch", f"{servers.reporter()} | {slow}")
    with connect(server.url) as client:
        client.send("1")
        server.events("message", 1)
        server.signal(signal.SIGTERM)
        server.stderr.wait_for("SIGTERM: draining")
        servers.script("slow", ANSWER.format(word="new"))
        assert client.recv(PATIENCE_S) == "old 1"
    assert server.wait() == 0
    assert "--watch: " not in server.stderr.text


def test_a_chain_that_holds_replies_finishes_them_before_the_next_one_answers(servers: Servers) -> None:
    """The old chain works slowly: its replies come first, the new one's after them, in the client's order."""
    slow = ANSWER.replace("    send(", "    import time; time.sleep(0.02)\n    send(")
    filter_ = servers.script("answer", slow.format(word="old"))
    server = servers.start(filter_)
    with connect(server.url) as client:
        assert answer_of(client, "first") == "old first"
        servers.script("answer", ANSWER.format(word="new"))
        for number in range(100):
            client.send(str(number))
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("the chain is replaced")
        client.send("last")
        replies = [str(client.recv(PATIENCE_S)).split() for _ in range(101)]
    assert [number for _, number in replies] == [*map(str, range(100)), "last"]
    words = [word for word, _ in replies]
    assert words == sorted(words, reverse=True)
    assert words[0] == "old"
    assert words[-1] == "new"
    assert server.stop() == 0


@pytest.mark.slow
def test_reloads_under_load_lose_double_and_reorder_nothing(servers: Servers) -> None:
    clients, per_client, reloads = 10, 1500, 6
    server = servers.start("cat | mirror")
    assert server.port
    base = descriptors_of(server.pid)
    wrong: list[str] = []

    def converse(name: int) -> None:
        with RawClient(server.port) as client:
            client.upgrade()

            def send() -> None:
                for number in range(per_client):
                    client.send(frame(f"{name} {number:06}".encode()))
                    if number % 10 == 9:
                        time.sleep(0.01)  # paces the load, so that it spans the reloads

            sender = threading.Thread(target=send)
            sender.start()
            for number in range(per_client):
                payload = f"{name} {number:06}".encode()
                reply = client.read(2 + len(payload))
                if reply[2:] != payload:
                    wrong.append(f"{name}: {reply!r} instead of {number}")
                    break
            sender.join()

    threads = [threading.Thread(target=converse, args=(name,)) for name in range(clients)]
    for thread in threads:
        thread.start()
    for count in range(1, reloads + 1):
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("the chain is replaced", count=count)
    for thread in threads:
        thread.join()
    assert wrong == []
    eventually(lambda: descriptors_of(server.pid) == base, "the old chains' descriptors to be closed")
    assert server.stop() == 0
    assert "starts again" not in server.stderr.text
    assert "suppressed" not in server.stderr.text


def stage_pids(servers: Servers, name: str) -> list[int]:
    def runs(pid: int) -> bool:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        return any(Path(word).name == name for word in words[:3])

    return [pid for pid in servers.processes() if runs(pid)]


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_whatever_happens_to_the_server_during_a_reload_nothing_is_left(servers: Servers, kill: signal.Signals) -> None:
    """The new chain hangs at its start while the old one dies, or while the server stops."""
    filter_ = servers.script("answer", ANSWER.format(word="old"))
    server = servers.start(filter_)
    with connect(server.url) as client:
        assert answer_of(client, "1") == "old 1"
        [old] = stage_pids(servers, "answer")
        servers.script("answer", "#!/bin/sh\nexec sleep 1000\n")
        server.signal(signal.SIGHUP)
        eventually(lambda: len(servers.processes()) >= 5, "the start of the new chain")
        if kill is signal.SIGKILL:
            servers.script("answer", ANSWER.format(word="new"))
            os.kill(old, signal.SIGKILL)
            server.stderr.wait_for("the chain serves again")
            assert answer_of(client, "2") == "new 2"
    assert server.stop() == 0


def test_a_replacement_keeps_no_client_waiting_and_sigterm_right_after_it_loses_nothing(servers: Servers) -> None:
    """Each took the ten seconds that a chain which is replaced has at the most."""
    server = servers.start("cat | mirror")
    with connect(server.url) as client:
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("a new chain starts beside")
        longest = 0.0
        while "is replaced" not in server.stderr.text:
            start = time.monotonic()
            client.send("hello")
            assert client.recv(PATIENCE_S) == "hello"
            longest = max(longest, time.monotonic() - start)
        assert longest < 3.0
        client.send("last")
        assert client.recv(PATIENCE_S) == "last"
        server.signal(signal.SIGHUP)
        client.send("one more")
        server.process.terminate()
        assert client.recv(PATIENCE_S) == "one more"
    assert server.wait() == 0
