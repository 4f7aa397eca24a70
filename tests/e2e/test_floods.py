"""Many small frames at once cost other clients little, and thousands of clients are closed in good manners."""

from __future__ import annotations

import contextlib
import resource
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.e2e.authority import Authority
from tests.e2e.raw import CLOSE, PING, PONG, TEXT, RawClient, frame
from tests.harness import PATIENCE_S, Servers

FLOODERS = 50
BLOCK_BYTES = 64 * 1024
BOUND_S = 3.0
"""Ten times what another client may notice. Where each frame costs a system call, or all frames one look at each, this
takes ten seconds and more.
"""

FLOODS = {
    "pings": frame(b"", PING),
    "pongs": frame(b"", PONG),
    "empty texts": frame(b"", TEXT),
    "texts and pings": frame(b"", TEXT) + frame(b"", PING),
    "fragments": frame(b"", first=TEXT) + frame(b"", first=0x80),
}


@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.parametrize(
    "options", [(), ("--intake", "tasks"), ("--rate", "1000/s"), ("--rate-bytes", "1M/s")], ids=str
)
def test_a_flood_of_small_frames_keeps_no_other_client_waiting(
    servers: Servers, kind: str, options: tuple[str, ...]
) -> None:
    server = servers.start(*options, "mirror")
    block = FLOODS[kind] * (BLOCK_BYTES // len(FLOODS[kind]))
    with connect(server.url) as victim, contextlib.ExitStack() as flooders:
        for _ in range(FLOODERS):
            flooder = flooders.enter_context(RawClient(server.port))
            flooder.upgrade()
            flooder.socket.setblocking(False)
            flooder.socket.send(block)
        start = time.monotonic()
        victim.send("hello")
        assert victim.recv(PATIENCE_S) == "hello"
        assert time.monotonic() - start < BOUND_S
    assert server.stop() == 0


@pytest.mark.parametrize("kind", ["pings", "empty texts"])
def test_a_flood_over_tls_keeps_no_other_client_waiting(servers: Servers, kind: str) -> None:
    authority = Authority(servers.folder)
    context = authority.client_context()
    server = servers.start(*authority.issue(), "mirror")
    block = FLOODS[kind] * (BLOCK_BYTES // len(FLOODS[kind]))
    with connect(server.url, ssl=context) as victim, contextlib.ExitStack() as flooders:
        for _ in range(FLOODERS):
            flooder = flooders.enter_context(RawClient(server.port))
            flooder.begin_tls(context)
            flooder.upgrade()
            flooder.socket.setblocking(False)
            flooder.socket.send(block)
        start = time.monotonic()
        victim.send("hello")
        assert victim.recv(PATIENCE_S) == "hello"
        assert time.monotonic() - start < BOUND_S
    assert server.stop() == 0


def test_of_many_pings_that_come_together_the_last_one_is_answered(servers: Servers) -> None:
    server = servers.start("mirror")
    with RawClient(server.port) as client:
        client.upgrade()
        client.send(b"".join(frame(b"%d" % number, PING) for number in range(1000)))
        pongs = b""
        while not pongs.endswith(b"\x8a\x03999"):
            pongs += client.socket.recv(BLOCK_BYTES)
        assert pongs.count(b"\x8a") < 100  # they may have come in several reads
    assert server.stop() == 0


def test_a_flood_that_goes_on_takes_the_close_frame_from_nobody(servers: Servers) -> None:
    server = servers.start("mirror")
    block = FLOODS["pongs"] * (BLOCK_BYTES // len(FLOODS["pongs"]))

    def flood(flooder: RawClient) -> None:
        with contextlib.suppress(OSError):
            while True:
                flooder.send(block)

    with connect(server.url) as quiet, contextlib.ExitStack() as flooders:
        threads = []
        for _ in range(2):
            flooder = flooders.enter_context(RawClient(server.port))
            flooder.upgrade()
            threads.append(threading.Thread(target=flood, args=(flooder,)))
            threads[-1].start()
        quiet.send("hello")
        assert quiet.recv(PATIENCE_S) == "hello"
        server.process.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            quiet.recv(PATIENCE_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        server.wait()
        for thread in threads:
            thread.join(PATIENCE_S)


@pytest.mark.slow
def test_thousands_of_clients_are_drained_cleanly(servers: Servers) -> None:
    """Each Close frame started trio-websocket, and all of them at once took longer than the server had."""
    count = 3000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        server = servers.start("mirror | stdout_log")
        with contextlib.ExitStack() as clients:
            here = []
            for _ in range(count):
                here.append(clients.enter_context(RawClient(server.port)))
                here[-1].upgrade()
            server.stdout.wait_for(" open ", count)
            server.process.terminate()
            for client in here:
                assert client.read(2)[0] == 0x80 | CLOSE
                client.send(frame((1001).to_bytes(2, "big"), CLOSE))
            assert server.wait() == 0
        assert sum("disconnect 1001" in line for line in server.stdout.lines) == count
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
