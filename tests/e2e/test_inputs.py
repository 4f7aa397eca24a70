"""Input from outside: lines of the server's own stdin, and of commands, become consumer events."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.e2e.test_chain import children_of, stage_of
from tests.harness import PATIENCE_S, Server, Servers, eventually


def feed(server: Server, data: bytes) -> None:
    """Write to a server's stdin, and end it."""
    assert server.process.stdin is not None
    with server.process.stdin as stdin:
        stdin.write(data)


def test_a_log_that_is_followed_reaches_every_client_and_its_end_ends_nothing(servers: Servers) -> None:
    log = servers.folder / "access.log"
    log.write_text("old\n")
    server = servers.start_command(
        "/bin/sh", "-c", "tail -n 0 -F access.log | { fws-pipe -v --port 0 --stdin 'broadcast_pubsub'; }"
    )
    with connect(server.url) as alice, connect(server.url) as bob:
        with log.open("a") as file:
            file.write("GET /one\n")
            file.flush()
            assert alice.recv(PATIENCE_S) == bob.recv(PATIENCE_S) == "GET /one"
            file.write("GET /two\nGET")
            file.flush()
            assert alice.recv(PATIENCE_S) == "GET /two"
        os.kill(pid_of(servers, "tail"), signal.SIGKILL)
        assert alice.recv(PATIENCE_S) == "GET"  # the last line, without a newline
        server.stderr.wait_for("stdin has ended; the server goes on")
        with connect(server.url):
            pass
    os.kill(pid_of(servers, "fws-pipe"), signal.SIGTERM)
    assert server.wait() == 0


def pid_of(servers: Servers, name: str) -> int:
    """The process that runs a command."""
    found = []
    for pid in servers.processes():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if any(Path(word).name == name for word in words[:2]):
            found.append(pid)
    assert len(found) == 1
    return found[0]


def test_a_line_is_a_consumer_event_whatever_is_in_it(servers: Servers) -> None:
    server = servers.start("--stdin", "--max-message", "1K", servers.reporter(), stdin=subprocess.PIPE)
    feed(server, b"text \xc3\xa9\n\nbytes \xff\n\x00\r\n" + b"x" * 1025 + b"\n" + b"y" * 1024 + b"\nlast")
    events = server.events("consumer", 6)
    assert [event["data"] for event in events] == list(
        map(repr, ["text é", "", b"bytes \xff", "\x00\r", "y" * 1024, "last"])
    )
    assert {(event["channel"], event["origin"]) for event in events} == {("stdin", None)}
    server.stderr.wait_for("stdin: dropped 1 line of more than 1024 bytes; see --max-message")
    assert server.stop() == 0
    assert "input lines too long: 1" in server.stderr.text
    assert "stdin has ended" not in server.stderr.text, "only with -v"


def test_stdout_pubsub_shows_the_lines_of_a_file(servers: Servers) -> None:
    (servers.folder / "lines").write_text("one\ntwo\n")
    with (servers.folder / "lines").open() as file:
        server = servers.start("--stdin", "stdout_pubsub", stdin=file.fileno())
    server.stdout.wait_for("stdin => two")
    assert server.stdout.lines == ["stdin => one", "stdin => two"]


def test_a_chain_that_is_slow_holds_the_writer_back_and_loses_nothing(servers: Servers) -> None:
    gate = servers.script(
        "gate",
        "#!/usr/bin/env fws-python\n"
        "import os, time\n"
        "from fws_pipe.sdk import on, run, send\n"
        "@on('consumer')\n"
        "def wait(event):\n"
        "    while not os.path.exists('go'):\n"
        "        time.sleep(0.01)\n"
        "    send('*', event['data'])\n"
        "run()\n",
    )
    server = servers.start("--stdin", gate, stdin=subprocess.PIPE)
    stdin = server.process.stdin
    assert stdin is not None
    with connect(server.url, max_queue=None) as client:
        os.set_blocking(stdin.fileno(), False)
        lines = [b"%06d %s\n" % (number, b"x" * 992) for number in range(4000)]
        data = b"".join(lines)
        written = 0
        seen_full = 0
        while seen_full < 20:
            try:
                written += os.write(stdin.fileno(), data[written : written + 4096])
                seen_full = 0
            except BlockingIOError:
                seen_full += 1
                client.ping().wait(PATIENCE_S)  # the server is alive meanwhile
        assert written < 3 * 1024 * 1024
        (servers.folder / "go").touch()
        os.set_blocking(stdin.fileno(), True)
        feed(server, data[written:])
        for line in lines:
            assert client.recv(PATIENCE_S) == line.decode().removesuffix("\n")
    assert server.stop() == 0


def test_lines_survive_the_death_of_every_stage(servers: Servers) -> None:
    server = servers.start("--stdin", "cat | broadcast_pubsub | tee made.mp", stdin=subprocess.PIPE)
    stdin = server.process.stdin
    assert stdin is not None
    count = 6000
    with connect(server.url, max_queue=None) as client:
        received = []
        for part, name in enumerate(["cat", "broadcast_pubsub", "tee", "fws_pipe.chain.sink"]):
            stdin.write(b"".join(b"%d\n" % number for number in range(part * count // 4, (part + 1) * count // 4)))
            stdin.flush()
            received.append(client.recv(PATIENCE_S))
            os.kill(stage_of(server.pid, name), signal.SIGKILL)
            server.stderr.wait_for("the chain serves again", count=part + 1)
        received += [client.recv(PATIENCE_S) for _ in range(count - 4)]
    assert received == [str(number) for number in range(count)]


def test_the_end_of_the_server_answers_what_it_has_read(servers: Servers) -> None:
    slow = servers.script(
        "slow",
        "#!/usr/bin/env fws-python\n"
        "import time\n"
        "from fws_pipe.sdk import on, run, send\n"
        "@on('consumer')\n"
        "def wait(event):\n"
        "    time.sleep(0.002)\n"
        "    send('*', event['data'])\n"
        "run()\n",
    )
    server = servers.start("--stdin", slow, stdin=subprocess.PIPE)
    stdin = server.process.stdin
    assert stdin is not None
    with connect(server.url, max_queue=None) as client:
        stdin.write(b"".join(b"%d\n" % number for number in range(300)))
        stdin.flush()
        assert client.recv(PATIENCE_S) == "0"
        server.signal(signal.SIGTERM)
        assert list(client) == [str(number) for number in range(1, 300)]
        assert client.close_code == 1001
    assert server.wait() == 0


def test_no_stage_has_the_servers_stdin(servers: Servers) -> None:
    server = servers.start("--stdin", "--source", "x=sleep 1000", "cat | broadcast_pubsub", stdin=subprocess.PIPE)
    assert server.url
    eventually(lambda: len(children_of(server.pid)) == 4, "the source's start")
    own = os.readlink(f"/proc/{server.pid}/fd/0")
    for pid in children_of(server.pid):
        assert own not in [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]


# A terminal.

_LEADER = """
import fcntl, os, subprocess, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
server = subprocess.Popen(sys.argv[1:], process_group=0)
sys.stdin.buffer.raw.readline()  # what is typed first is the shell's
os.tcsetpgrp(0, server.pid)
sys.exit(server.wait())
"""


def test_a_terminal_is_read_in_the_foreground_and_told_of_in_the_background(servers: Servers) -> None:
    keyboard, terminal = pty.openpty()
    argv = ["fws-python", "-c", _LEADER, "fws-pipe", "-v", "--port", "0", "--stdin", "broadcast_pubsub"]
    server = servers.start_command(*argv, stdin=terminal)
    os.close(terminal)
    with os.fdopen(keyboard, "wb", buffering=0) as typing, connect(server.url) as client:
        server.stderr.wait_for("stdin is a terminal: each line that is typed is an event, Ctrl-D ends them")
        server.stderr.wait_for("nothing is read from the terminal until the server is in the foreground")
        typing.write(b"fg\n")
        eventually(lambda: os.tcgetpgrp(keyboard) != os.getpgid(server.pid), "the foreground")
        typing.write(b"hello\n")
        assert client.recv(PATIENCE_S) == "hello"
        typing.write(b"\x04")
        server.stderr.wait_for("stdin has ended; the server goes on")
        assert len([line for line in server.stderr.lines if "until the server is in the foreground" in line]) == 1
        os.kill(next(iter(children_of(server.pid))), signal.SIGTERM)
        assert server.wait() == 0


# Commands.


def test_a_command_runs_again_when_it_ends_and_its_stderr_has_its_name(servers: Servers) -> None:
    command = "echo run $$; echo oops >&2; printf %s last; exit 3"
    server = servers.start("--source", f"job={command}", servers.reporter())
    events = server.events("consumer", 4)
    assert [event["channel"] for event in events[:4]] == ["job"] * 4
    assert events[1]["data"] == events[3]["data"] == "'last'"
    assert events[0]["data"] != events[2]["data"], "another process"
    server.stderr.wait_for('^source "job": oops$', 2)
    server.stderr.wait_for('source "job" exited with status 3; its last words: oops; it starts again in 1 s$')
    assert server.stop() == 0


def test_a_command_that_writes_nothing_is_tried_less_and_less_often(servers: Servers) -> None:
    server = servers.start("--source", "job=exit 1", "broadcast_pubsub")
    server.stderr.wait_for("exited with status 1; it starts again in 1 s$")
    server.stderr.wait_for("exited with status 1; it starts again in 2 s$")
    with connect(server.url):
        pass
    assert server.stop() == 0


def test_what_a_command_had_written_when_it_was_killed_arrives(servers: Servers) -> None:
    script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; kill -9 $$"
    server = servers.start("--source", f"job={script}", "broadcast_pubsub")
    with connect(server.url, max_queue=None) as client:
        numbers = [int(client.recv(PATIENCE_S)) for _ in range(1000)]
        numbers += [int(client.recv(PATIENCE_S)) for _ in range(19999 - numbers[-1])]
    assert numbers == list(range(numbers[0], 20000))
    server.stderr.wait_for('source "job" was killed by SIGKILL; it starts again in 1 s')
    assert server.stop() == 0


def test_a_command_that_ignores_sigterm_and_its_children_end_with_the_server(servers: Servers) -> None:
    server = servers.start("--source", "deaf=trap '' TERM; sleep 1000 & echo here; sleep 1000", "stdout_pubsub")
    server.stdout.wait_for("deaf => here")
    assert server.stop() == 0
    assert 'SIGKILL for source "deaf"' in server.stderr.text


def test_a_command_has_an_empty_stdin_and_the_filters_on_its_path(servers: Servers) -> None:
    server = servers.start("--source", "it=cat; command -v to_json; sleep 1000", "stdout_pubsub")
    assert server.stdout.wait_for("it => .*/to_json")
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--source", "vmstat 1"], "--source: expected NAME=CMD such as load='vmstat 1', the name without spaces"),
        (["--source", "a="], "--source: expected NAME=CMD"),
        (["--source", "a=nosuch 1"], '--source a: "nosuch": no such command on PATH'),
        (["--source", "a=cat", "--source", "a=cat"], "--source: two inputs are called a; each needs a name of its own"),
        (
            ["--stdin", "--source", "stdin=cat"],
            "--source: expected another name than stdin, which is the channel of --stdin",
        ),
    ],
)
def test_mistakes(servers: Servers, arguments: list[str], problem: str) -> None:
    server = servers.start(*arguments, "broadcast_pubsub")
    assert server.wait() == 2
    assert problem in server.stderr.text


def test_a_file_and_the_environment_may_name_commands_with_commas(servers: Servers) -> None:
    (servers.folder / "chat.toml").write_text('source = ["a=echo 1,2; sleep 1000"]\nchain = "stdout_pubsub"\n')
    server = servers.start("-c", "chat.toml")
    server.stdout.wait_for("^a => 1,2$")
    assert server.stop() == 0
    environment = servers.environment(FWS_SOURCE="a=echo 1,2; sleep 1000\nb=echo 3; sleep 1000")
    server = servers.start("stdout_pubsub", environment=environment)
    server.stdout.wait_for("^a => 1,2$")
    server.stdout.wait_for("^b => 3$")
    assert server.stop() == 0
