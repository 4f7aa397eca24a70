"""A client on hold: it alone is not read, until it resumes or leaves, or the chain or the server ends."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import struct

import pytest

from fws_pipe.websocket.intake import Intake
from tests.e2e.authority import Authority
from tests.e2e.raw import CLOSE, RawClient, frame, request
from tests.harness import Server, Servers, memory_of

OBEDIENT = """#!/usr/bin/env fws-python
import os, signal, threading
from fws_pipe.sdk import accept, hold, on, resume, run, send

clients = []

@on("open")
def note(event):
    clients.append(event["id"])
    if event["path"] == "/gate":
        hold(event["id"])
        accept(event["id"])

@on("message")
def obey(event):
    send(event["id"], event["data"])
    if event["data"] == "hold me":
        hold(event["id"])
    elif event["data"] == "die":
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()
    elif event["data"] == "tell the first":
        send(clients[0], "told")
    elif event["data"] == "resume the first":
        resume(clients[0])

run()
"""

WAYS = [(intake, False) for intake in Intake] + [(Intake.EPOLL, True)]
"""The intakes, and whether there is TLS (which a task reads)."""

by_all_ways = pytest.mark.parametrize(("intake", "has_tls"), WAYS, ids=str)


class Theatre:
    """A server with an obedient filter, and what connects to it."""

    def __init__(self, servers: Servers, *options: str, has_tls: bool = False) -> None:
        self._context: ssl.SSLContext | None = None
        if has_tls:
            authority = Authority(servers.folder)
            options = (*options, *authority.issue())
            self._context = authority.client_context()
        chain = f"{servers.script('obedient', OBEDIENT)} | {servers.reporter()}"
        self.server: Server = servers.start("--ping-interval", "0", *options, chain)

    def client(self) -> RawClient:
        client = RawClient(self.server.port)
        if self._context is not None:
            client.begin_tls(self._context)
        client.upgrade()
        return client


def say(client: RawClient, text: str) -> None:
    client.send(frame(text.encode()))


def hear(client: RawClient, text: str) -> None:
    assert client.read(2 + len(text)) == bytes([0x81, len(text)]) + text.encode()


def exchange(client: RawClient, text: str) -> None:
    say(client, text)
    hear(client, text)


def disconnects(server: Server, count: int) -> list[tuple[int, bool]]:
    return [(event["code"], event["clean"]) for event in server.events("disconnect", count)]


def test_one_client_waits_in_tcp(servers: Servers) -> None:
    theatre = Theatre(servers)
    with theatre.client() as held, theatre.client() as other:
        exchange(held, "hold me")
        before = memory_of(theatre.server.pid)
        assert _fill(held) < _TOO_MUCH_BYTES, "the server goes on reading"
        assert memory_of(theatre.server.pid) - before < 8 << 20
        exchange(other, "hello")


_TOO_MUCH_BYTES = 64 << 20


def _fill(client: RawClient) -> int:
    """Send binary messages until TCP takes no more; returns how many bytes that were."""
    client.socket.settimeout(0.1)
    size = 0
    with contextlib.suppress(TimeoutError):
        while size < _TOO_MUCH_BYTES:
            client.send(frame(bytes(60_000), opcode=2))
            size += 60_000
    return size


@by_all_ways
def test_a_hold_until_it_resumes_or_leaves_or_the_server_stops(servers: Servers, intake: str, has_tls: bool) -> None:
    theatre = Theatre(servers, "--intake", intake, has_tls=has_tls)
    with theatre.client() as held, theatre.client() as other:
        exchange(held, "hold me")
        for number in range(3):
            say(held, str(number))
        for _ in range(3):
            exchange(other, "hello")  # the chain has returned ticks since: whatever were read would have been answered
        exchange(other, "tell the first")
        hear(held, "told")
        exchange(other, "resume the first")
        for number in range(3):
            hear(held, str(number))
        with theatre.client() as leaving:
            exchange(leaving, "hold me")
            say(leaving, "hold me")  # it has left when that is read, and can't be held any more
            say(leaving, "last words")
            leaving.socket.shutdown(socket.SHUT_WR)
            assert disconnects(theatre.server, 1) == [(1006, False)]
            assert theatre.server.events("message", 0)[-1]["data"] == "'last words'"
        with theatre.client() as leaving:
            exchange(leaving, "hold me")
            leaving.reset()
            assert disconnects(theatre.server, 2)[1:] == [(1006, False)]
        exchange(held, "hold me")
        other.socket.close()
        disconnects(theatre.server, 3)
        theatre.server.signal(signal.SIGTERM)
        assert held.read(4)[2:] == struct.pack("!H", 1001)
        held.send(frame(struct.pack("!H", 1001), CLOSE))
        held.read_to_end()
        assert theatre.server.wait() == 0
    assert disconnects(theatre.server, 4)[3:] == [(1001, True)]
    assert "error in the server itself" not in theatre.server.stderr.text


def test_a_hold_ends_with_the_chain(servers: Servers) -> None:
    theatre = Theatre(servers)
    with theatre.client() as held, theatre.client() as other:
        exchange(held, "hold me")
        say(held, "x")
        exchange(other, "hello")
        theatre.server.signal(signal.SIGHUP)
        hear(held, "x")
        exchange(held, "hold me")  # the next chain may hold it again
        say(held, "y")
        exchange(other, "die")
        hear(held, "y")


def test_a_hold_at_the_gate_is_one_from_the_first_message_on(servers: Servers) -> None:
    server = servers.start("--gate", servers.script("obedient", OBEDIENT))
    with RawClient(server.port) as held, RawClient(server.port) as other:
        held.send(_request("/gate", server.port))
        assert b" 101 " in held.read_head()
        say(held, "x")
        other.send(_request("/gate", server.port))
        assert b" 101 " in other.read_head()
        held.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            held.read(1)


def _request(path: str, port: int) -> bytes:
    return request(port, line=f"GET {path} HTTP/1.1")
