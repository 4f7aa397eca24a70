"""A new server takes over the clients of one that runs; what goes wrong leaves the old one as it was."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from fws_pipe.protocol.codec import Frame, FrameDecoder, encode
from fws_pipe.protocol.takeover import PROTOCOL
from tests.e2e.authority import Authority
from tests.e2e.raw import RawClient, frame
from tests.harness import PATIENCE_S, Server, Servers

KEEPER = """#!/usr/bin/env fws-python
from fws_pipe.sdk import join, on, remember, run, send

@on("open")
def greet(event):
    if event["replay"]:
        send(event["id"], f"again {event['groups']} {event['remembered']} {event['subprotocol']}")

@on("message")
def keep(event):
    if event["data"] == "join":
        join(event["id"], "room")
        remember(event["id"], 7, name="count")
    send(event["id"], event["data"])

run()
"""


class Changing:
    """A server, and the ones that take over from it, one after the other, with one control socket."""

    def __init__(self, servers: Servers, folder: Path, *arguments: str) -> None:
        self.servers = servers
        self.control = str(folder / "control")
        self._arguments = arguments
        self.now = self.start()
        self.url = _url_of(self.now)

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def start(self, *more: str) -> Server:
        return self.servers.start("--control", self.control, *more, *self._arguments)

    def take_over(self, *more: str) -> None:
        """Let a new server take over, and the old one end."""
        new = self.start("--takeover", self.control, *more)
        assert _url_of(new) == self.url
        assert self.now.wait() == 0
        self.now = new


def _url_of(server: Server) -> str:
    """Where it listens with TCP, also beside a Unix socket."""
    found = re.search(r"wss?://[^,]+", server.stderr.wait_for("listening on "))
    assert found
    return found[0]


class Impostor:
    """Asks a server to hand over, and may stop at any point: what a new server does that dies there."""

    def __init__(self, control: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(control)
        self._decoder = FrameDecoder()
        self._frames: Iterator[Frame] = iter(())
        self.descriptors: list[int] = []
        self.say({"type": "takeover", "protocol": PROTOCOL})

    def say(self, said: Frame) -> None:
        self._socket.sendall(encode(said))

    def hear(self) -> Frame:
        while (heard := next(self._frames, None)) is None:
            block, descriptors, _, _ = socket.recv_fds(self._socket, 65536, 253)
            assert block, "the server has ended the connection"
            self.descriptors += descriptors
            self._decoder.feed(block)
            self._frames = self._decoder.frames()
        return heard

    def hear_until(self, kind: str) -> Frame:
        """Answer all parts before one of this type."""
        while (heard := self.hear())["type"] != kind:
            self.say({"type": "received"})
        return heard

    def die(self) -> None:
        """As the kernel does for a process that has been killed."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self._socket.close()


@pytest.fixture(scope="module")
def module_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with Servers(tmp_path_factory.mktemp("takeover")) as running:
        yield running


@pytest.fixture(scope="module")
def old(module_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Changing:
    """A server that stays: whatever asks it to hand over is refused, or dies."""
    return Changing(module_servers, tmp_path_factory.mktemp("control"), "mirror")


def echoed(client: Any, text: str) -> None:
    client.send(text)
    assert client.recv(PATIENCE_S) == text


@pytest.mark.slow  # four servers start, one after the other, under load
def test_under_load_nothing_is_lost_and_nothing_comes_twice(servers: Servers, tmp_path: Path) -> None:
    changing = Changing(servers, tmp_path, "mirror")
    done = threading.Event()
    failures: list[str] = []

    def converse(client: RawClient) -> None:
        sent = got = 0
        while not done.is_set() or got < sent:
            burst = b"".join(frame(b"%07d" % (sent + each)) for each in range(20)) if not done.is_set() else b""
            client.send(burst)
            sent += 20 if burst else 0
            while got < sent - 100 or (done.is_set() and got < sent):
                if (reply := client.read(9)) != b"\x81\x07%07d" % got:
                    failures.append(f"{reply!r} in place of {got}")
                    return
                got += 1

    clients = [RawClient(changing.port) for _ in range(10)]
    for client in clients:
        client.upgrade()
    threads = [threading.Thread(target=converse, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for _ in range(3):
        changing.take_over()
    done.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    for client in clients:
        client.socket.close()
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


def test_what_a_client_is_and_has_under_way_moves_with_it(servers: Servers, tmp_path: Path) -> None:
    """Half a frame, half a message, what it has not read, its group, its values, its subprotocol; and a Unix socket."""
    path = tmp_path / "clients"
    keeper = servers.script("keeper", KEEPER)
    changing = Changing(
        servers, tmp_path, "--host", "127.0.0.1", "--unix", str(path), "--subprotocol", "chat", "--outbox-limit", "8M",
        keeper,
    )  # fmt: skip
    large = "x" * 100_000
    with contextlib.ExitStack() as stack:
        half, parted, slow = (stack.enter_context(RawClient(changing.port)) for _ in range(3))
        for client in (half, parted, slow):
            client.upgrade()
        member = stack.enter_context(connect(changing.url, subprotocols=["chat"]))  # type: ignore[list-item]
        echoed(member, "join")
        half.send(frame(b"whole") + frame(b"half a frame")[:9])
        assert half.read(7) == b"\x81\x05whole"
        parted.send(frame(b"two ", first=0x01) + frame(b"ping", opcode=9))
        assert parted.read(6) == b"\x8a\x04ping"
        for _ in range(60):
            slow.send(frame(large.encode()))
        changing.take_over()
        assert member.recv(PATIENCE_S) == "again ['room'] {'count': 7} chat"
        half.send(frame(b"half a frame")[9:])
        parted.send(frame(b"parts", first=0x80))
        greeting = "again [] {} None"
        assert half.read(2 + len(greeting))[2:] == greeting.encode()
        assert half.read(14) == b"\x81\x0chalf a frame"
        assert parted.read(2 + len(greeting))[2:] == greeting.encode()
        assert parted.read(11) == b"\x81\x09two parts"
        replies = slow.read(60 * (10 + len(large)) + 2 + len(greeting))
        assert replies.count(large.encode()) == 60
        assert replies.count(greeting.encode()) == 1
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as newcomer:
            newcomer.connect(str(path))
    assert path.exists()
    assert changing.now.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize("last", ["server", "route", "clients", "all"])
def test_a_new_server_that_dies_at_any_point_leaves_the_old_one_as_it_was(old: Changing, last: str) -> None:
    with connect(old.url) as client:
        echoed(client, "before")
        impostor = Impostor(old.control)
        impostor.hear_until(last)
        client.send("meanwhile")
        impostor.die()
        assert client.recv(PATIENCE_S) == "meanwhile"
        echoed(client, "after")
        with connect(old.url) as another:
            echoed(another, "new")


def test_two_at_once_and_the_second_is_refused(old: Changing) -> None:
    with connect(old.url) as client:
        first = Impostor(old.control)
        first.hear()
        second = old.start("--takeover", old.control)
        assert second.wait() == 5
        [line] = [line for line in second.stderr.lines if "can't take over" in line]
        assert line == (
            f"fws-pipe: can't take over from the server at {old.control}: another server is taking over already"
        )
        first.die()
        echoed(client, "after")


def test_a_server_of_another_protocol_is_refused(old: Changing) -> None:
    peer = Impostor(old.control)
    peer.hear()
    peer.die()
    other = socket.socket(socket.AF_UNIX)
    other.connect(old.control)
    other.sendall(encode({"type": "takeover", "protocol": PROTOCOL + 1}))
    decoder = FrameDecoder()
    decoder.feed(other.recv(65536))
    [(refusal, _)] = list(decoder)
    other.close()
    assert refusal["type"] == "refused"
    assert f"hands over by protocol {PROTOCOL}, and this one asks for {PROTOCOL + 1}" in refusal["reason"]


def test_the_socket_of_a_dead_server_is_told_in_a_line(servers: Servers, tmp_path: Path) -> None:
    path = str(tmp_path / "dead")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(path)
    for named, reason in ((path, "Connection refused"), (str(tmp_path / "none"), "No such file or directory")):
        server = servers.start("--takeover", named, "mirror")
        assert server.wait() == 5
        assert server.stderr.lines == [f"fws-pipe: --takeover: no server answers at {named}: {reason}"]


def test_a_route_that_the_new_server_lacks_refuses_it(old: Changing) -> None:
    with connect(old.url) as client:
        new = old.servers.start("--control", "off", "--takeover", old.control, "--route", "/other=mirror")
        assert new.wait() == 5
        assert "the old server has a client on /, which is not served here" in new.stderr.text
        echoed(client, "after")


def test_the_old_server_may_die_once_the_new_one_has_taken_over(servers: Servers, tmp_path: Path) -> None:
    changing = Changing(servers, tmp_path, "mirror")
    with connect(changing.url) as client:
        echoed(client, "before")
        old = changing.now
        new = changing.start("--takeover", changing.control)
        new.stderr.wait_for("took over 1 client")
        with contextlib.suppress(ProcessLookupError):
            old.signal(signal.SIGKILL)
        old.wait()
        echoed(client, "after")
        changing.now = new


def test_clients_with_tls_are_closed_with_a_hint(servers: Servers, tmp_path: Path) -> None:
    authority = Authority(servers.folder)
    changing = Changing(servers, tmp_path, *authority.issue(), servers.reporter())
    with connect(changing.url, ssl=authority.client_context()) as client:
        changing.take_over()
        with contextlib.suppress(Exception):
            client.recv(PATIENCE_S)
        assert (client.close_code, client.close_reason) == (1012, "the server restarts: try again in 1 s")
    gone = changing.now.events("disconnect", 1)
    assert [(event["code"], event["clean"]) for event in gone] == [(1012, False)]
