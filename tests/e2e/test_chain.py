"""Stages that die, hang, flood, talk nonsense: clients stay, the server says what happened and mends it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.e2e.raw import RawClient, frame
from tests.harness import Servers, descriptors_of, eventually, memory_of, shell


def children_of(pid: int) -> dict[int, str]:
    """The command lines of a process's children, by id, in the order of the chain."""
    return {
        child: Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        for child in sorted(map(int, filter(str.isdigit, os.listdir("/proc"))))
        if parent_of(child) == pid
    }


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0  # gone meanwhile


def stage_of(pid: int, name: str) -> int:
    return next(child for child, line in children_of(pid).items() if name in line)


CRASH_AT_THE_FIRST_OPEN = """#!/usr/bin/env fws-python
import os
from fws_pipe.sdk import on, run

@on("open")
def crash(event):
    if not os.path.exists("crashed"):
        open("crashed", "x").close()
        os._exit(1)

run()
"""


def test_the_default_token_survives_a_chain_that_dies_before_it_is_given(servers: Servers) -> None:
    server = servers.start(
        "--token", "lobby", f"{servers.script('crash', CRASH_AT_THE_FIRST_OPEN)} | broadcast_by_token"
    )
    with connect(server.url) as alice:
        server.stderr.wait_for("the chain serves again")
        with connect(server.url) as bob:
            alice.send("still in the lobby")
            assert bob.recv(30) == "still in the lobby"


def test_who_has_left_the_default_token_stays_out_when_the_chain_dies(servers: Servers) -> None:
    server = servers.start("--token", "lobby", "cat | broadcast_by_token")
    with connect(server.url) as alice:
        alice.send("token:")
        assert alice.recv(30) == "Successfully left broadcast group: lobby"
        os.kill(stage_of(server.pid, "cat"), signal.SIGKILL)
        server.stderr.wait_for("the chain serves again")
        alice.send("hello")
        assert alice.recv(30) == "Error: No token has been set"


def test_stages_are_processes_with_groups_of_their_own_and_no_shell_stays(servers: Servers) -> None:
    server = servers.start("X=1 broadcast | cat -u | stdout_log")
    assert server.port
    lines = children_of(server.pid)
    assert not any("/bin/sh" in line for line in lines.values())
    assert [line.split()[-1].rsplit("/")[-1] for line in lines.values()] == [
        "broadcast",
        "-u",
        "stdout_log",
        "fws_pipe.chain.sink",
    ]
    assert all(os.getpgid(pid) == pid for pid in lines)


@pytest.mark.parametrize("stage", ["mirror", "cat", "fws_pipe.chain.sink"])
def test_a_killed_stage_costs_no_client_its_connection(servers: Servers, stage: str) -> None:
    server = servers.start("cat | mirror | tee events.mp")
    with connect(server.url) as client:
        for number in range(3):
            client.send(f"before {number}")
            assert client.recv(30) == f"before {number}"
            os.kill(stage_of(server.pid, stage), signal.SIGKILL)
            server.stderr.wait_for("was killed by SIGKILL; the chain starts again", count=number + 1)
            server.stderr.wait_for("the chain serves again", count=number + 1)
        client.send("after")
        assert client.recv(30) == "after"
    assert server.stop() == 0


def test_a_new_chain_hears_of_the_clients_that_are_there(servers: Servers) -> None:
    server = servers.start(f"{servers.reporter()} | mirror")
    with connect(server.url) as client:
        for text in ("x", "y"):  # the second reply tells that the `open` is through, and its tick
            client.send(text)
            assert client.recv(30) == text
        [first] = server.events("open", 1)
        for text in ("one", "two"):  # the second is in a later batch than `open`, whose tick is back before its answer
            client.send(text)
            assert client.recv(30) == text
        os.kill(stage_of(server.pid, "mirror"), signal.SIGKILL)
        server.stderr.wait_for("the chain serves again")
        again = server.events("open", 2)[1]
        assert again == {**first, "replay": True}
        client.send("z")
        assert client.recv(30) == "z"
    server.events("disconnect", 1)


LAZY = """#!/usr/bin/env fws-python
import os, sys
from fws_pipe.sdk import on, run, send
if not os.path.exists("woken"):
    # Lets one tick through, reads on no further, and dies when it is told to.
    os.write(1, os.read(0, 1 << 20))
    os.mkfifo("wake")
    open("wake").close()
    open("woken", "w").close()
    sys.exit(7)
@on("message")
def mirror(event):
    send(event["id"], event["data"])
run()
"""


def test_what_a_dead_chain_had_not_read_waits_for_the_next(servers: Servers) -> None:
    server = servers.start(servers.script("lazy", LAZY))
    with connect(server.url) as client:
        for number in range(100):
            client.send(str(number))
        # The answer to a ping tells that the server has read all messages.
        assert client.ping().wait(30)
        eventually((servers.folder / "wake").exists, "the stage waits")
        (servers.folder / "wake").open("w").close()
        assert [client.recv(30) for _ in range(100)] == [str(number) for number in range(100)]
    server.stderr.wait_for(r'stage 1 "lazy" exited with status 7')
    server.stderr.wait_for("gets 101 unfinished events again")
    assert server.stop() == 0


def test_replies_behind_a_dead_stage_still_arrive(servers: Servers) -> None:
    # The first tick has 30 bytes, and the chain serves once it is back. Then the last stage holds everything back.
    holder = servers.script("holder", "#!/bin/sh\n[ -e again ] && exec cat\n>again\nhead -c 30\nread _ <go\nexec cat\n")
    os.mkfifo(servers.folder / "go")
    server = servers.start(f"mirror | tee made.mp | {holder}")
    with connect(server.url) as client:
        client.send("x")
        made = servers.folder / "made.mp"
        eventually(lambda: b'"send"' in shell("fws-cat made.mp", cwd=servers.folder).stdout, f"the reply is in {made}")
        os.kill(stage_of(server.pid, "mirror"), signal.SIGKILL)
        (servers.folder / "go").open("w").close()
        assert client.recv(30) == "x"


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        ("broadcast | false", 'stage 2 "false" exited with status 1'),
        ("( broadcast | nonsense ) | cat", 'stage 1 "( broadcast | nonsense )"'),
        ("cat | sh -c 'echo went wrong >&2; exit 3'", 'stage 2 "sh" exited with status 3'),
        ("true | cat", 'stage 1 "true" exited with status 0'),
        ("sh -c 'kill -SEGV $$' | cat", 'stage 1 "sh" was killed by SIGSEGV'),
        ("broadcast | head -c 5", 'stage 2 "head"'),
    ],
)
def test_a_chain_that_cannot_start_is_an_error_at_boot(servers: Servers, chain: str, words: str) -> None:
    server = servers.start(chain)
    assert server.wait() == 3
    [last] = [line for line in server.stderr.lines if "the chain could not start: " in line]
    # Of stages that end together any may be the first: the sink names the one whose frame was cut short.
    assert words in (last if words != 'stage 2 "head"' else server.stderr.text)
    assert server.stderr.text.count("went wrong") == chain.count("went wrong"), "a reason is told once"
    assert "listening" not in server.stderr.text
    assert "Traceback" not in server.stderr.text
    assert servers.processes() == []


DOOMED = """#!/usr/bin/env fws-python
import os, sys
from fws_pipe.sdk import run
if os.path.exists("doomed"):
    sys.exit("I can't go on")
open("doomed", "w").close()
run()
"""


@pytest.mark.slow
def test_after_five_failed_starts_in_a_row_the_server_stops(servers: Servers) -> None:
    server = servers.start(servers.script("doom", DOOMED))
    with connect(server.url) as client:
        os.kill(stage_of(server.pid, "doom"), signal.SIGKILL)
        with pytest.raises(ConnectionClosed, match="1011"):
            client.recv(30)
    assert server.wait() == 4
    last = server.stderr.lines[-1]
    assert "failed 5 times in a row" in last
    assert last.endswith("its last words: I can't go on")
    assert len([line for line in server.stderr.lines if "starts again in" in line]) == 4


def test_a_stage_that_closes_its_stdout_is_replaced(servers: Servers) -> None:
    closer = servers.script(
        "closer",
        "#!/usr/bin/env fws-python\n"
        "import os, time\n"
        "from fws_pipe.sdk import on, run\n"
        "if os.path.exists('once'):\n"
        "    run()\n"
        "open('once', 'w').close()\n"
        "os.write(1, os.read(0, 1 << 20))\n"
        "os.read(0, 1 << 20)\n"
        "os.close(1)\n"
        "os.read(0, 0) or time.sleep(1000)\n",
    )
    server = servers.start(f"{closer} | mirror")
    with connect(server.url) as client:
        client.send("perhaps")
        server.stderr.wait_for("the chain serves again")
        client.send("x")
        # The first message may have been read by the stage that is gone, or not.
        assert client.recv(30) == "x" or client.recv(30) == "x"


def test_a_filter_that_never_reads_holds_the_clients_back_and_memory_stays_flat(servers: Servers) -> None:
    deaf = servers.script(
        "deaf",
        "#!/usr/bin/env fws-python\n"
        "import os, signal\n"
        "os.write(1, os.read(0, 1 << 20))\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n"
        "signal.sigwait({signal.SIGUSR1})\n"
        "from fws_pipe.sdk import on, run, send\n"
        "@on('message')\n"
        "def count(event):\n"
        "    send(event['id'], str(len(event['data'])))\n"
        "run()\n",
    )
    server = servers.start(deaf)
    message = frame(b"x" * 60_000)
    with RawClient(server.port) as client:
        client.upgrade()
        base = memory_of(server.pid)
        client.socket.settimeout(1.0)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 100_000_000:
                sent += client.socket.send(message[sent % len(message) :])
        assert sent < 30_000_000
        assert memory_of(server.pid) - base < 16 * 2**20
        os.kill(stage_of(server.pid, "deaf"), signal.SIGUSR1)
        client.socket.settimeout(30)
        whole = sent // len(message)
        assert client.read(7 * whole) == b"\x81\x0560000" * whole


FLOOD = """#!/usr/bin/env fws-python
from fws_pipe.sdk import on, run, send
victim = None
@on("message")
def flood(event):
    if event["data"] == "victim":
        global victim
        victim = event["id"]
        send(victim, "ready")
    elif event["data"] == "flood":
        for _ in range(1600):
            send(victim, b"x" * 65536)
        send(event["id"], "done")
    else:
        send(event["id"], event["data"])
run()
"""


def test_a_client_who_does_not_read_is_closed_and_others_notice_nothing(servers: Servers) -> None:
    server = servers.start(f"{servers.script('flood', FLOOD)} | {servers.reporter()}")
    with RawClient(server.port, receive_buffer=4096) as victim, connect(server.url) as other:
        victim.upgrade()
        victim.send(frame(b"victim"))
        assert victim.read(7) == b"\x81\x05ready"
        base = memory_of(server.pid)
        other.send("flood")
        assert other.recv(30) == "done"
        assert memory_of(server.pid) - base < 32 * 2**20
        other.send("still here")
        assert other.recv(30) == "still here"
        assert victim.read_close_code() == 1013
        [disconnect] = server.events("disconnect", 1)
    assert (disconnect["code"], disconnect["clean"]) == (1013, False)
    assert "too slow" in disconnect["reason"]
    assert server.stop() == 0
    assert "slow: 1" in server.stderr.text


@pytest.mark.parametrize("policy", ["drop-oldest", "drop-newest"])
def test_a_slow_client_that_may_stay_misses_messages_and_the_server_counts_them(servers: Servers, policy: str) -> None:
    server = servers.start("--access-log", "--slow-client", policy, "--outbox-limit", "64K", "broadcast")
    count = 3000
    with (
        RawClient(server.port, receive_buffer=4096) as slow,
        connect(server.url) as sender,
        connect(server.url) as other,
    ):
        slow.upgrade()
        address = "{}:{}".format(*slow.socket.getsockname())
        sender.send("first")
        assert slow.read(7) == b"\x81\x05first"
        assert other.recv(30) == "first"
        for number in range(count):
            sender.send(f"{number:06}" + "x" * 5000)
            assert other.recv(30) == f"{number:06}" + "x" * 5000
        received: list[int] = []
        while not received or received[-1] < count - 1 if policy == "drop-oldest" else len(received) < 5:
            message = slow.read(4 + 5006)
            assert message[:4] == b"\x81\x7e" + (5006).to_bytes(2, "big")
            received.append(int(message[4:10]))
        sender.send("last")
        assert other.recv(30) == "last"
    # What it has had is in order, and either the newest is there or nothing is missing from what came first.
    assert received == sorted(set(received))
    assert len(received) < count
    assert policy == "drop-oldest" or received == list(range(len(received)))
    gone = server.stderr.wait_for(f"connection closed .*address={address} ")
    assert policy != "drop-oldest" or f"messages_out={len(received) + 2} " in gone  # the first and the last as well
    assert server.stop() == 0
    assert re.search(r"dropped for slow clients: \d{3}", server.stderr.text)


def test_a_client_that_reads_late_but_reads_gets_all_its_own_replies(servers: Servers) -> None:
    """It sends 8 MB before it reads: the server stops reading from it instead of closing it."""
    server = servers.start("mirror")
    message = frame(b"x" * 1000)
    count = 8000
    with RawClient(server.port) as client:
        client.upgrade()
        client.socket.settimeout(1.0)
        stream = message * count
        sent = 0
        try:
            while sent < len(stream):
                sent += client.socket.send(stream[sent : sent + 65536])
        except TimeoutError:
            pass  # held back, as it should be
        client.socket.settimeout(0)
        received = b""
        while len(received) < count * 1004:
            try:
                received += client.socket.recv(1 << 20)
            except BlockingIOError:
                pass
            if sent < len(stream):
                try:
                    sent += client.socket.send(stream[sent : sent + 65536])
                except BlockingIOError:
                    pass
    assert received == (b"\x81\x7e\x03\xe8" + b"x" * 1000) * count


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            "printf hello",
            r'.* from stage 1 "talk", at byte \d+: expected a map, got text .* for people goes to stderr',
        ),
        (r"printf '\301'", r'broken frame from stage 1 "talk", at byte \d+: this is not msgpack'),
        (r"printf '\201\244type'", r'broken frame from stage 1 "talk", at byte \d+: the stream ended inside a frame'),
    ],
)
def test_a_stage_that_talks_nonsense_is_named_by_its_reader_and_replaced(
    servers: Servers, script: str, words: str
) -> None:
    talk = servers.script("talk", f"#!/bin/sh\n[ -e again ] && exec cat\nhead -c 30\n>again\nread _ <go\n{script}\n")
    os.mkfifo(servers.folder / "go")
    # The first tick has 30 bytes, and the chain serves once it is back.
    server = servers.start(f"{talk} | mirror")
    with connect(server.url) as client:
        (servers.folder / "go").open("w").close()
        server.stderr.wait_for(f'stage 2 "mirror": mirror: {words}')
        server.stderr.wait_for("the chain serves again")
        client.send("x")
        assert client.recv(30) == "x"


ODD_ACTIONS = """#!/usr/bin/env fws-python
import sys
from fws_pipe.pipes.blocks import BlockWriter, frames_of_blocks, input_source
from fws_pipe.protocol.codec import encode
out = BlockWriter()
for frame, raw in frames_of_blocks(input_source(), out.flush):
    out.add(raw)
    if frame["type"] == "message":
        for odd in ({"type": "send", "to": 5, "data": "x"}, {"type": "dance"}, {"type": "dance"}, {"step": 1}):
            out.add(encode(odd))
        out.add(encode({"type": "send", "to": "nobody-1", "data": "x"}))
        out.add(encode({"type": "send", "to": [frame["id"], "nobody-2"], "data": "right"}))
out.flush()
"""


def test_wrong_and_unknown_frames_are_dropped_and_named_and_the_chain_goes_on(servers: Servers) -> None:
    server = servers.start(f"cat | {servers.script('odd', ODD_ACTIONS)}")
    with connect(server.url) as client:
        for _ in range(2):
            client.send("go")
            assert client.recv(30) == "right"
    assert server.stop() == 0
    said = [line for line in server.stderr.lines if line.startswith("sink: ")]
    assert len([line for line in said if "send.to: expected an id or a list of ids, got int 5; dropped" in line]) == 2
    assert len([line for line in said if "unknown type 'dance'" in line]) == 1
    assert len([line for line in said if "unknown type None" in line]) == 1
    named = [line for line in said if 'frame that came through stage 2 "odd", at byte ' in line]
    assert len(named) == 4
    assert "gone: 4" in server.stderr.text


def test_stderr_is_relayed_line_by_line_however_long(servers: Servers) -> None:
    noisy = servers.script(
        "noisy",
        "#!/usr/bin/env fws-python\n"
        "import sys\n"
        "sys.stderr.write('short\\n' + 'y' * 1_000_000 + '\\n' + 'z' * 3_000_000 + '\\nlast, without a newline')\n"
        "sys.stderr.flush()\n"
        "from fws_pipe.sdk import run\n"
        "run()\n",
    )
    server = servers.start(f"{noisy} | mirror")
    assert server.port
    assert server.stop() == 0
    prefix = 'stage 1 "noisy": '
    lines = [line.removeprefix(prefix) for line in server.stderr.lines if line.startswith(prefix)]
    assert lines[0] == "short"
    assert lines[1] == "y" * 1_000_000
    assert "".join(lines[2:-1]) == "z" * 3_000_000
    assert lines[-1] == "last, without a newline"


def test_a_stderr_that_nobody_reads_does_not_stop_the_server(servers: Servers) -> None:
    shouting = servers.script(
        "shout",
        "#!/usr/bin/env fws-python\n"
        "import sys\n"
        "from fws_pipe.sdk import on, run, send\n"
        "@on('message')\n"
        "def shout(event):\n"
        "    sys.stderr.write('x' * 10_000_000 + '\\n')\n"
        "    send(event['id'], 'shouted')\n"
        "run()\n",
    )
    read_end, write_end = os.pipe()
    try:
        fws = shutil.which("fws-pipe", path=servers.environment()["PATH"])
        # A shell in between keeps our end of stderr, which says "listening", apart from the one that is stuck.
        server = servers.start_command(
            "/bin/sh",
            "-c",
            f"exec {fws} --port 0 {shouting} 2>stuck",
        )
        os.set_blocking(read_end, False)
        eventually(lambda: (servers.folder / "stuck").exists(), "stderr is open")
        eventually(lambda: "listening on" in (servers.folder / "stuck").read_text(), "the server listens")
        url = (servers.folder / "stuck").read_text().split("listening on ")[1].split()[0]
        with connect(url) as client:
            for _ in range(3):
                client.send("x")
                assert client.recv(30) == "shouted"
        assert server.stop() == 0
    finally:
        os.close(read_end)
        os.close(write_end)


def test_process_substitution_works_under_a_shell_that_has_it(servers: Servers) -> None:
    if not shutil.which("bash"):
        pytest.skip("bash is not installed")
    server = servers.start("--shell", shutil.which("bash") or "", "mirror | tee >(gzip >events.gz)")
    with connect(server.url) as client:
        client.send("x")
        assert client.recv(30) == "x"
    assert server.stop() == 0
    eventually(lambda: b'"x"' in shell("gzip -dc <events.gz | fws-cat", cwd=servers.folder).stdout, "gzip has ended")


@pytest.mark.parametrize(
    "chain", ["( mirror | cat )", "{ mirror | cat; }", "tee events.mp | mirror", "cat | mirror >&1"]
)
def test_stages_that_only_a_shell_understands(servers: Servers, chain: str) -> None:
    server = servers.start(chain)
    with connect(server.url) as client:
        client.send("x")
        assert client.recv(30) == "x"
    assert server.stop() == 0


def test_the_chain_is_told_the_servers_stdout(servers: Servers) -> None:
    teller = servers.script("teller", '#!/bin/sh\necho "from a shell" >&"$FWS_STDOUT_FD"\nexec cat\n')
    server = servers.start(f"{teller} | mirror")
    server.stdout.wait_for("from a shell")
    assert server.stop() == 0


@pytest.mark.slow
def test_a_chain_that_swallows_ticks_serves_and_is_told_so(servers: Servers) -> None:
    picky = servers.script(
        "picky",
        "#!/usr/bin/env fws-python\n"
        "from fws_pipe.pipes.blocks import BlockWriter, frames_of_blocks\n"
        "from fws_pipe.protocol.codec import encode\n"
        "out = BlockWriter()\n"
        "for frame, raw in frames_of_blocks('stdin', out.flush):\n"
        "    if frame['type'] == 'message':\n"
        "        out.add(encode({'type': 'send', 'to': frame['id'], 'data': frame['data']}))\n",
    )
    server = servers.start(picky)
    server.stderr.wait_for("no tick has come back within 10 s")
    with connect(server.url, max_size=None) as client:
        for number in range(200):
            client.send(f"{number} " + "x" * 20_000)
            assert str(client.recv(30)).startswith(f"{number} ")
    assert server.stop() == 0


def test_data_events_come_only_when_a_filter_wants_them(servers: Servers) -> None:
    server = servers.start("stdout_rawdata | tee events.mp | mirror")
    with connect(server.url) as client:
        client.send("x")
        assert client.recv(30) == "x"
    server.stdout.wait_for(r"raw b'\\x81\\x81")
    assert server.stop() == 0
    recorded = shell("fws-cat events.mp", cwd=servers.folder).stdout
    assert b'"type":"data"' in recorded
    # Each block comes before what is in it, the handshake's as well.
    assert recorded.index(b'"type":"data"') < recorded.index(b'"type":"open"')
    assert recorded.rindex(b'"type":"data"', 0, recorded.index(b'"type":"message"')) > recorded.index(b'"type":"open"')
    plain = servers.start("tee plain.mp | mirror")
    with connect(plain.url) as client:
        client.send("x")
        assert client.recv(30) == "x"
    assert plain.stop() == 0
    assert b'"type":"data"' not in shell("fws-cat plain.mp", cwd=servers.folder).stdout


def test_without_redis_what_is_published_comes_back(servers: Servers) -> None:
    server = servers.start("publish news | broadcast_pubsub | stdout_pubsub")
    with connect(server.url) as alice, connect(server.url) as bob:
        for message in ("hello", b"\0\xff"):
            alice.send(message)
            assert alice.recv(30) == message
            assert bob.recv(30) == message
    server.stdout.wait_for("news => hello")


GROUPS = """#!/usr/bin/env fws-python
from fws_pipe.sdk import enqueue, join, leave, on, run, send
@on("message")
def rooms(event):
    command, _, rest = event["data"].partition(" ")
    if command == "join":
        join(event["id"], rest)
    elif command == "leave":
        leave(event["id"], rest)
    elif command == "queue":
        enqueue({"who": event["id"], "what": rest})
    else:
        send(group=command, data=rest, without=event["id"])
    send(event["id"], "ok")
@on("consumer")
def queued(event):
    send(event["data"]["who"], "queued " + event["data"]["what"])
run()
"""


def test_groups_and_the_queue(servers: Servers) -> None:
    server = servers.start(servers.script("groups", GROUPS))

    with connect(server.url) as alice, connect(server.url) as bob, connect(server.url) as carol:

        def ask(client: object, text: str) -> None:
            client.send(text)  # type: ignore[attr-defined]
            assert client.recv(30) == "ok"  # type: ignore[attr-defined]

        ask(alice, "join tea")
        ask(bob, "join tea")
        ask(carol, "tea who is there?")
        assert alice.recv(30) == bob.recv(30) == "who is there?"
        os.kill(stage_of(server.pid, "groups"), signal.SIGKILL)
        server.stderr.wait_for("the chain serves again")
        ask(alice, "leave tea")
        ask(carol, "tea membership outlives the filter")
        assert bob.recv(30) == "membership outlives the filter"
        ask(alice, "queue it")
        assert alice.recv(30) == "queued it"


def test_restarts_leave_nothing_behind(servers: Servers) -> None:
    """Each process dies once, and the first of them twice; further restarts would come a second apart."""
    server = servers.start("cat | mirror | cat")
    with connect(server.url) as client:
        client.send("x")
        assert client.recv(30) == "x"
        descriptors, processes = descriptors_of(server.pid), len(servers.processes())
        for number in range(1, 6):
            victim = list(children_of(server.pid))[number % 4]
            os.kill(victim, signal.SIGKILL)
            server.stderr.wait_for("the chain serves again", count=number)
        client.send("y")
        assert client.recv(30) == "y"
        eventually(lambda: descriptors_of(server.pid) == descriptors, "as many descriptors as before")
        eventually(lambda: len(servers.processes()) == processes, "as many processes as before")
    assert server.stop() == 0


def test_grandchildren_end_with_the_server(servers: Servers) -> None:
    server = servers.start("sleep 1000 & cat | ( sleep 1000 & mirror )")
    with connect(server.url) as client:
        client.send("x")
        assert client.recv(30) == "x"
    assert server.stop() == 0
    assert servers.processes() == []


def test_a_stage_that_is_deaf_to_everything_is_killed_rung_by_rung(servers: Servers) -> None:
    deaf = servers.script("deaf", "#!/bin/sh\ntrap '' TERM\ncat\nwhile :; do sleep 1000; done\n")
    server = servers.start("--verbose", "--drain-timeout", "0.5", f"mirror | {deaf}")
    assert server.port
    assert server.stop() == 0
    rungs = [line for line in server.stderr.lines if "end of input for the chain" in line or "SIGTERM for" in line]
    assert rungs[0].endswith("end of input for the chain")
    assert 'SIGTERM for stage 2 "deaf" (pid ' in rungs[1]
    server.stderr.wait_for('SIGKILL for stage 2 "deaf"')


def test_a_second_interrupt_stops_the_server_now(servers: Servers) -> None:
    deaf = servers.script("deaf", "#!/bin/sh\ntrap '' TERM\ncat\nwhile :; do sleep 1000; done\n")
    server = servers.start("--verbose", "--drain-timeout", "1000", deaf)
    assert server.port
    server.signal(signal.SIGINT)
    server.stderr.wait_for("SIGINT: draining for up to 1000 s; a second signal stops the server now")
    server.stderr.wait_for("end of input for the chain")
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert "SIGINT again: stopping now" in server.stderr.text


def test_a_port_in_use_is_one_line_and_leaves_nothing_running(servers: Servers) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = servers.start_command("fws-pipe", "--port", str(taken.getsockname()[1]), "mirror")
        assert server.wait() == 5
    assert "the port is in use" in server.stderr.text
    assert len(server.stderr.lines) == 1
    assert servers.processes() == []
