"""Every limit: whoever meets it is told, it is counted, and nobody else notices."""

from __future__ import annotations

import re
import signal
import socket
import struct
from collections.abc import Mapping
from contextlib import ExitStack

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from wsproto.events import CloseConnection

from fws_pipe.websocket.intake import Intake
from tests.e2e.authority import Authority
from tests.e2e.raw import CLOSE, TEXT, RawClient, frame, hello_of_tls, request
from tests.harness import PATIENCE_S, Server, Servers

INTAKES = tuple(Intake)


def knock(server: Server, headers: Mapping[str, str] | None = None, origin: str | None = None) -> ClientConnection:
    return connect(server.url, additional_headers=headers, origin=origin)  # type: ignore[arg-type]


def refusal_of(server: Server, headers: Mapping[str, str] | None = None, origin: str | None = None) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refused, knock(server, headers, origin):
        pass
    return refused.value.response.status_code, (refused.value.response.body or b"").decode()


def exchange(client: ClientConnection, text: str) -> None:
    client.send(text)
    assert client.recv(PATIENCE_S) == text


def last_words(client: RawClient) -> tuple[int, str]:
    *_, close = client.read_events_to_end()
    assert isinstance(close, CloseConnection), close
    return int(close.code), close.reason or ""


def counted(server: Server) -> str:
    assert server.stop() == 0
    return server.stderr.wait_for("counted")


def test_clients_of_one_address(servers: Servers) -> None:
    server = servers.start("--max-clients-per-address", "2", f"mirror | {servers.reporter()}")
    with knock(server) as first:
        with knock(server) as second:
            status, text = refusal_of(server)
            assert status == 429
            assert "Your address has 2 connections" in text
            exchange(first, "a")
            exchange(second, "b")
        server.events("disconnect", 1)
        with knock(server) as third:
            exchange(third, "c")
    assert "refused 429: 1" in counted(server)


def test_behind_a_trusted_proxy_the_client_counts(servers: Servers) -> None:
    options = ("--max-clients-per-address", "1", "--trusted-proxy", "127.0.0.0/8")
    server = servers.start(*options, f"mirror | {servers.reporter()}")
    with knock(server, {"X-Forwarded-For": "192.0.2.1, 203.0.113.5"}) as first:
        with knock(server, {"Forwarded": 'for=192.0.2.1, for="203.0.113.6:4711"'}) as second:
            exchange(first, "a")
            exchange(second, "b")
            assert refusal_of(server, {"X-Forwarded-For": "203.0.113.5"})[0] == 429
        opened = [event["remote"] for event in server.events("open", 2)]
        assert opened == [["203.0.113.5", 0], ["203.0.113.6", 4711]]
        status, text = refusal_of(server, {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.8"})
        assert status == 400
        assert "different clients" in text


def test_nobody_else_can_say_where_it_comes_from(servers: Servers) -> None:
    server = servers.start("--trusted-proxy", "10.0.0.0/8", servers.reporter())
    with knock(server, {"X-Forwarded-For": "203.0.113.5"}):
        [opened] = server.events("open", 1)
        assert opened["remote"][0] == "127.0.0.1"
        assert ["x-forwarded-for", "203.0.113.5"] in opened["headers"]


def test_handshakes_at_a_time(servers: Servers) -> None:
    server = servers.start("--max-handshakes", "2", "--handshake-timeout", "0.3", "mirror")
    idle = [RawClient(server.port) for _ in range(4)]
    with knock(server) as client:  # it comes in when those before it have used up their time
        exchange(client, "x")
    for each in idle:
        assert each.read_to_end().startswith(b"HTTP/1.1 408 ")
        each.socket.close()
    assert "accepting paused" in counted(server)


@pytest.mark.parametrize("has_tls", [False, True])
def test_who_connects_and_says_nothing_keeps_nobody_out(servers: Servers, has_tls: bool) -> None:
    authority = Authority(servers.folder)
    context = authority.client_context() if has_tls else None
    options = ("--max-handshakes", "8", "--handshake-timeout", "1000")
    server = servers.start(*options, *(authority.issue() if has_tls else ()), "mirror")
    begun = hello_of_tls(context) if context else request(server.port)
    with ExitStack() as stack:
        silent = [stack.enter_context(RawClient(server.port)) for _ in range(7)]
        slow = stack.enter_context(RawClient(server.port))  # behind them, so its time isn't over before theirs
        slow.send(begun[:10])
        silent += [stack.enter_context(RawClient(server.port)) for _ in range(3)]
        with connect(server.url, ssl=context, open_timeout=PATIENCE_S) as client:
            exchange(client, "x")
        for each in silent[:4]:  # there was room for the other six
            assert each.read_to_end() == b""
        slow.send(begun[10:])
        if has_tls:
            assert slow.read(1) == b"\x16"  # the server's part of the handshake
        else:
            assert slow.read_head().startswith(b"HTTP/1.1 101 ")
    assert "silent while others waited: 4" in counted(server)
    assert "error in the server itself" not in server.stderr.text


@pytest.mark.parametrize("has_tls", [False, True])
def test_an_address_that_holds_all_handshakes_with_a_byte_each_keeps_no_other_out(
    servers: Servers, has_tls: bool
) -> None:
    authority = Authority(servers.folder)
    context = authority.client_context() if has_tls else None
    options = ("--max-handshakes", "64", "--handshake-timeout", "1000", "--verbose")
    server = servers.start(*options, *(authority.issue() if has_tls else ()), "mirror")
    first_byte = (hello_of_tls(context) if context else request(server.port))[:1]
    with ExitStack() as stack:
        crowd = [stack.enter_context(RawClient(server.port)) for _ in range(64)]
        for each in crowd:
            each.send(first_byte)
        for _ in range(3):
            with connect(server.url, ssl=context, open_timeout=10, source_address=("127.0.0.2", 0)) as client:
                exchange(client, "x")
        answer = crowd[0].read_to_end()
        assert answer == b"" if has_tls else answer.startswith(b"HTTP/1.1 408 ")
    server.stderr.wait_for(r"refused 127\.0\.0\.1:\d+: Your address has most of the handshakes under way")
    # What makes room for the first is enough for the next ones, which come when it is a client or gone.
    assert re.search(r"slow while others waited: 1\b", counted(server))


def test_the_share_of_an_address_counts_behind_a_proxy_that_tells_it_first(servers: Servers) -> None:
    options = (
        "--proxy-protocol",
        "--trusted-proxy",
        "127.0.0.1",
        "--max-handshakes",
        "4",
        "--handshake-timeout",
        "1000",
    )
    server = servers.start(*options, "mirror")
    with ExitStack() as stack:
        for host in ("203.0.113.5", "203.0.113.6", "203.0.113.5", "203.0.113.7"):
            slow = stack.enter_context(RawClient(server.port))
            slow.send(b"PROXY TCP4 %s 192.0.2.1 4711 443\r\nG" % host.encode())
        with RawClient(server.port) as client:
            client.send(b"PROXY TCP4 203.0.113.8 192.0.2.1 4711 443\r\n")
            client.upgrade()
    assert re.search(r"slow while others waited: 1\b", counted(server))


def test_a_slow_handshake(servers: Servers) -> None:
    server = servers.start("--handshake-timeout", "0.2", "mirror")
    with RawClient(server.port) as client:
        client.send(request(server.port)[:-2])
        assert client.read_to_end().startswith(b"HTTP/1.1 408 ")
    assert "refused 408: 1" in counted(server)


def test_a_large_head(servers: Servers) -> None:
    server = servers.start("--max-header", "1K", "mirror")
    status, text = refusal_of(server, {"X-Filler": "x" * 1024})
    assert status == 431
    assert "larger than 1024 bytes" in text
    with knock(server, {"X-Filler": "x" * 512}) as client:
        exchange(client, "x")
    assert "refused 431: 1" in counted(server)
    server = servers.start("--max-header", "64K", "mirror")
    with knock(server, {"X-Filler": "x" * 5000, "X-More": "x" * 8000, "X-Most": "x" * 8000}) as client:
        exchange(client, "x")


def fragments(*payloads: bytes) -> bytes:
    """A message in these fragments."""
    firsts = [0x00] * len(payloads)
    firsts[0] = TEXT
    firsts[-1] |= 0x80
    return b"".join(frame(payload, first=first) for payload, first in zip(payloads, firsts, strict=True))


@pytest.mark.parametrize("intake", INTAKES)
def test_fragments_of_a_message(servers: Servers, intake: str) -> None:
    server = servers.start("--max-fragments", "3", "--intake", intake, "mirror")
    with RawClient(server.port) as client:
        client.upgrade(fragments(b"a", b"b", b"c", b"d"))
        assert client.read(6) == b"\x81\x04abcd"
        client.send(fragments(b"d", b"e") + fragments(b"f", b"", b"g"))
        assert client.read(4 + 4) == b"\x81\x02de\x81\x02fg"
        client.send(fragments(b"", b"", b"", b"", b"")[:-6])
        assert last_words(client) == (1009, "a message may have 3 fragments before its last")
    assert "too many fragments: 1" in counted(server)


@pytest.mark.parametrize("intake", INTAKES)
def test_a_message_that_is_too_large_is_counted(servers: Servers, intake: str) -> None:
    server = servers.start("--max-message", "1000", "--intake", intake, "mirror")
    for words in (frame(b"x" * 1001), fragments(b"x" * 600, b"y" * 600, b"z")):
        with RawClient(server.port) as client:
            client.upgrade(words)
            assert last_words(client) == (1009, "a message may have 1000 bytes")
    assert "message too large: 2" in counted(server)


@pytest.mark.parametrize("intake", INTAKES)
def test_a_client_faster_than_its_rate_is_closed(servers: Servers, intake: str) -> None:
    options = ("--rate", "5/h", "--rate-policy", "close", "--intake", intake)
    server = servers.start(*options, f"mirror | {servers.reporter()}")
    with RawClient(server.port) as client, knock(server) as other:
        client.upgrade(b"".join(frame(b"%d" % number) for number in range(8)))
        assert last_words(client) == (1008, "too fast: more than this server's rate allows")
        exchange(other, "x")
        assert [event["data"] for event in server.events("message", 6)] == [*(f"'{n}'" for n in range(5)), "'x'"]
    assert "too fast: 1" in counted(server)


@pytest.mark.parametrize("intake", ["epoll", "tasks"])
def test_a_client_faster_than_its_rate_is_held_back_and_loses_nothing(servers: Servers, intake: str) -> None:
    server = servers.start("--rate", "5/h", "--intake", intake, f"mirror | {servers.reporter()}")
    with RawClient(server.port) as client, knock(server) as other:
        client.upgrade(b"".join(frame(b"%d" % number) for number in range(8)))
        assert client.read(5 * 3) == b"".join(b"\x81\x01%d" % number for number in range(5))
        exchange(other, "x")
        assert [event["data"] for event in server.events("message", 6)] == [*(f"'{n}'" for n in range(5)), "'x'"]
        server.signal(signal.SIGTERM)
        # What had been read is answered before the end.
        assert client.read(3 * 3 + 1) == b"\x81\x015\x81\x016\x81\x017\x88"
    assert server.wait() == 0
    assert "held back by its rate: 1" in server.stderr.wait_for("counted")


@pytest.mark.parametrize("intake", INTAKES)
def test_a_client_that_was_held_back_goes_on(servers: Servers, intake: str) -> None:
    server = servers.start("--rate", "100/s", "--intake", intake, "mirror")
    with RawClient(server.port) as client:
        client.upgrade(b"".join(frame(b"%03d" % number) for number in range(150)))
        assert client.read(150 * 5) == b"".join(b"\x81\x03%03d" % number for number in range(150))
        client.send(frame(struct.pack("!H", 1000), CLOSE))
        assert client.read_close_code() == 1000


@pytest.mark.parametrize("has_tls", [False, True])
def test_a_client_that_resets_its_connection_while_its_rate_holds_it_frees_its_place(
    servers: Servers, has_tls: bool
) -> None:
    authority = Authority(servers.folder)
    options = ("--rate", "5/h", "--ping-interval", "0", "--max-clients", "1")
    server = servers.start(*options, *(authority.issue() if has_tls else ()), f"mirror | {servers.reporter()}")
    for number in (1, 2):  # the second one finds the place of the first
        with RawClient(server.port) as client:
            if has_tls:
                client.begin_tls(authority.client_context())
            client.upgrade(b"".join(frame(b"%d" % number) for number in range(8)))
            assert client.read(5 * 3) == b"".join(b"\x81\x01%d" % number for number in range(5))
            client.reset()
        assert [event["code"] for event in server.events("disconnect", number)] == [1006] * number
    assert "held back by its rate: 2" in counted(server)
    assert "error in the server itself" not in server.stderr.text


def test_a_client_that_has_left_while_its_rate_holds_it_is_found_by_a_ping(servers: Servers) -> None:
    """The end of what it sends stands behind what its rate holds back. But its kernel refuses the ping."""
    server = servers.start("--rate", "1/h", "--ping-interval", "0.1", servers.reporter())
    with RawClient(server.port) as client:
        client.upgrade(frame(b"x") * 3)
        server.events("message", 1)
    assert server.events("disconnect", 1)[0]["code"] == 1006


def test_what_a_client_has_sent_before_the_end_of_its_output_is_taken_at_its_rate(servers: Servers) -> None:
    server = servers.start("--rate", "100/s", "--ping-interval", "0", f"mirror | {servers.reporter()}")
    with RawClient(server.port) as client:
        client.upgrade(b"".join(frame(b"%03d" % number) for number in range(150)))
        client.socket.shutdown(socket.SHUT_WR)
        assert server.events("disconnect", 1)[0]["code"] == 1006
    assert [event["data"] for event in server.events("message", 150)] == [f"'{number:03}'" for number in range(150)]
    assert server.stop() == 0


def test_bytes_have_a_rate_too(servers: Servers) -> None:
    server = servers.start("--rate-bytes", "1K/h", "--rate-policy", "close", "mirror")
    with knock(server) as client:
        exchange(client, "x" * 5000)
        with pytest.raises(ConnectionClosedError, match="1008"):
            exchange(client, "y")
    server = servers.start("--rate-bytes", "1M", "mirror")
    with knock(server) as client:
        for number in range(20):
            exchange(client, f"{number:05d}" * 20_000)


def test_pings_count_for_the_rate(servers: Servers) -> None:
    server = servers.start("--rate", "5/h", "--rate-policy", "close", "mirror")
    with RawClient(server.port) as client:
        client.upgrade(frame(b"", 9) * 6)
        assert client.read(5 * 2) == b"\x8a\x00" * 5
        assert client.read_close_code() == 1008


def test_an_idle_client_is_closed_whatever_pongs_it_sends(servers: Servers) -> None:
    server = servers.start("--idle-timeout", "0.4", "--ping-interval", "0.1", f"mirror | {servers.reporter()}")
    with knock(server) as client:
        with pytest.raises(ConnectionClosedOK) as closed:
            client.recv(PATIENCE_S)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "no message for 0.4 s")
    [gone] = server.events("disconnect", 1)
    assert (gone["code"], gone["clean"]) == (1001, True)
    assert "idle: 1" in counted(server)


def test_origins(servers: Servers) -> None:
    server = servers.start("--origin", "https://*.example.com", "--origin", "localhost:8080,none", "mirror")
    for origin in ("https://chat.example.com", "http://localhost:8080", None):
        with knock(server, origin=origin) as client:
            exchange(client, "x")
    for origin in ("https://example.com", "http://chat.example.com", "http://localhost", "null"):
        status, text = refusal_of(server, origin=origin)
        assert status == 403
        assert f"a page of {origin}" in text
    assert "refused 403: 4" in counted(server)
    server = servers.start("--origin", "same", "mirror")
    with knock(server, origin=f"http://127.0.0.1:{server.port}") as client:
        exchange(client, "x")
    assert refusal_of(server, origin="http://127.0.0.1:1")[0] == 403
    assert "names no Origin" in refusal_of(server)[1]


def test_a_token_in_a_cookie_is_good_for_pages_of_the_same_host_unless_origins_are_named(servers: Servers) -> None:
    (servers.folder / "tokens").write_text("s3cret alice\n")
    cookie, bearer = {"Cookie": "token=s3cret"}, {"Authorization": "Bearer s3cret"}
    server = servers.start("--auth-tokens", "tokens", "mirror")
    for headers, origin in (
        (cookie, None),
        (cookie, f"http://127.0.0.1:{server.port}"),
        (bearer, "https://elsewhere.org"),
    ):
        with knock(server, headers, origin) as client:
            exchange(client, "x")
    assert refusal_of(server, cookie, "https://elsewhere.org")[0] == 403
    assert refusal_of(server, {"Cookie": "token=wrong"}, "https://elsewhere.org")[0] == 401
    server = servers.start("--auth-tokens", "tokens", "--origin", "elsewhere.org", "mirror")
    with knock(server, cookie, "https://elsewhere.org") as client:
        exchange(client, "x")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--origin", "http://a/b", "expected [scheme://]host[:port]"),
        ("--trusted-proxy", "localhost", "expected an address, a network"),
        ("--rate", "fast", "expected a rate"),
        ("--rate-bytes", "1X/s", "expected a rate in bytes"),
        ("--rate-policy", "drop", "expected one of wait, close"),
        ("--max-header", "10", "expected a size of 256 bytes to 1M"),
        ("--unix-mode", "rw", "expected permissions in octal"),
        ("--pass-env", "A-B", "expected names of environment variables"),
        ("--handshake-timeout", "0", "expected a number of seconds above 0"),
    ],
)
def test_wrong_values(servers: Servers, option: str, value: str, words: str) -> None:
    server = servers.start(option, value, "mirror")
    assert server.wait() == 2
    [line] = server.stderr.lines
    assert words in line
    assert option in line
