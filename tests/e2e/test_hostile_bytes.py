"""Clients that send too little, too slowly, too much or go at the worst moment: what each costs the server, and others.

Each test has a bound on memory, far above what was measured and far below what the attack is after.
"""

from __future__ import annotations

import resource
import select
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.e2e.authority import Authority
from tests.e2e.raw import BINARY, CLOSE, PING, RawClient, frame, hello_of_tls, request, split_replies
from tests.harness import PATIENCE_S, Server, Servers, descriptors_of, eventually, memory_of

MIB = 1024 * 1024
MANY = 200
HALF_OPEN = 10_000
MESSAGE = b"x" * 100_000


def assert_served(client: ClientConnection) -> None:
    client.send("still there?")
    assert client.recv(PATIENCE_S) == "still there?"


@contextmanager
def bounded_memory(servers: Servers, limit: int) -> Iterator[None]:
    """All processes together may grow by so many bytes until the end of the block; prints by how many they have."""
    before = sum(map(memory_of, servers.processes()))
    yield
    grown = sum(map(memory_of, servers.processes())) - before
    print(f"memory grew by {grown / MIB:.1f} of {limit / MIB:.0f} MiB")
    assert grown < limit


def assert_unharmed(server: Server, descriptors: int) -> None:
    """The server is back at its base level, has met no error of its own, and ends as it should."""
    eventually(lambda: descriptors_of(server.pid) <= descriptors, "the base level of descriptors")
    assert server.stop() == 0
    assert "Traceback" not in server.stderr.text
    assert "error in the server itself" not in server.stderr.text
    assert "starts again" not in server.stderr.text


# Too little, too slowly.


@pytest.mark.parametrize("where", ["handshake", "header", "payload", "fragment"])
def test_many_that_send_a_byte_at_a_time_cost_little_and_are_served_in_the_end(servers: Servers, where: str) -> None:
    server = servers.start("mirror")
    whole = {
        "handshake": request(server.port) + frame(MESSAGE),
        "header": frame(MESSAGE),
        "payload": frame(MESSAGE),
        "fragment": frame(MESSAGE[:50_000], first=1) + frame(MESSAGE[50_000:], first=0x80),
    }[where]
    begun = {"handshake": 20, "header": 1, "payload": 20, "fragment": 50_020}[where]
    with connect(server.url) as innocent, ExitStack() as stack:
        assert_served(innocent)
        base = descriptors_of(server.pid)
        with bounded_memory(servers, 64 * MIB):
            slow = [stack.enter_context(RawClient(server.port)) for _ in range(MANY)]
            for client in slow:
                if where != "handshake":
                    client.upgrade()
                client.send(whole[:begun])
            for position in range(begun, begun + 4):
                for client in slow:
                    client.send(whole[position : position + 1])
                assert_served(innocent)
        for client in slow:
            client.send(whole[begun + 4 :])
            if where == "handshake":
                assert client.read_head().startswith(b"HTTP/1.1 101 ")
            assert client.read(10 + len(MESSAGE))[10:] == MESSAGE
        stack.close()
        assert_served(innocent)
        eventually(lambda: descriptors_of(server.pid) == base, "the base level of descriptors")
    assert_unharmed(server, base)


@pytest.mark.slow
def test_ten_thousand_connections_that_say_nothing(servers: Servers) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= most < HALF_OPEN + 1_000:
        pytest.skip(f"{most} descriptors are not enough: ulimit -Hn {HALF_OPEN + 1_000}")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    idle: list[socket.socket] = []
    try:
        server = servers.start("mirror")
        with connect(server.url) as innocent:
            assert_served(innocent)
            base = descriptors_of(server.pid)
            with bounded_memory(servers, 200 * MIB):
                for number in range(HALF_OPEN):
                    idle.append(socket.create_connection(("127.0.0.1", server.port), PATIENCE_S))
                    if number % 1_000 == 0:
                        assert_served(innocent)
                assert_served(innocent)
            with connect(server.url, open_timeout=PATIENCE_S) as newcomer:
                assert_served(newcomer)
            for sock in idle:
                sock.close()
            assert_served(innocent)
            eventually(lambda: descriptors_of(server.pid) == base, "the base level of descriptors")
        assert_unharmed(server, base)
    finally:
        for sock in idle:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


# Too much.


def test_a_gigabyte_announced_is_refused_before_it_comes(servers: Servers) -> None:
    server = servers.start("mirror")
    announced = [
        bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 30) + bytes(4),
        frame(b"first", first=2) + bytes([0x80, 0xFF]) + struct.pack("!Q", 1 << 30) + bytes(4),
    ]
    with connect(server.url) as innocent, bounded_memory(servers, 16 * MIB):
        for _ in range(MANY // 2):
            for header in announced:
                with RawClient(server.port) as client:
                    client.upgrade(behind=header)
                    assert client.read_close_code() == 1009
        assert_served(innocent)
    assert_unharmed(server, descriptors_of(server.pid))


def test_large_messages_announced_take_no_memory_before_they_come(servers: Servers) -> None:
    server = servers.start("--max-message", "64M", "--outbox-limit", "64M", "mirror")
    header = bytes([0x82, 0xFF]) + struct.pack("!Q", 60 * MIB) + bytes(4)
    with connect(server.url) as innocent, ExitStack() as stack:
        assert_served(innocent)
        base = descriptors_of(server.pid)
        with bounded_memory(servers, 32 * MIB):
            for _ in range(MANY):
                client = stack.enter_context(RawClient(server.port))
                client.upgrade(behind=header + b"begun")
                client.send(b"more")
            assert_served(innocent)
        stack.close()
        assert_served(innocent)
    assert_unharmed(server, base)


@pytest.mark.parametrize("offer", ["permessage-deflate; client_max_window_bits", "x-unknown; a=1, y", ",;=,"])
def test_extensions_that_are_offered_are_not_used(servers: Servers, offer: str) -> None:
    server = servers.start("mirror")
    with RawClient(server.port) as client:
        client.send(request(server.port, f"Sec-WebSocket-Extensions: {offer}"))
        head = client.read_head()
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"extensions" not in head.lower()
        client.send(frame(b"plain"))
        assert client.read(7) == b"\x81\x05plain"
        # RSV1, "compressed": nobody has agreed to that.
        client.send(frame(b"x", first=0xC1))
        assert client.read_close_code() == 1002


def test_a_flood_of_pings_from_one_who_reads_no_pong_is_bounded(servers: Servers) -> None:
    server = servers.start("--outbox-limit", "128K", "mirror")
    pings = frame(b"p" * 125, PING) * 500
    with connect(server.url) as innocent, RawClient(server.port, receive_buffer=4096) as flooder:
        assert_served(innocent)
        flooder.upgrade()
        flooder.socket.settimeout(0)
        sent = 0
        with bounded_memory(servers, 32 * MIB):
            while sent < 10 * MIB:
                try:
                    sent += flooder.socket.send(pings[sent % 131 :])
                except BlockingIOError:
                    assert_served(innocent)
                    # Pongs may be left out, so a flood that isn't read is still read away.
                    select.select([], [flooder.socket], [], PATIENCE_S)
            assert_served(innocent)


# The worst moment to go.


def test_a_close_in_the_midst_of_a_fragmented_message_ends_it(servers: Servers) -> None:
    server = servers.start(f"{servers.reporter()} | mirror")
    for _ in range(20):
        with RawClient(server.port) as client:
            client.upgrade()
            client.send(frame(b"half", first=1) + frame(struct.pack("!H", 1000), CLOSE))
            assert client.read_close_code() == 1000
    events = server.events("disconnect", 20)
    assert {(event["code"], event["clean"]) for event in events} == {(1000, True)}
    assert '"type": "message"' not in server.stdout.text
    assert_unharmed(server, descriptors_of(server.pid))


def test_a_burst_before_the_close_is_heard_whole(servers: Servers) -> None:
    server = servers.start(f"{servers.reporter()} | mirror")
    burst = b"".join(frame(b"%d" % number) for number in range(500))
    with RawClient(server.port) as client:
        client.upgrade()
        client.send(burst + frame(struct.pack("!H", 1000), CLOSE))
        replies = split_replies(client.read_to_end())
    assert replies[-1].first == 0x80 | CLOSE
    heard = server.events("message", 500)
    assert [event["data"] for event in heard] == [repr(str(number)) for number in range(500)]
    # What was answered before the Close frame is in order; nothing follows it.
    assert [reply.payload for reply in replies[:-1]] == [b"%d" % number for number in range(len(replies) - 1)]
    assert_unharmed(server, descriptors_of(server.pid))


def test_receivers_that_go_during_a_fan_out_cost_the_others_nothing(servers: Servers) -> None:
    server = servers.start("broadcast")
    count = 200
    with connect(server.url) as sender, connect(server.url, max_queue=None) as stays, ExitStack() as stack:
        base = descriptors_of(server.pid)
        going = [stack.enter_context(RawClient(server.port)) for _ in range(60)]
        for client in going:
            client.upgrade()
        for number in range(count):
            sender.send(f"{number} " + "x" * 5_000)
            if going and number % 3 == 0:
                client = going.pop()
                if number % 2:
                    client.reset()
                else:
                    client.send(frame(struct.pack("!H", 1001), CLOSE))
                    client.socket.close()
        for number in range(count):
            assert str(stays.recv(PATIENCE_S)).startswith(f"{number} ")
        stack.close()
        eventually(lambda: descriptors_of(server.pid) == base, "the base level of descriptors")
    assert_unharmed(server, base)


def test_clients_that_go_during_the_tls_handshake_leave_nothing(servers: Servers) -> None:
    authority = Authority(servers.folder)
    server = servers.start(*authority.issue(), "mirror")
    context = authority.client_context()
    hello = hello_of_tls(context)
    with connect(server.url, ssl=context) as innocent:
        assert_served(innocent)
        base = descriptors_of(server.pid)
        with bounded_memory(servers, 32 * MIB):
            for number in range(MANY):
                client = RawClient(server.port)
                client.send(hello[: number * len(hello) // MANY])
                if number % 2:
                    client.reset()
                else:
                    client.socket.close()
            for _ in range(20):
                with RawClient(server.port) as client:
                    client.send(hello)
                    client.socket.recv(1)  # the server has said its part, and waits for ours
            assert_served(innocent)
            eventually(lambda: descriptors_of(server.pid) == base, "the base level of descriptors")
    assert_unharmed(server, base)


def test_tls_handshakes_under_way_at_the_servers_end_are_ended(servers: Servers) -> None:
    authority = Authority(servers.folder)
    server = servers.start("--drain-timeout", "1", *authority.issue(), "mirror")
    context = authority.client_context()
    with (
        RawClient(server.port) as silent,
        RawClient(server.port) as halfway,
        connect(server.url, ssl=context) as client,
    ):
        halfway.send(hello_of_tls(context))
        halfway.socket.recv(1)
        assert_served(client)
        assert_unharmed(server, descriptors_of(server.pid))
        assert silent.read_to_end() == b""


def test_clients_that_come_and_go_while_certificates_are_replaced(servers: Servers) -> None:
    authority = Authority(servers.folder)
    server = servers.start(*authority.issue(), "mirror")
    context = authority.client_context()
    hello = hello_of_tls(context)
    with connect(server.url, ssl=context) as innocent:
        assert_served(innocent)
        base = descriptors_of(server.pid)
        for number in range(1, 11):
            authority.issue()
            halfway = RawClient(server.port)
            halfway.send(hello)
            server.signal(signal.SIGHUP)
            halfway.reset()
            server.stderr.wait_for("read again: certificates", count=number)
            with connect(server.url, ssl=context) as another:
                assert_served(another)
            assert_served(innocent)
        eventually(lambda: descriptors_of(server.pid) == base, "the base level of descriptors")
    assert_unharmed(server, base)


def test_a_client_that_goes_while_the_server_closes_it(servers: Servers) -> None:
    closer = servers.script(
        "closer",
        "#!/usr/bin/env fws-python\n"
        "from fws_pipe.sdk import close, on, run\n"
        "@on('message')\n"
        "def bye(event):\n"
        "    close(event['id'], 4000, 'enough')\n"
        "run()\n",
    )
    server = servers.start(closer)
    server.stderr.wait_for("listening on")
    base = descriptors_of(server.pid)
    with connect(server.url) as polite:
        polite.send("x")
        with pytest.raises(ConnectionClosed) as closed:
            polite.recv(PATIENCE_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4000
    for number in range(60):
        client = RawClient(server.port)
        client.upgrade(behind=frame(b"x", BINARY))
        if number % 3 == 0:
            client.reset()
        elif number % 3 == 1:
            client.send(frame(struct.pack("!H", 1000), CLOSE))
            client.socket.close()
        else:
            client.send(frame(b"again") * 50)
            client.socket.close()
    assert_unharmed(server, base)
