"""fws-ctl and the control socket of a running server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fws_pipe.control.server import MOST_CONNECTIONS
from fws_pipe.protocol.codec import FrameDecoder, encode
from fws_pipe.protocol.control import REQUEST_LIMIT_BYTES
from tests.e2e.test_chain import children_of, stage_of
from tests.harness import COMMAND_PATH, PATIENCE_S, Server, Servers, descriptors_of, eventually, memory_of


class Desk:
    """Servers and fws-ctl in a temporary folder of their own, where they find each other and nobody else."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.servers = servers
        self.folder = folder

    def start(self, *arguments: str) -> Server:
        server = self.servers.start(*arguments, environment=self.servers.environment(TMPDIR=str(self.folder)))
        assert server.url
        return server

    def environment(self) -> Mapping[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("FWS_")}
        return {**plain, "PATH": COMMAND_PATH, "TMPDIR": str(self.folder)}

    def ctl(self, *arguments: str, stdin: bytes = b"", code: int = 0) -> str:
        """Run fws-ctl to its end, which must be this exit code; returns stdout, or stderr where it fails."""
        done = subprocess.run(
            ["fws-ctl", *arguments], input=stdin, capture_output=True, check=False, env=self.environment(),
            timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == code, done.stderr.decode()
        return (done.stderr if code else done.stdout).decode()

    def ask(self, what: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ctl(what).splitlines()]

    @property
    def path(self) -> Path:
        """The only control socket that there is."""
        (path,) = self.folder.glob("fws-pipe-*/control")
        return path

    def dial(self) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.settimeout(PATIENCE_S)
        peer.connect(str(self.path))
        return peer


@pytest.fixture
def desk(servers: Servers) -> Iterator[Desk]:
    folder = Path(tempfile.mkdtemp(prefix="ctl"))  # short: a socket's path has 107 bytes
    yield Desk(servers, folder)
    shutil.rmtree(folder)


# send and close


def test_send_to_one_to_all_and_to_a_group_and_close(desk: Desk) -> None:
    server = desk.start("broadcast_by_token")
    with connect(server.url) as alice, connect(server.url) as bob:
        alice.send("token:reds")
        assert str(alice.recv(PATIENCE_S)).startswith("Successfully registered")
        ids = {tuple(client["groups"]): client["id"] for client in desk.ask("clients")}
        desk.ctl("send", "*", "to all é")
        desk.ctl("send", "@token:reds", "to a group")
        desk.ctl("send", ids[()], "to bob")
        desk.ctl("send", "--binary", "*", "bytes")
        assert [alice.recv(PATIENCE_S) for _ in range(3)] == ["to all é", "to a group", b"bytes"]
        assert [bob.recv(PATIENCE_S) for _ in range(3)] == ["to all é", "to bob", b"bytes"]
        assert desk.ctl("send", "@blues", "x", code=1) == "fws-ctl: no client is in the group blues\n"
        assert desk.ctl("send", "nosuch", "x", code=1) == "fws-ctl: no such client: nosuch\n"
        desk.ctl("close", ids[()], "4000", "bye")
        with pytest.raises(ConnectionClosed):
            bob.recv(PATIENCE_S)
        assert (bob.close_code, bob.close_reason) == (4000, "bye")
        assert desk.ctl("close", "nosuch", code=1) == "fws-ctl: no such client: nosuch\n"
        assert "close.code: expected a close code that may be sent" in desk.ctl("close", "*", "1005", code=2)
        desk.ctl("close", "*")
        with pytest.raises(ConnectionClosed):
            alice.recv(PATIENCE_S)
        assert alice.close_code == 1000
    assert desk.ctl("send", "*", "x", code=1) == "fws-ctl: no client is connected\n"


def test_send_from_stdin(desk: Desk) -> None:
    server = desk.start("mirror")
    with connect(server.url, max_queue=None, max_size=None) as client:
        (who,) = (client["id"] for client in desk.ask("clients"))
        lines = [f"line {number}" for number in range(2000)]
        desk.ctl("send", who, stdin="\n".join(lines).encode())
        assert [client.recv(PATIENCE_S) for _ in lines] == lines
        desk.ctl("send", "*", stdin=b"\n\xff\n")
        desk.ctl("send", "--binary", "*", stdin=b"a\nb")
        desk.ctl("send", "--whole", "*", stdin=b"a\nb\n")
        desk.ctl("send", "--whole", "--binary", "*", stdin=b"\0\n")
        desk.ctl("send", "--whole", "*", stdin=b"x" * 10_000_000)
        expected = ["", b"\xff", b"a", b"b", "a\nb\n", b"\0\n", "x" * 10_000_000]
        assert [client.recv(PATIENCE_S) for _ in expected] == expected
        assert desk.ctl("send", "@none", stdin=b"a\nb\n", code=1) == "fws-ctl: 2 of 2 messages found no client\n"
        assert desk.ctl("send", "nosuch", stdin=b"a\nb\n", code=1) == "fws-ctl: no such client: nosuch\n"
        desk.ctl("send", who, stdin=b"")
        too_large = desk.ctl("send", "--whole", who, stdin=b"x" * (REQUEST_LIMIT_BYTES + 1), code=2)
        assert too_large == f"fws-ctl: stdin is over the limit of {REQUEST_LIMIT_BYTES} bytes for a message\n"
        client.send("still here")
        assert client.recv(PATIENCE_S) == "still here"


# clients, stages, status


def test_clients_stages_and_status(desk: Desk) -> None:
    server = desk.start("--name", "mine", "--source", "load=sleep 1000", "cat | mirror")
    with connect(server.url + "/room?x=1") as client:
        (described,) = desk.ask("clients")
        assert described["path"] == "/room"
        assert described["remote"] == list(client.local_address)
        assert (described["open"], described["groups"], described["outbox"]) == (True, [], 0)
        assert described["id"].startswith("mine-")
        os.kill(stage_of(server.pid, "mirror"), signal.SIGKILL)
        server.stderr.wait_for("the chain serves again")
        stages = desk.ask("stages")
        names = ["front", 'stage 1 "cat"', 'stage 2 "mirror"', "sink", 'source "load"']
        assert [stage["name"] for stage in stages] == names
        assert {stage["pid"] for stage in stages} == {server.pid, *children_of(server.pid)}
        assert [(stage["state"], stage["restarts"]) for stage in stages] == [
            ("up", 0), ("up", 1), ("up", 1), ("up", 1), ("up", 0)
        ]  # fmt: skip
        (status,) = desk.ask("status")
        assert (status["name"], status["pid"], status["listening"]) == ("mine", server.pid, [server.url])
        assert status["gauges"]["clients"] == 1


def test_stages_tell_what_each_uses_how_full_its_pipes_are_and_which_one_is_the_brake(desk: Desk) -> None:
    server = desk.start("--source", "load=sleep 1000", "cat | (cat; true) | mirror")

    def stages() -> list[dict[str, Any]]:
        return desk.ask("stages")

    with connect(server.url) as client:
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"
        stopped = stages()[2]
        assert stopped["processes"] >= 2
        os.killpg(stopped["pid"], signal.SIGSTOP)
        for _ in range(50):
            client.send("x" * 5000)
        eventually(lambda: stages()[2]["brake"] and stages()[2]["unread"] > 60_000, "the brake")
        front, first, second, last, sink, source = stages()
        assert [one["name"] for one in (front, first, second, last, sink, source) if one["brake"]] == [second["name"]]
        assert front["pid"] == server.pid
        assert front["events"] > 10
        assert second["capacity"] == first["output_capacity"] >= second["unread"] == first["output"]
        assert (last["unread"], sink["unread"], front["unread"], sink["output"]) == (0, 0, 0, 0)
        assert first["read"] >= first["written"] > 60_000
        assert front["written"] >= first["written"]
        assert sink["user_s"] > 0
        assert front["memory"] > sink["memory"] > 1_000_000
        assert (source["unread"], source["output"]) == (None, 0)
        os.killpg(stopped["pid"], signal.SIGCONT)
        assert [len(client.recv(PATIENCE_S)) for _ in range(50)] == [5000] * 50


# reload and drain


def test_reload_waits_until_the_new_chain_serves_or_tells_why_it_does_not(desk: Desk) -> None:
    config = desk.servers.folder / "chat.toml"
    config.write_text('chain = "mirror"\n')
    server = desk.start("-c", "chat.toml")
    with connect(server.url) as client:
        before = [stage["pid"] for stage in desk.ask("stages")[1:]]
        desk.ctl("reload")
        after = [stage["pid"] for stage in desk.ask("stages")[1:]]
        assert not set(before) & set(after)
        config.write_text("chain = \"sh -c 'echo sorry >&2; exit 7'\"\n")
        assert 'stage 1 "sh" exited with status 7; its last words: sorry' in desk.ctl("reload", code=3)
        config.write_text('chain = "nosuch"\n')
        assert 'stage 1 "nosuch": no such filter' in desk.ctl("reload", code=3)
        assert [stage["pid"] for stage in desk.ask("stages")[1:]] == after
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"


def test_drain_over_a_time_closes_each_client_with_a_hint(desk: Desk) -> None:
    server = desk.start("mirror")
    assert "expected a time such as 30s or 5m, 24h at most, got 'soon'" in desk.ctl("drain", "--over", "soon", code=2)
    with connect(server.url) as client:
        desk.ctl("drain", "--over", "0.5s")
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE_S)
        assert (client.close_code, client.close_reason) == (1012, "the server restarts: try again in 1 s")
    assert server.wait() == 0


def test_drain_ends_the_server_in_order_and_removes_its_socket(desk: Desk) -> None:
    server = desk.start("mirror")
    path = desk.path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with connect(server.url) as client:
        desk.ctl("drain")
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE_S)
        assert client.close_code == 1001
    assert server.wait() == 0
    assert not path.exists()


# tap


def test_a_tap_shows_events_and_actions_and_ends_with_the_server(desk: Desk) -> None:
    server = desk.start("mirror")
    taps = [
        subprocess.Popen(f"fws-ctl tap {stage} | fws-cat", shell=True, stdout=subprocess.PIPE, env=desk.environment())
        for stage in ("", "front", "sink")
    ]
    eventually(lambda: len(connections_of(server)) == len(taps), "the taps")
    with connect(server.url) as client:
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"
        assert "'nosuch'" in desk.ctl("tap", "nosuch", code=2)
        desk.ctl("send", "*", "by hand")  # comes through no pipe, so no tap shows it
        assert client.recv(PATIENCE_S) == "by hand"
    assert server.stop() == 0
    kinds = []
    for tap in taps:
        output, _ = tap.communicate(timeout=PATIENCE_S)
        assert tap.returncode == 0
        frames = [json.loads(line) for line in output.splitlines()]
        kinds.append([frame["type"] for frame in frames if frame["type"] != "tick"])
    assert kinds == [
        ["open", "message", "send", "disconnect"],
        ["open", "message", "disconnect"],
        ["send"],
    ]


def connections_of(server: Server) -> list[str]:
    """The server's own Unix sockets that are connected."""
    inodes = [os.readlink(f"/proc/{server.pid}/fd/{name}") for name in os.listdir(f"/proc/{server.pid}/fd")]
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return [
        row[6] for row in rows if row[5] == "03" and f"socket:[{row[6]}]" in inodes and row[-1].endswith("/control")
    ]


def test_a_tap_whose_reader_stalls_is_cut_off_and_holds_nothing_up(desk: Desk) -> None:
    server = desk.start("mirror")
    read_end, write_end = os.pipe()
    tap = subprocess.Popen(["fws-ctl", "tap"], stdout=write_end, stderr=subprocess.PIPE, env=desk.environment())
    os.close(write_end)
    eventually(lambda: len(connections_of(server)) == 1, "the tap")
    with connect(server.url) as client:
        message = "x" * 100_000
        for _ in range(60):
            client.send(message)
            assert client.recv(PATIENCE_S) == message
        eventually(lambda: not connections_of(server), "the end of the tap")
    with os.fdopen(read_end, "rb") as reader:
        decoder = FrameDecoder()
        decoder.feed(reader.read())
        assert {"open", "message", "send"} <= {frame["type"] for frame, _ in decoder}
    assert tap.stderr is not None
    with tap.stderr:
        assert b"fws-ctl: the tap was cut off" in tap.stderr.read()
    assert tap.wait(PATIENCE_S) == 6


def test_a_tap_behind_a_stage_is_put_in_and_taken_out_by_a_reload(desk: Desk) -> None:
    server = desk.start("cat | mirror")
    with connect(server.url) as client:
        taps = [
            subprocess.Popen(["fws-ctl", "tap", stage], stdout=subprocess.PIPE, env=desk.environment())
            for stage in ("1", "mirror")
        ]
        server.stderr.wait_for("the chain is replaced", 2)
        names = [stage["name"] for stage in desk.ask("stages")]
        assert names == ["front", 'stage 1 "cat"', "tap", 'stage 2 "mirror"', "tap", "sink"]
        for number, victim in enumerate(["cat", "mirror", "tap_stage"], start=1):
            client.send(f"hello {victim}")
            assert client.recv(PATIENCE_S) == f"hello {victim}"
            os.kill(stage_of(server.pid, victim), signal.SIGKILL)
            server.stderr.wait_for("the chain serves again", 2 + number)
        client.send("bye")
        assert client.recv(PATIENCE_S) == "bye"
        seen = [messages_of(tap, "bye") for tap in taps]
        assert [set(kinds) for kinds, _ in seen] == [{"open", "message", "tick"}, {"open", "message", "tick", "send"}]
        for _, messages in seen:
            assert list(dict.fromkeys(messages)) == ["hello cat", "hello mirror", "hello tap_stage", "bye"]
        taps[0].kill()
        server.stderr.wait_for("the chain is replaced", 3)
        desk.ctl("reload")  # which takes out what is left
        assert [stage["name"] for stage in desk.ask("stages")] == ["front", 'stage 1 "cat"', 'stage 2 "mirror"', "sink"]
        assert taps[1].wait(PATIENCE_S) == 0
        for tap in taps:
            tap.communicate(timeout=PATIENCE_S)
        client.send("still here")
        assert client.recv(PATIENCE_S) == "still here"


def messages_of(tap: subprocess.Popen[bytes], last: str) -> tuple[list[str], list[str]]:
    """The types of a tap's frames, and the texts of its messages, up to this one and its tick."""
    assert tap.stdout is not None
    decoder = FrameDecoder()
    kinds: list[str] = []
    messages: list[str] = []
    while not (messages and messages[-1] == last and kinds[-1] == "tick"):
        decoder.feed(os.read(tap.stdout.fileno(), 65536))
        for frame, _ in decoder:
            kinds.append(frame["type"])
            if frame["type"] == "message":
                messages.append(frame["data"])
    return kinds, messages


# Servers that are not there, or that don't answer.


def test_no_server(desk: Desk) -> None:
    expected = "fws-ctl: no server of this user is running here; name its socket with --control PATH\n"
    assert desk.ctl("clients", code=5) == expected
    assert "No such file" in desk.ctl("--control", f"{desk.folder}/nosuch", "clients", code=5)
    (desk.folder / "file").touch()
    assert "Connection refused" in desk.ctl("--control", f"{desk.folder}/file", "clients", code=5)


def test_the_socket_of_a_dead_server_is_passed_over_and_cleared_away(desk: Desk) -> None:
    server = desk.start("mirror")
    path = desk.path
    server.crash()
    assert "no server of this user is running here" in desk.ctl("clients", code=5)
    assert "Connection refused" in desk.ctl("--control", str(path), "clients", code=5)
    desk.start("mirror")
    assert not path.exists()
    assert desk.ask("clients") == []


def test_of_several_servers_one_must_be_chosen(desk: Desk) -> None:
    first = desk.start("--name", "one", "mirror")
    second = desk.start("--control", f"{desk.folder}/second", "mirror")
    assert desk.ask("status")[0]["name"] == "one", "one that has a path of its own is found by that"
    assert json.loads(desk.ctl("--control", f"{desk.folder}/second", "status"))["pid"] == second.pid
    third = desk.start("mirror")
    problem = desk.ctl("status", code=4)
    assert "2 servers are running; choose one with --server: " in problem
    for server in (first, third):
        assert f"(pid {server.pid}, {server.url}, " in problem
        for name in (str(server.pid), server.url.rpartition(":")[2]):
            assert json.loads(desk.ctl("--server", name, "status"))["pid"] == server.pid
    assert json.loads(desk.ctl("--server", "one", "status"))["pid"] == first.pid
    problem = desk.ctl("--server", "none", "status", code=5)
    assert "--server none: no such server of this user runs; there are: " in problem
    assert f"one (pid {first.pid}, " in problem
    assert "both choose the server" in desk.ctl("--server", "one", "--control", "x", "status", code=2)


def test_a_server_that_is_stopped_does_not_hang_the_command(desk: Desk) -> None:
    server = desk.start("mirror")
    server.signal(signal.SIGSTOP)
    try:
        assert "has not answered within 0.2 s" in desk.ctl("--timeout", "0.2", "clients", code=5)
        assert "has not answered within 0.2 s" in desk.ctl(
            "--timeout", "0.2", "send", "--whole", "*", stdin=b"x" * 5_000_000, code=5
        )
    finally:
        server.signal(signal.SIGCONT)
    assert desk.ask("clients") == []


def test_a_program_that_is_no_server_of_ours(desk: Desk) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"{desk.folder}/other")
        listener.listen()
        asked = subprocess.Popen(
            ["fws-ctl", "--control", f"{desk.folder}/other", "clients"], stderr=subprocess.PIPE, env=desk.environment()
        )
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            _, problem = asked.communicate(timeout=PATIENCE_S)
    assert asked.returncode == 5
    assert b"is no server of fws-pipe" in problem


def test_a_server_without_a_control_socket(desk: Desk) -> None:
    desk.start("--control", "", "mirror")
    assert list(desk.folder.glob("fws-pipe-*/control")) == []


def test_a_path_that_can_not_be_is_told_at_the_start(desk: Desk) -> None:
    (desk.folder / "file").write_text("mine")
    desk.start("--control", f"{desk.folder}/taken", "mirror")
    for path, problem in [
        (f"{desk.folder}/taken", "another server listens there; stop it, or choose another path with --control"),
        (f"{desk.folder}/file", "a file is there that is not a socket; remove it if you don't need it"),
        (f"{desk.folder}/nosuch/socket", "there is no such folder; make it, or choose another one with --control"),
    ]:
        server = desk.servers.start("--control", path, "mirror")
        assert server.wait() == 5
        assert f"can't listen on {path}: {problem}" in server.stderr.text
    assert (desk.folder / "file").read_text() == "mine"


def test_a_server_that_can_have_no_folder_serves_without_a_control_socket(desk: Desk) -> None:
    environment = desk.servers.environment(TMPDIR=str(desk.folder / ("x" * 120)))
    (desk.folder / ("x" * 120)).mkdir()
    server = desk.servers.start("mirror", environment=environment)
    server.stderr.wait_for("fws-ctl can't reach this server: can't listen on .*: the path of a socket must not exceed")
    with connect(server.url) as client:
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"


# Peers.

BAD_PEERS: Sequence[bytes] = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\xc1",
    encode({"type": "send"})[:-2],
    b"\xdb\xff\xff\xff\xff",
]


def test_bad_requests_cost_nobody_anything(desk: Desk) -> None:
    server = desk.start("mirror")
    with connect(server.url) as client:
        before = descriptors_of(server.pid)
        for request in BAD_PEERS:
            with desk.dial() as peer:
                peer.sendall(request)
                peer.shutdown(socket.SHUT_WR)
                decoder = FrameDecoder()
                while block := peer.recv(1000):
                    decoder.feed(block)
                assert [(frame["type"], frame["code"]) for frame, _ in decoder] == [("refused", 2)]
        with desk.dial() as peer:
            send = {"type": "send", "to": 5, "data": "x"}
            for wrong in ({"type": "nosuch"}, send, {"no": "type"}, {"type": "tap", "stage": ["front"]}):
                peer.sendall(encode(wrong))
                decoder.feed(peer.recv(1000))
                assert [(frame["type"], frame["code"]) for frame, _ in decoder] == [("refused", 2)]
        eventually(lambda: descriptors_of(server.pid) == before, "the end of all connections")
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"
    before = memory_of(server.pid)
    peers = [desk.dial() for _ in range(2 * MOST_CONNECTIONS)]
    try:
        assert desk.ask("status")
        with desk.dial() as greedy:
            greedy.settimeout(1)
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                greedy.sendall(b"\xdb\x7f\xff\xff\xff" + b"x" * (4 * REQUEST_LIMIT_BYTES))
        assert memory_of(server.pid) - before < 4 * REQUEST_LIMIT_BYTES
        for _ in range(MOST_CONNECTIONS):
            peers.append(desk.dial())
            peers[-1].sendall(b"\x81")
        assert desk.ask("status")  # the oldest incomplete request makes room
    finally:
        for peer in peers:
            peer.close()
    assert "an error in the server itself" not in server.stderr.text


def test_a_peer_that_does_not_read_its_answers_holds_nobody_up(desk: Desk) -> None:
    server = desk.start("mirror")
    with connect(server.url) as client, desk.dial() as peer:
        peer.setblocking(False)
        request = encode({"type": "status"}) * 1000
        deadline = time.monotonic() + PATIENCE_S
        blocked = 0
        while blocked < 100 and time.monotonic() < deadline:
            try:
                peer.send(request)
                blocked = 0
            except BlockingIOError:
                blocked += 1
                client.send("hello")
                assert client.recv(PATIENCE_S) == "hello"
        assert blocked == 100
        assert len(desk.ask("clients")) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be somebody else")
def test_another_user_is_turned_away_whatever_the_mode_of_the_file(desk: Desk) -> None:
    server = desk.start("--control", f"{desk.folder}/open", "mirror")
    desk.folder.chmod(0o755)
    (desk.folder / "open").chmod(0o666)
    script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(9))"
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", script, f"{desk.folder}/open"],
        capture_output=True, check=False, timeout=PATIENCE_S, user=65534, cwd="/",
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (b"b''\n", b"")
    server.stderr.wait_for("refused user 65534 on the control socket")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["nosuch"], "invalid choice: 'nosuch'"),
        (["send"], "the following arguments are required: ID|'*'|@GROUP"),
        (["close", "x", "abc"], "argument CODE: invalid int value: 'abc'"),
        (["--timeout", "0", "clients"], "expected a number of seconds above 0, got 0"),
        (["--timeout", "soon", "clients"], "expected a number of seconds above 0, got soon"),
        (["send", "--whole", "*", "text"], "--whole is for stdin; leave TEXT or --whole out"),
    ],
)
def test_mistakes(desk: Desk, arguments: list[str], problem: str) -> None:
    if "--whole" in arguments:
        desk.start("mirror")
    said = desk.ctl(*arguments, code=2)
    assert problem in said
    assert said.count("\n") == 1
