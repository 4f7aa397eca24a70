"""Opening and ending connections: what clients get, and what the chain hears of it."""

from __future__ import annotations

import itertools
import re
import socket
import struct

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect

from tests.e2e.authority import Authority
from tests.e2e.raw import CLOSE, RawClient, frame, request, split_replies
from tests.harness import Servers, eventually


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return frame(struct.pack("!H", code) + reason, CLOSE)


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("close 1000", (1000, "bye", True)),
        ("close 1001", (1001, "", True)),
        ("close 4321", (4321, "", True)),
        ("close without a code", (1005, "", True)),
        ("end of stream", (1006, "", False)),
        ("reset", (1006, "", False)),
    ],
)
def test_each_open_has_exactly_one_disconnect(servers: Servers, ending: str, expected: tuple[int, str, bool]) -> None:
    server = servers.start(servers.reporter())
    with RawClient(server.port) as client:
        client.upgrade()
        client.send(frame(b"here"))
        server.events("message", 1)
        if ending == "end of stream":
            client.socket.close()
        elif ending == "reset":
            client.reset()
        else:
            words = ending.split()
            client.send(
                frame(b"", CLOSE) if "without" in words else close_frame(int(words[1]), b"bye" * (words[1] == "1000"))
            )
            client.read_to_end()
        server.events("disconnect", 1)
    assert server.stop() == 0
    [disconnect] = server.events("disconnect", 1)
    assert (disconnect["code"], disconnect["reason"], disconnect["clean"]) == expected
    assert len(server.events("open", 1)) == 1


def test_the_open_event_tells_all_about_the_request(servers: Servers) -> None:
    server = servers.start("--name", "alpha", "--subprotocol", "v1.chat,v2.chat", servers.reporter())
    url = f"{server.url}/chat/room?user=a%20b&x"
    with connect(url, additional_headers={"X-Thing": "yes"}, subprotocols=["v2.chat", "v1.chat"]) as client:  # type: ignore[list-item]
        assert client.subprotocol == "v1.chat"
        [event] = server.events("open", 1)
    assert event["id"].startswith("alpha-")
    assert (event["path"], event["query"]) == ("/chat/room", "user=a%20b&x")
    assert ["x-thing", "yes"] in event["headers"]
    assert event["remote"][0] == "127.0.0.1"
    assert event["subprotocol"] == "v1.chat"
    assert (event["tls"], event["auth"], event["replay"]) == (None, None, False)


def test_events_are_numbered_without_a_gap(servers: Servers) -> None:
    server = servers.start("tee events.mp | mirror")
    with connect(server.url) as client:
        for number in range(20):
            client.send(str(number))
            client.recv(30)
    assert server.stop() == 0
    from fws_pipe.protocol.codec import FrameDecoder

    decoder = FrameDecoder()
    decoder.feed((servers.folder / "events.mp").read_bytes())
    frames = [event for event, _ in decoder]
    decoder.finish()
    assert [event["seq"] for event in frames] == list(range(1, len(frames) + 1))
    assert {event["type"] for event in frames} == {"open", "message", "disconnect", "tick"}


CLOSER = """#!/usr/bin/env fws-python
from fws_pipe.sdk import close, on, run
@on("message")
def over(event):
    close(event["id"], 4000, "that was enough")
run()
"""


def test_a_client_sees_the_code_and_reason_of_a_filter(servers: Servers) -> None:
    server = servers.start(f"{servers.script('closer', CLOSER)} | {servers.reporter()}")
    with connect(server.url) as client:
        client.send("go")
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(30)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4000, "that was enough")
    [disconnect] = server.events("disconnect", 1)
    assert (disconnect["code"], disconnect["clean"]) == (4000, True)


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (frame(b"hi", masked=False), 1002),
        (frame(b"hi", first=0xC1), 1002),
        (frame(b"hi", first=0x83), 1002),
        (frame(b"\xff\xfe"), 1007),
        (frame(b"x", CLOSE), 1002),
        (close_frame(1005), 1002),
        (frame(b"x" * 65, first=0x80), 1002),
        (frame(b"x" * (2**20 + 1)), 1009),
        (frame("é".encode() * (2**19 + 1)), 1009),
        (frame(b"x" * (3 * 2**20)) + frame(b"ping", 9) + frame(b"more"), 1009),
    ],
    ids=[
        "unmasked",
        "rsv",
        "opcode",
        "utf-8",
        "short close",
        "close 1005",
        "continuation",
        "1009",
        "1009 bytes",
        "1009+",
    ],
)
def test_whoever_breaks_the_rules_gets_a_close_frame_and_costs_nobody_else(
    servers: Servers, broken: bytes, code: int
) -> None:
    server = servers.start(f"{servers.reporter()} | mirror")
    with connect(server.url) as bystander, RawClient(server.port) as client:
        client.upgrade()
        client.send(broken)
        assert client.read_close_code() == code
        bystander.send("still here")
        assert bystander.recv(30) == "still here"
    endings = [(event["code"], event["clean"]) for event in server.events("disconnect", 2)]
    assert endings == [(code, False), (1000, True)]
    assert [event["data"] for event in server.events("message", 1)] == ["'still here'"]


def test_a_message_of_exactly_the_limit_passes(servers: Servers) -> None:
    server = servers.start("--max-message", "1000", "mirror")
    with connect(server.url) as client:
        for message in ("é" * 500, b"x" * 1000):
            client.send(message)
            assert client.recv(30) == message
        client.send("é" * 500 + "x")
        with pytest.raises(ConnectionClosedError, match="1009"):
            client.recv(30)


def test_a_frame_in_the_segment_of_the_request_is_delivered(servers: Servers) -> None:
    server = servers.start("mirror")
    with RawClient(server.port) as client:
        client.upgrade(behind=frame(b"early") + frame(b"bird"))
        expected = b"\x81\x05early\x81\x04bird"
        assert client.read(len(expected)) == expected


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 426 "),
        (b"GET / HTTP/1.1\nHost: x\n\n", b"HTTP/1.1 426 "),
        (b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 426 "),
        (request(1, line="GET / HTTP/1.0"), b"HTTP/1.1 400 "),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HTTP/1.1 400 "),
        (request(1, "X: " + "a" * 20000), b"HTTP/1.1 431 "),
        (b"a" * 20000, b"HTTP/1.1 431 "),
    ],
)
def test_what_is_no_upgrade_gets_an_answer_at_once(servers: Servers, data: bytes, answer: bytes) -> None:
    server = servers.start("mirror")
    with RawClient(server.port) as client:
        client.send(data)
        assert client.read_to_end().startswith(answer)


@pytest.mark.parametrize("cuts", [(), (1,), (2, 3), (5,)])
def test_empty_lines_before_the_request_are_skipped(servers: Servers, cuts: tuple[int, ...]) -> None:
    server = servers.start("mirror")
    with RawClient(server.port) as client:
        data = b"\r\n\n\r\n" + request(server.port)
        for start, end in itertools.pairwise((0, *cuts, len(data))):
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.send(data[start:end])
        assert b" 101 " in client.read_head()
        client.send(frame(b"hello"))
        assert client.read(7) == b"\x81\x05hello"


def test_empty_lines_without_end_are_a_request_that_is_too_large(servers: Servers) -> None:
    server = servers.start("--max-header", "1K", "mirror")
    with RawClient(server.port) as client:
        client.send(b"\r\n" * 600)
        assert client.read_to_end().startswith(b"HTTP/1.1 431 ")


def test_a_browser_is_told_what_this_is(servers: Servers) -> None:
    server = servers.start("mirror")
    with RawClient(server.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: chat.example:80\r\n\r\n")
        page = client.read_to_end().decode()
    assert "This is fws-pipe, a WebSocket server" in page
    assert "new WebSocket('ws://chat.example:80/')" in page


def test_one_client_more_than_allowed_gets_503_until_one_leaves(servers: Servers) -> None:
    server = servers.start("--max-clients", "2", servers.reporter())
    with connect(server.url) as first, connect(server.url):
        server.events("open", 2)
        with pytest.raises(InvalidStatus, match="503"), connect(server.url):
            pass
        first.close()
        server.events("disconnect", 1)
        with connect(server.url):
            server.events("open", 3)


def test_a_silent_client_is_pinged_and_then_closed(servers: Servers) -> None:
    server = servers.start("--ping-interval", "0.2", "--ping-timeout", "0.2", servers.reporter())
    with RawClient(server.port) as silent, connect(server.url) as answering:
        silent.upgrade()
        received = silent.read_to_end()
        assert re.match(rb"(\x89\x00)+\x88", received)
        assert b"no sign of life for" in received
        [disconnect] = server.events("disconnect", 1)
        assert (disconnect["code"], disconnect["clean"]) == (1011, False)
        answering.send("pong is enough")
        server.events("message", 1)


def test_pings_can_be_switched_off(servers: Servers) -> None:
    server = servers.start("--ping-interval", "0", "mirror")
    with connect(server.url) as client:
        client.send("x")
        assert client.recv(30) == "x"
    assert server.stop() == 0


def test_sigterm_closes_clients_with_1001_after_their_replies(servers: Servers) -> None:
    server = servers.start("mirror")
    with connect(server.url, max_queue=None) as client:
        for number in range(500):
            client.send(str(number))
        # The last echo tells that all have been read; what is on its way back must still arrive.
        assert client.recv(30) == "0"
        assert server.stop() == 0
        heard = []
        with pytest.raises(ConnectionClosedOK, match="1001"):
            while True:
                heard.append(client.recv(30))
    assert heard == [str(number) for number in range(1, 1 + len(heard))]


def test_two_hundred_connects_leave_nothing_behind(servers: Servers) -> None:
    from tests.harness import descriptors_of

    server = servers.start(f"{servers.reporter()} | mirror")
    with connect(server.url):
        server.events("open", 1)
    server.events("disconnect", 1)
    base = descriptors_of(server.pid)
    for number in range(2, 202):
        with RawClient(server.port) as client:
            if number % 4 == 0:
                client.send(b"GET / HTTP/1.1\r\n")
            elif number % 4 == 1:
                client.upgrade()
                client.reset()
            else:
                client.upgrade()
                client.send(frame(b"x") + close_frame(1000))
                client.read_to_end()
    server.events("disconnect", 151)
    eventually(lambda: descriptors_of(server.pid) == base, "the number of descriptors is back where it was")
    assert len(server.events("open", 151)) == len(server.events("disconnect", 151)) == 151


PLAIN = frame(b"one") + frame(b"two")
IN_PARTS = frame(b"o", first=0x01) + frame(b"ne", first=0x80) + frame(b"two")


@pytest.mark.parametrize("way", ["tcp", "tls", "gate"])
def test_a_client_that_ends_its_side_gets_its_replies(servers: Servers, way: str) -> None:
    """As `nc -N` does: it says all that it has to say, half-closes its connection, and reads to the end."""
    authority = Authority(servers.folder)
    options = {"tls": authority.issue(), "gate": ["--gate"]}.get(way, [])
    stages = [servers.script("opener", OPENER), servers.script("late", LATE), servers.reporter(), "mirror"]
    server = servers.start(*options, " | ".join(stages))
    has_ended = servers.folder / "ended"
    for count, messages in enumerate((PLAIN, IN_PARTS), 1):
        with RawClient(server.port) as client:
            if way == "tls":
                client.begin_tls(authority.client_context())
            client.send(request(server.port) + messages)
            client.end_output()
            has_ended.touch()
            client.read_head()
            assert [reply.payload for reply in split_replies(client.read_to_end())] == [b"one", b"two"]
        assert [event["code"] for event in server.events("disconnect", count)] == [1006] * count
        has_ended.unlink()
    assert server.stop() == 0
    assert len(server.events("disconnect", 2)) == 2


OPENER = """#!/usr/bin/env fws-python
from fws_pipe.sdk import accept, on, run

@on("open")
def came(event):
    accept(event["id"])

run()
"""

LATE = """#!/usr/bin/env fws-python
import time
from pathlib import Path
from fws_pipe.sdk import on, run

@on("message")
def said(event):
    while not Path("ended").exists():
        time.sleep(0.001)
    time.sleep(0.02)  # until the server has seen the end

run()
"""
