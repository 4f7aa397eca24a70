"""Nothing that a client has sent is lost when a chain dies, and nothing is answered twice."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from fws_pipe.ledger.blame import DEATHS_ALONE, DEATHS_IN_COMPANY
from tests.e2e.test_chain import children_of, stage_of
from tests.harness import PATIENCE_S, Server, Servers, shell

CLIENTS = 20
MESSAGES = 150
WINDOW = 10
"""How many messages a client has under way: some are in the chain whenever a stage dies."""


class Load:
    """Clients that send numbered messages and note what they get, each in a thread of its own."""

    def __init__(self, url: str, expected: Callable[[int], int]) -> None:
        self._url = url
        self._expected = expected
        self._changed = threading.Condition()
        self._count = 0
        self._ready = threading.Barrier(CLIENTS, timeout=PATIENCE_S)
        self.received: list[list[str]] = [[] for _ in range(CLIENTS)]
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        assert self.errors == []

    def _run(self, number: int) -> None:
        try:
            with connect(self._url) as client:
                self._ready.wait()
                self._talk(client, number)
                self._ready.wait()  # nobody goes before everybody has heard everything
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            self.errors.append(error)
            self._ready.abort()

    def _talk(self, client: ClientConnection, number: int) -> None:
        received = self.received[number]
        sent = 0
        while len(received) < self._expected(number):
            while sent < MESSAGES and sent - len(received) < WINDOW:
                client.send(f"{number} {sent}")
                sent += 1
            received.append(str(client.recv(PATIENCE_S)))
            with self._changed:
                self._count += 1
                self._changed.notify_all()

    def wait_for(self, share: float) -> None:
        """Wait until so much of all that is expected has arrived."""
        total = sum(map(self._expected, range(CLIENTS)))
        with self._changed:
            assert self._changed.wait_for(lambda: self._count >= total * share or self.errors, PATIENCE_S)


def kill_in_turn(server: Server, load: Load, stages: list[str]) -> None:
    for turn, name in enumerate(stages, 1):
        load.wait_for(turn / (len(stages) + 2))
        os.kill(stage_of(server.pid, name), signal.SIGKILL)
        server.stderr.wait_for("the chain serves again", count=turn)


def test_every_stage_killed_under_load_and_every_message_answered_once_in_order(servers: Servers) -> None:
    server = servers.start("cat | mirror | tee made.mp")
    with Load(server.url, lambda number: MESSAGES) as load:
        kill_in_turn(server, load, ["cat", "mirror", "tee", "fws_pipe.chain.sink"])
    for number, received in enumerate(load.received):
        assert received == [f"{number} {count}" for count in range(MESSAGES)]
    assert server.stop() == 0


def test_every_stage_killed_under_load_and_every_broadcast_heard_once_in_order(servers: Servers) -> None:
    server = servers.start("cat | broadcast | cat")
    # Two clients talk, everybody listens.
    talkers = 2

    def expected(number: int) -> int:
        return MESSAGES * (talkers - 1 if number < talkers else talkers)

    class Audience(Load):
        def _talk(self, client: ClientConnection, number: int) -> None:
            if number < talkers:
                for count in range(MESSAGES):
                    client.send(f"{number} {count}")
            while len(self.received[number]) < expected(number):
                self.received[number].append(str(client.recv(PATIENCE_S)))
                with self._changed:
                    self._count += 1
                    self._changed.notify_all()

    with Audience(server.url, expected) as load:
        kill_in_turn(server, load, ["cat", "broadcast", "fws_pipe.chain.sink"])
    for number, received in enumerate(load.received):
        for talker in range(talkers):
            own = [text for text in received if text.startswith(f"{talker} ")]
            assert own == ([] if talker == number else [f"{talker} {count}" for count in range(MESSAGES)])
    assert server.stop() == 0


ROOMS = """#!/usr/bin/env fws-python
from fws_pipe.sdk import on, join, run, send
rooms = {}
@on("open")
def opened(event):
    rooms[event["id"]] = event["groups"]
@on("message")
def said(event):
    if event["data"] == "join":
        join(event["id"], "tea")
    send(event["id"], f"{event['data']}: {' '.join(rooms[event['id']])}")
run()
"""


def test_a_new_chain_is_told_the_groups(servers: Servers) -> None:
    server = servers.start(f"{servers.script('rooms', ROOMS)} | cat")
    with connect(server.url) as client:
        client.send("join")
        assert client.recv(PATIENCE_S) == "join: "
        os.kill(stage_of(server.pid, "cat"), signal.SIGKILL)
        server.stderr.wait_for("the chain serves again")
        client.send("where")
        assert client.recv(PATIENCE_S) == "where: tea"


NICKNAMES = """#!/usr/bin/env fws-python
from fws_pipe.sdk import on, remember, run, send
nicks, counts = {}, {}
@on("open")
def opened(event):
    nicks[event["id"]] = event["remembered"].get("nick", "guest")
    counts[event["id"]] = event["remembered"].get("count", 0)
@on("message")
def said(event):
    client, text = event["id"], event["data"]
    counts[client] += 1
    remember(client, counts[client], name="count")
    if text.startswith("/nick "):
        nicks[client] = text[6:]
        remember(client, nicks[client], name="nick")
    send("*", f"{nicks[client]} {counts[client]}: {text}")
run()
"""


def test_nicknames_and_counters_survive_a_killed_filter_and_a_reload(servers: Servers) -> None:
    server = servers.start(f"{servers.script('nicknames', NICKNAMES)} | cat")
    with connect(server.url) as client:
        client.send("/nick Ann")
        assert client.recv(PATIENCE_S) == "Ann 1: /nick Ann"
        for number in range(2, 50):
            client.send(f"{number}")
            if number == 25:
                os.kill(stage_of(server.pid, "nicknames"), signal.SIGKILL)
        assert [client.recv(PATIENCE_S) for _ in range(2, 50)] == [f"Ann {number}: {number}" for number in range(2, 50)]
        os.kill(stage_of(server.pid, "cat"), signal.SIGKILL)
        server.stderr.wait_for("the chain serves again", count=2)
        client.send("there?")
        assert client.recv(PATIENCE_S) == "Ann 50: there?"
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("the chain is replaced")
        client.send("still there?")
        assert client.recv(PATIENCE_S) == "Ann 51: still there?"
        client.send("/nick Bea")
        assert client.recv(PATIENCE_S) == "Bea 52: /nick Bea"
    assert server.stop() == 0


IN_JQ = """to_json | jq -c --unbuffered '
    ., if .type == "message" and .data != "?" then {type: "remember", id, seq, value: .data} else empty end,
    if .type == "message" then {type: "send", to: .id, seq, data} else empty end,
    if .type == "open" and .replay then {type: "send", to: .id, data: .remembered.value} else empty end
' | from_json"""


def test_a_filter_in_jq_remembers(servers: Servers) -> None:
    server = servers.start(IN_JQ)
    with connect(server.url) as client:
        for text in ("Ann", "?"):  # when the second one is answered, the tick behind the first is back
            client.send(text)
            assert client.recv(PATIENCE_S) == text
        os.kill(stage_of(server.pid, "to_json"), signal.SIGKILL)
        assert client.recv(PATIENCE_S) == "Ann"


DIES_ONCE = """#!/usr/bin/env fws-python
import os, sys
from fws_pipe.sdk import on, run
@on("message")
def die_once(event):
    if event["data"] == "last words" and not os.path.exists("died"):
        open("died", "x").close()
        sys.exit(1)
run()
"""


def test_the_last_words_of_who_has_left_reach_its_group_though_the_chain_dies(servers: Servers) -> None:
    server = servers.start(f"{servers.script('dies_once', DIES_ONCE)} | broadcast_by_token")
    with connect(server.url) as listener:
        listener.send("token:tea")
        assert listener.recv(PATIENCE_S) == "Successfully registered with broadcast group: tea"
        dying = stage_of(server.pid, "dies_once")
        os.kill(dying, signal.SIGSTOP)
        with connect(server.url) as leaver:
            for text in ("token:tea", "last words"):
                leaver.send(text)
                assert leaver.ping().wait(PATIENCE_S)
        # It has gone when it is put into the group, and the next chain, which gets its last words, must know of that.
        os.kill(dying, signal.SIGCONT)
        assert listener.recv(PATIENCE_S) == "last words"
    assert "the chain starts again" in server.stderr.text
    assert server.stop() == 0


each_stage = pytest.mark.parametrize(
    ("stage", "label"), [("cat", 'stage 1 "cat"'), ("mirror", 'stage 2 "mirror"'), ("fws_pipe.chain.sink", "sink")]
)


def stop_stage(server: Server, stage: str, client: ClientConnection) -> int:
    """Stop a stage that has served the client, which sends something then; returns its pid."""
    client.send("before")
    assert client.recv(PATIENCE_S) == "before"
    pid = stage_of(server.pid, stage)
    os.kill(pid, signal.SIGSTOP)
    client.send("after")
    return pid


@each_stage
def test_a_chain_that_hangs_is_replaced(servers: Servers, stage: str, label: str) -> None:
    server = servers.start("--stall-timeout", "1", "cat | mirror")
    with connect(server.url) as client:
        stuck = stop_stage(server, stage, client)
        assert client.recv(PATIENCE_S) == "after"
    hangs = "the chain hangs: it has returned no tick for too long (see --stall-timeout)"
    assert f"{hangs}; {label} (pid {stuck}) leaves " in server.stderr.text
    assert re.search(r"leaves \d+ bytes of its input unread", server.stderr.text)
    assert server.stop() == 0


@each_stage
def test_the_stage_that_all_clients_wait_for_is_named_while_they_wait(servers: Servers, stage: str, label: str) -> None:
    server = servers.start("cat | mirror")
    with connect(server.url) as client:
        stuck = stop_stage(server, stage, client)
        line = server.stderr.wait_for("events wait in the chain, 1 s so far")
        assert f": {label} (pid {stuck}) leaves " in line
        os.kill(stuck, signal.SIGCONT)
        assert client.recv(PATIENCE_S) == "after"
        server.stderr.wait_for("the chain keeps up again")
    assert server.stop() == 0


def test_a_stage_that_reads_slowly_is_named_though_ticks_come_back(servers: Servers) -> None:
    servers.script(
        "slow",
        "#!/usr/bin/env python3\nimport os, time\n"
        "while block := os.read(0, 4096):\n    os.write(1, block)\n    time.sleep(0.02)\n",
    )
    server = servers.start("cat | ./slow | mirror")
    with connect(server.url) as client:
        for _ in range(400):
            client.send("x" * 2000)
        line = server.stderr.wait_for("events wait in the chain, 1 s so far")
        assert 'stage 2 "slow"' in line
        for _ in range(400):
            client.recv(PATIENCE_S)
        server.stderr.wait_for("the chain keeps up again")
    assert "hangs" not in server.stderr.text
    assert server.stop() == 0


def test_a_stage_that_sleeps_over_a_single_event_is_named(servers: Servers) -> None:
    servers.script(
        "sleepy",
        "#!/usr/bin/env fws-python\nimport time\nfrom fws_pipe.sdk import on, run\n"
        "@on('message')\ndef think(event):\n    time.sleep(2)\nrun()\n",
    )
    server = servers.start("cat | ./sleepy | mirror")
    with connect(server.url) as client:
        client.send("x")
        line = server.stderr.wait_for("events wait in the chain, 1 s so far")
        assert 'stage 2 "sleepy"' in line
        assert client.recv(PATIENCE_S) == "x"
        server.stderr.wait_for("the chain keeps up again")
    assert server.stop() == 0


@pytest.mark.slow
def test_a_slow_chain_does_not_hang(servers: Servers) -> None:
    slow = servers.script(
        "slow",
        "#!/usr/bin/env fws-python\n"
        "import time\n"
        "from fws_pipe.sdk import on, run, send\n"
        "@on('message')\n"
        "def answer(event):\n"
        "    time.sleep(0.003)\n"
        "    if event['data'] == 'last':\n"
        "        send(event['id'], 'done')\n"
        "run()\n",
    )
    server = servers.start("--stall-timeout", "6", slow)
    with connect(server.url) as client:
        for _ in range(3000):
            client.send("x")
        client.send("last")
        assert client.recv(PATIENCE_S) == "done"
    assert "starts again" not in server.stderr.text


DEADLY = """#!/usr/bin/env fws-python
import os, signal
from fws_pipe.sdk import on, run, send
@on("open", "disconnect")
def look(event):
    if "deadly-" + event["type"] in (event.get("query"), event.get("reason")):
        os._exit(3)
with open("runs", "ab") as file:
    file.write(b".")
run_number, heard = os.path.getsize("runs"), 0
@on("message")
def answer(event):
    global heard
    heard += 1
    if event["data"].startswith("exit"):
        os._exit(3)
    if event["data"].startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if event["data"].startswith("hang"):
        signal.pause()
    if event["data"].startswith("now and then") and run_number < 4 and heard == run_number % 3 + 1:
        os._exit(4)  # at its first, second or third message, whatever that is
    send(event["id"], event["data"])
run()
"""


def quarantined(servers: Servers) -> list[Path]:
    """The files there, by the number of their event."""
    return sorted((servers.folder / "quarantine").iterdir(), key=lambda path: int(path.stem.rsplit("-")[-1]))


@pytest.mark.parametrize(
    "messages",
    [
        ["a", "kill in the middle", "b", "c"],
        ["exit first", "exit at the end"],
    ],
)
def test_what_kills_the_chain_is_quarantined_and_the_rest_flows(servers: Servers, messages: list[str]) -> None:
    deadly = servers.script("deadly", DEADLY)
    server = servers.start("--quarantine", "quarantine", f"cat | {deadly}")
    poison = [text for text in messages if text.startswith(("exit", "kill"))]
    with connect(server.url) as client, connect(server.url) as other:
        os.kill(stage_of(server.pid, "cat"), signal.SIGSTOP)  # so that they come in one batch
        for text in messages:
            client.send(text)
        assert client.ping().wait(PATIENCE_S)
        os.kill(stage_of(server.pid, "cat"), signal.SIGCONT)
        for text in messages:
            if text not in poison:
                assert client.recv(PATIENCE_S) == text
        server.stderr.wait_for("it is skipped; it is kept in quarantine/", count=len(poison))
        other.send("others notice nothing")
        assert other.recv(PATIENCE_S) == "others notice nothing"
        client.send("nor does who sent it")
        assert client.recv(PATIENCE_S) == "nor does who sent it"
    for path, text in zip(quarantined(servers), poison, strict=True):
        frames = shell(f"fws-cat {path}").stdout.decode()
        assert '"type":"open"' in frames.splitlines()[0]
        assert '"replay":true' in frames.splitlines()[0]
        assert f'"data":"{text}"' in frames.splitlines()[1]
        again = shell(f"cat {path} | {deadly} >/dev/null", cwd=servers.folder)
        assert again.returncode == (3 if text.startswith("exit") else 128 + signal.SIGKILL)
    assert server.stop() == 0
    server.stderr.wait_for(f"counted.*events quarantined: {len(poison)}")


@pytest.mark.slow
def test_what_hangs_the_chain_is_quarantined_and_the_rest_flows(servers: Servers) -> None:
    deadly = servers.script("deadly", DEADLY)
    server = servers.start("--stall-timeout", "1", "--quarantine", "quarantine", f"cat | {deadly}")
    with connect(server.url) as client:
        for text in ("a", "hang", "b"):
            client.send(text)
        assert [client.recv(PATIENCE_S), client.recv(PATIENCE_S)] == ["a", "b"]
        assert "it is skipped; it is kept in quarantine/" in server.stderr.text
    [path] = quarantined(servers)
    assert '"data":"hang"' in shell(f"fws-cat {path}").stdout.decode()
    assert server.stop() == 0


def closed_with(client: ClientConnection) -> tuple[int, str]:
    """The code and the reason of the Close frame that comes now; whatever else comes is an error."""
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(PATIENCE_S)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


NOT_SERVED = 1011, "the chain can't serve this client"


def test_an_open_and_a_disconnect_that_kill_the_chain(servers: Servers) -> None:
    server = servers.start("--quarantine", "quarantine", f"{servers.script('deadly', DEADLY)} | cat | tee -a heard.mp")
    with connect(server.url + "?deadly-open") as client, connect(server.url) as other:
        client.send("no chain hears of this")
        assert closed_with(client) == NOT_SERVED
        server.stderr.wait_for(
            r"event \d+ \(open of .*-1, \d+ bytes\) has killed the chain 3 times.* its client turned away"
        )
        other.send("served")
        assert other.recv(PATIENCE_S) == "served"
        os.kill(stage_of(server.pid, "cat"), signal.SIGKILL)
        other.send("also by the next chain")
        assert other.recv(PATIENCE_S) == "also by the next chain"
        with connect(server.url) as leaver:
            leaver.close(4000, "deadly-disconnect")
        server.stderr.wait_for(r"event \d+ \(disconnect of .*-3, \d+ bytes\) has killed the chain 3 times")
        other.send("still")
        assert other.recv(PATIENCE_S) == "still"
    for path, kinds in zip(quarantined(servers), (["open"], ["open", "disconnect"]), strict=True):
        lines = shell(f"fws-cat {path}").stdout.decode().splitlines()
        assert [line.split('"')[3] for line in lines] == kinds
        assert shell(f"cat {path} | ./deadly >/dev/null", cwd=servers.folder).returncode == 3
    assert server.stop() == 0
    heard = shell("fws-cat heard.mp", cwd=servers.folder).stdout.decode()
    assert '-2"' in heard
    assert '-1"' not in heard
    assert server.stderr.text.count("the chain starts again") <= 2 * (DEATHS_IN_COMPANY + DEATHS_ALONE) + 1
    server.stderr.wait_for("counted.*clients that the chain can't serve: 1, .*events quarantined: 2")


@pytest.mark.slow
def test_an_open_that_kills_the_chain_during_a_reload_and_at_the_end(servers: Servers) -> None:
    server = servers.start(f"{servers.script('deadly', DEADLY)} | cat")
    with connect(server.url) as other:
        with connect(server.url + "?deadly-open") as client:
            server.stderr.wait_for("the chain starts again")
            server.signal(signal.SIGHUP)
            assert closed_with(client) == NOT_SERVED
            other.send("replaced")
            assert other.recv(PATIENCE_S) == "replaced"
        deaths = server.stderr.text.count("the chain starts again")
        with connect(server.url + "?deadly-open") as client:
            server.stderr.wait_for("the chain starts again", count=deaths + 1)
            server.signal(signal.SIGTERM)
            assert closed_with(client)[0] in (1001, NOT_SERVED[0])
            assert closed_with(other)[0] == 1001
    assert server.wait() == 0
    server.stderr.wait_for("events skipped and not kept: 2")


def test_a_filter_that_dies_now_and_then_loses_nothing(servers: Servers) -> None:
    server = servers.start("--quarantine", "quarantine", f"{servers.script('deadly', DEADLY)} | cat")
    with connect(server.url) as client:
        for number in range(20):
            client.send(f"now and then {number}")
            assert client.recv(PATIENCE_S) == f"now and then {number}"
    assert server.stop() == 0
    assert server.stderr.text.count("exited with status 4") == 3
    assert not (servers.folder / "quarantine").exists()


def test_an_event_that_can_not_be_kept_is_skipped_all_the_same(servers: Servers) -> None:
    server = servers.start("--quarantine", "late", servers.script("deadly", DEADLY))
    server.stderr.wait_for("listening")
    (servers.folder / "late").write_text("a file, where a folder was to be made")
    with connect(server.url) as client:
        client.send("exit")
        client.send("on")
        assert client.recv(PATIENCE_S) == "on"
        server.stderr.wait_for("it is skipped; it is not kept: late/")
    assert server.stop() == 0
    server.stderr.wait_for("counted events skipped and not kept: 1$")


@pytest.mark.slow
def test_a_chain_that_swallows_ticks_says_what_a_crash_costs(servers: Servers) -> None:
    picky = servers.script(
        "picky",
        "#!/usr/bin/env fws-python\n"
        "from fws_pipe.sdk import DROP, on, run\n"
        "@on('tick')\n"
        "def swallow(event):\n"
        "    return DROP\n"
        "run()\n",
    )
    server = servers.start(f"mirror | {picky}")
    server.stderr.wait_for("no tick has come back within 10 s")
    with connect(server.url) as client:
        client.send("before")
        assert client.recv(PATIENCE_S) == "before"
        os.kill(stage_of(server.pid, "mirror"), signal.SIGKILL)
        server.stderr.wait_for("unfinished events are lost: the chain lets no tick through")
        server.stderr.wait_for("the chain serves again")
        client.send("after")
        assert client.recv(PATIENCE_S) == "after"
    assert len(children_of(server.pid)) == 3
    assert server.stop() == 0


def test_a_snapshot_that_kills_each_new_chain(servers: Servers) -> None:
    """What a client has become, and no event of its own, is what the filter can't take: found, and left out."""
    fragile = servers.script(
        "fragile",
        """#!/usr/bin/env fws-python
import sys
from fws_pipe.sdk import join, on, run, send

@on("open")
def came(event):
    if "poison" in event["groups"]:
        sys.exit("I can't take it")

@on("message")
def said(event):
    if event["data"] == "poison":
        join(event["id"], "poison")
    send(event["id"], event["data"])

run()
""",
    )
    server = servers.start("--quarantine", "quarantine", f"{fragile} | cat")
    with connect(server.url) as first, connect(server.url) as poisoned, connect(server.url) as last:
        for client, text in ((first, "1"), (poisoned, "poison"), (last, "3"), (first, "4")):
            client.send(text)
            assert client.recv(PATIENCE_S) == text
        os.kill(stage_of(server.pid, "cat"), signal.SIGKILL)
        server.stderr.wait_for(r"event \d+ \(open of .*-2, \d+ bytes\) has killed the chain 3 times")
        assert closed_with(poisoned) == NOT_SERVED
        for client in (first, last):
            client.send("still here")
            assert client.recv(PATIENCE_S) == "still here"
    [path] = quarantined(servers)
    assert shell(f"cat {path} | ./fragile >/dev/null", cwd=servers.folder).returncode == 1
    assert server.stop() == 0


FAILING = """#!/usr/bin/env fws-python
import sys
from fws_pipe.sdk import on, run, send

left = int(open("left").read())
if left:
    open("left", "w").write(str(left - 1))
    sys.exit("the database is away")
names = {}

@on("open")
def came(event):
    names[event["id"]] = event["query"]

@on("message")
def said(event):
    send("*", names[event["id"]] + event["data"])

run()
"""


@pytest.mark.slow
def test_no_client_is_blamed_for_starts_that_fail(servers: Servers) -> None:
    """The first client of the snapshot was never introduced again, and each of its messages killed the filter."""
    left = servers.folder / "left"
    left.write_text("0")
    server = servers.start(servers.script("failing", FAILING))
    with connect(server.url + "?first") as first, connect(server.url + "?second") as second:
        first.send(" is here")
        assert [client.recv(PATIENCE_S) for client in (first, second)] == ["first is here"] * 2
        left.write_text("4")  # of the five that make the server give up
        os.kill(stage_of(server.pid, "failing"), signal.SIGKILL)
        server.stderr.wait_for("the chain serves again")
        for client, name in ((first, "first"), (second, "second")):
            client.send(" is still here")
            assert [listener.recv(PATIENCE_S) for listener in (first, second)] == [f"{name} is still here"] * 2
    assert "skipped" not in server.stderr.text
    assert server.stop() == 0


ODD_NUMBERS = """#!/usr/bin/env fws-python
from fws_pipe.sdk import emit, on, run, send

@on("message")
def said(event):
    if event["data"] == "odd":
        emit({"type": "tick", "seq": 1767225600000, "time": 0.0})
        emit({"type": "send", "to": event["id"], "data": "odd", "seq": 1767225600000})
    else:
        send(event["id"], event["data"])

run()
"""


def test_numbers_that_a_filter_makes_up_silence_nobody_after_a_crash(servers: Servers) -> None:
    server = servers.start(f"{servers.script('odd', ODD_NUMBERS)} | cat")
    with connect(server.url) as client, connect(server.url) as other:
        for text in ("one", "odd", "two"):
            client.send(text)
            assert client.recv(PATIENCE_S) == text
        os.kill(stage_of(server.pid, "odd"), signal.SIGKILL)
        server.stderr.wait_for("the chain serves again")
        for number in range(5):
            for speaker in (client, other):
                speaker.send(f"{number}")
                assert speaker.recv(PATIENCE_S) == f"{number}"
    assert server.stop() == 0
    server.stderr.wait_for("made-up ticks: 1")


OUT_OF_ORDER = """#!/usr/bin/env fws-python
import os
from fws_pipe.pipes.blocks import STDIN, STDOUT, write_all
from fws_pipe.protocol.codec import FrameDecoder, encode

first_run = not os.path.exists("ran")
open("ran", "w").close()
decoder = FrameDecoder("stdin")
waiting = []

def answer(event):
    write_all(STDOUT, encode({"type": "send", "to": event["id"], "data": event["data"], "seq": event["seq"]}))

while block := os.read(STDIN, 1 << 16):
    decoder.feed(block)
    for frame, raw in decoder:
        if frame["type"] == "message":
            waiting.append(frame)
        elif frame["type"] == "tick":
            waiting.reverse()  # the last one first
            for number, event in enumerate(waiting):
                if first_run and number == 2:
                    os._exit(3)
                answer(event)
            waiting.clear()
        write_all(STDOUT, raw)
"""


def test_a_filter_that_answers_a_batch_out_of_order_loses_nothing(servers: Servers) -> None:
    server = servers.start(f"cat | {servers.script('worker', OUT_OF_ORDER)} | cat")
    with connect(server.url) as client:
        os.kill(stage_of(server.pid, "cat"), signal.SIGSTOP)  # so that they come in one batch
        for number in range(6):
            client.send(f"{number}")
        assert client.ping().wait(PATIENCE_S)
        os.kill(stage_of(server.pid, "cat"), signal.SIGCONT)
        answers = [client.recv(PATIENCE_S) for _ in range(6)]
        assert sorted(answers) == [f"{number}" for number in range(6)]
        client.send("and no more")
        assert client.recv(PATIENCE_S) == "and no more"
    assert server.stop() == 0
