"""per_client in a server: who is held, who waits, what a crash, a reload and the end mean for programs and clients."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.sync.client import ClientConnection, connect

from tests.e2e.raw import CLOSE, RawClient, frame
from tests.harness import PATIENCE_S, Servers, memory_of

BLOCK = b"x" * 999


def exchange(client: ClientConnection, text: str) -> None:
    client.send(text)
    assert client.recv(PATIENCE_S) == text


def test_a_program_that_does_not_read_stalls_its_client_alone(servers: Servers) -> None:
    os.mkfifo(servers.folder / "go")
    script = "test $PATH_INFO = /quick || read -r line <go; exec cat"
    server = servers.start("--stall-timeout", "5", f"per_client '{script}'")
    with RawClient(server.port) as slow, connect(f"{server.url}/quick") as quick:
        slow.upgrade()
        exchange(quick, "before")
        before = memory_of(server.pid)
        slow.socket.settimeout(0.2)
        sent = 0
        rest = b""
        while True:
            rest = rest or frame(BLOCK)
            try:
                count = slow.socket.send(rest)
            except TimeoutError:
                break
            sent += count
            rest = rest[count:]
            assert sent < 64 << 20, "the server goes on reading"
        slow.socket.settimeout(PATIENCE_S)
        exchange(quick, "meanwhile")
        assert memory_of(server.pid) - before < 8 << 20
        with (servers.folder / "go").open("w") as go:
            go.write("\n")
        assert slow.read(4 + len(BLOCK))[4:] == BLOCK
    assert server.stop() == 0
    assert "hangs" not in server.stderr.text


def test_a_program_that_writes_much_is_read_as_fast_as_its_client_reads(servers: Servers) -> None:
    server = servers.start("--outbox-limit", "256K", "per_client seq 1000000 1300000")
    with RawClient(server.port, receive_buffer=65536) as client:
        client.upgrade()
        lines = b"".join(b"\x81\x07%d" % number for number in range(1_000_000, 1_300_001))
        assert _read(client, len(lines)) == lines
        assert client.read(4) == b"\x88\x02" + struct.pack("!H", 1000)
        client.send(frame(struct.pack("!H", 1000), CLOSE))
    assert server.stop() == 0
    assert "slow" not in server.stderr.text


def _read(client: RawClient, size: int) -> bytes:
    blocks = []
    while size:
        blocks.append(client.read(min(size, 1 << 18)))
        size -= len(blocks[-1])
    return b"".join(blocks)


def test_the_programs_end_is_its_clients(servers: Servers) -> None:
    server = servers.start("per_client 'echo hello; exit 7'")
    with connect(server.url) as client:
        assert client.recv(PATIENCE_S) == "hello"
        with pytest.raises(ConnectionClosedError, match=r"1011.*the program exited with status 7"):
            client.recv(PATIENCE_S)
    assert server.stop() == 0


@pytest.mark.parametrize("ends", ["dies", "gives way"])
def test_a_chain_that_ends_gives_each_client_a_new_program(servers: Servers, ends: str) -> None:
    server = servers.start("per_client 'echo $$; cat; echo the last words'")
    with connect(server.url) as client:
        first = client.recv(PATIENCE_S)
        exchange(client, "a")
        if ends == "dies":
            _kill_adapter(servers)
        else:
            server.signal(signal.SIGHUP)
            assert client.recv(PATIENCE_S) == "the last words"
        second = client.recv(PATIENCE_S)
        assert isinstance(second, str)
        assert second.isdecimal()
        assert second != first
        exchange(client, "b")
    assert server.stop() == 0


def _kill_adapter(servers: Servers) -> None:
    for pid in servers.processes():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if any(word.endswith(b"/per_client") for word in words):
            os.kill(pid, signal.SIGKILL)


def test_at_the_servers_end_programs_say_their_last(servers: Servers) -> None:
    server = servers.start("per_client 'cat; echo bye >&2; sleep 1000 & sleep 0'")
    with connect(server.url) as client:
        exchange(client, "a")
        server.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosedOK, match="1001"):
            client.recv(PATIENCE_S)
    assert server.wait() == 0
    assert "bye" in server.stderr.text
