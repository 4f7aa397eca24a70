"""Behind proxies: the header of the PROXY protocol, health checks, and what real proxies send."""

from __future__ import annotations

import contextlib
import ipaddress
import shutil
import socket
import ssl
import struct
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.e2e.authority import Authority
from tests.e2e.raw import RawClient, frame, request
from tests.harness import PATIENCE_S, Server, Servers

V1 = b"PROXY TCP4 203.0.113.5 10.0.0.1 56324 443\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
UNIX = SIGNATURE + b"\x21\x31" + struct.pack("!H", 216) + bytes(216)


def v2(source: str, port: int, tlvs: bytes = b"") -> bytes:
    packed = ipaddress.ip_address(source).packed
    body = packed + bytes(len(packed)) + struct.pack("!HH", port, 443) + tlvs
    return SIGNATURE + bytes((0x21, 0x11 if len(packed) == 4 else 0x21)) + struct.pack("!H", len(body)) + body


def start(servers: Servers, *options: str) -> Server:
    return servers.start("--proxy-protocol", "--trusted-proxy", "127.0.0.1", *options, f"mirror | {servers.reporter()}")


def remote_of_a_client(server: Server, count: int) -> list[object]:
    """What the chain hears of the last of so many clients."""
    remote = server.events("open", count)[-1]["remote"]
    assert isinstance(remote, list)
    return remote


def test_the_header_of_a_trusted_proxy_tells_where_the_client_is_from(servers: Servers) -> None:
    server = start(servers)
    told = [
        (V1, ["203.0.113.5", 56324]),
        (b"PROXY TCP6 2001:db8::5 ::1 7 8\r\n", ["2001:db8::5", 7]),
        (v2("203.0.113.5", 56324), ["203.0.113.5", 56324]),
        (v2("2001:db8::5", 7, b"\x04\x01\x00" + bytes(256)), ["2001:db8::5", 7]),
        (b"PROXY UNKNOWN\r\n", None),
        (LOCAL, None),
        (UNIX, None),
    ]
    for count, (header, expected) in enumerate(told, 1):
        with RawClient(server.port) as client:
            # What a client writes itself counts for nothing.
            client.send(header + request(server.port, "X-Forwarded-For: 9.9.9.9") + frame(b"hello"))
            assert b" 101 " in client.read_head()
            assert client.read(7) == b"\x81\x05hello"
            own = list(client.socket.getsockname())
        assert remote_of_a_client(server, count) == (expected or own)


@pytest.mark.parametrize("header", [V1, v2("203.0.113.5", 56324, bytes(100))])
def test_a_header_that_comes_byte_by_byte(servers: Servers, header: bytes) -> None:
    server = start(servers)
    with RawClient(server.port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(len(header)):
            client.send(header[place : place + 1])
        client.upgrade()
    assert remote_of_a_client(server, 1) == ["203.0.113.5", 56324]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (request(1), "does not begin with one"),
        (b"PROXY TCP4 nonsense\r\n" + request(1), "the line is malformed"),
        (v2("203.0.113.5", 1, bytes(20_000)), "more than 16384"),
        (SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12), "version and command are 0x31"),
    ],
)
def test_a_trusted_proxy_without_a_right_header_is_refused(servers: Servers, data: bytes, problem: str) -> None:
    server = start(servers, "-v")
    with RawClient(server.port) as client:
        client.send(data)
        answer = client.read_to_end().decode()
    assert answer.startswith("HTTP/1.1 400 ")
    assert problem in answer
    server.stderr.wait_for(r"refused 127\.0\.0\.1:\d+: 400, A trusted proxy must begin with a header")
    assert server.stop() == 0
    assert not server.stdout.lines


@pytest.mark.parametrize("header", [V1, v2("203.0.113.5", 56324)])
def test_others_must_not_send_a_header(servers: Servers, header: bytes) -> None:
    for options in ((), ("--proxy-protocol", "--trusted-proxy", "10.0.0.0/8")):
        server = servers.start(*options, servers.reporter())
        with RawClient(server.port) as client:
            client.send(header + request(server.port))
            assert client.read_to_end().startswith(b"HTTP/1.1 400 ")
        with RawClient(server.port) as client:
            client.upgrade()
        assert remote_of_a_client(server, 1)[0] == "127.0.0.1"


def test_half_a_header_is_given_the_time_of_a_handshake(servers: Servers) -> None:
    server = start(servers, "--handshake-timeout", "0.3")
    with RawClient(server.port) as client:
        client.send(V1[:20])
        assert client.read_to_end().startswith(b"HTTP/1.1 408 ")
    with RawClient(server.port) as client:
        client.send(V1[:20])
    assert server.stop() == 0


@pytest.mark.parametrize("header", [V1, v2("203.0.113.5", 56324, b"\x20\x00\x05\x01\x00\x00\x00\x00")])
def test_the_header_stands_before_tls(servers: Servers, header: bytes) -> None:
    authority = Authority(servers.folder)
    server = start(servers, "-v", *authority.issue())
    port = int(server.stderr.wait_for("listening").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as raw:
        raw.sendall(header)
        with authority.client_context().wrap_socket(raw, server_hostname="localhost") as tls:
            tls.sendall(request(port))
            assert tls.recv(12) == b"HTTP/1.1 101"
    assert remote_of_a_client(server, 1) == ["203.0.113.5", 56324]
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE_S) as raw,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        authority.client_context().wrap_socket(raw, server_hostname="localhost")
    server.stderr.wait_for("refused 127.0.0.1:.*: 400, A trusted proxy must begin with a header")


def test_a_proxy_on_a_unix_socket(servers: Servers) -> None:
    server = servers.start_command(
        "fws-pipe", "--unix", "socket", "--trusted-proxy", "unix", "--proxy-protocol", servers.reporter()
    )
    server.stderr.wait_for("listening on")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        client.connect(str(servers.folder / "socket"))
        client.sendall(V1 + request(1))
        assert client.recv(12) == b"HTTP/1.1 101"
        assert remote_of_a_client(server, 1) == ["203.0.113.5", 56324]


def test_proxy_protocol_without_a_proxy_is_a_mistake(servers: Servers) -> None:
    server = servers.start("--proxy-protocol", "mirror")
    assert server.wait() == 2
    [line] = server.stderr.lines
    assert "--proxy-protocol needs --trusted-proxy" in line


@pytest.mark.parametrize(
    ("head", "status", "has_body"),
    [
        (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 200, True),
        (b"GET /health?a=1 HTTP/1.1\r\nHost: x\r\n\r\n", 200, True),
        (b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n", 200, False),
        (b"OPTIONS /health HTTP/1.0\r\n\r\n", 200, True),
        (b"POST /health HTTP/1.1\r\nHost: x\r\n\r\n", 426, True),
        (b"GET /healthy HTTP/1.1\r\nHost: x\r\n\r\n", 426, True),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 426, False),
        (request(1, line="GET /health HTTP/1.1"), 101, False),
    ],
)
def test_the_health_path(servers: Servers, head: bytes, status: int, has_body: bool) -> None:
    server = servers.start("--health-path", "/health", "-v", servers.reporter())
    with RawClient(server.port) as client:
        client.send(head)
        answer = client.read_head()
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        if status == 101:
            server.events("open", 1)
            return
        assert bool(client.read_to_end()) is has_body
    assert server.stop() == 0
    assert not server.stdout.lines
    assert ("refused" in server.stderr.text) is (status != 200)


def test_refused_clients_are_told_of_with_their_page_and_without_their_secrets(servers: Servers) -> None:
    (servers.folder / "tokens").write_text("s3cret\n")
    server = servers.start("-v", "--origin", "https://good.example,none", "--auth-tokens", "tokens", "mirror")
    evil = Origin("https://evil.example")
    with pytest.raises(InvalidStatus), connect(server.url + "/?token=s3cret", origin=evil):
        pass
    with pytest.raises(InvalidStatus), connect(server.url + "/?token=s3crex"):
        pass
    for data in (
        b"GET /?token=s3cret HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /?token=s3cret\r\nAuthorization: s3cret\r\n\r\n",
    ):
        with RawClient(server.port) as client:
            client.send(data)
            client.read_to_end()
    with RawClient(server.port) as client:
        client.send(request(server.port, "Origin: x\x1b[2J" + "y" * 5000))
        client.read_to_end()
    address = r"refused 127\.0\.0\.1:\d+"
    server.stderr.wait_for(f"{address}, Origin 'https://evil.example': 403, --origin does not name this page$")
    server.stderr.wait_for(f"{address}: 401, Unknown token.$")
    server.stderr.wait_for(f"{address}: 426, this is no WebSocket handshake$")
    server.stderr.wait_for(
        f"{address}: 400, This is not a valid HTTP request: its first line is not one such as GET /chat HTTP/1.1.$"
    )
    assert server.stop() == 0
    refusals = [line for line in server.stderr.lines if "refused 127" in line]
    assert len(refusals) == 5
    assert not any("s3cre" in line or "\x1b" in line or len(line) > 400 for line in refusals)
    quiet = servers.start("mirror")
    with RawClient(quiet.port) as client:
        client.send(b"\x00")
        client.read_to_end()
    assert quiet.stop() == 0
    assert "refused 127" not in quiet.stderr.text


def test_a_client_that_tls_keeps_out_is_told_of(servers: Servers) -> None:
    authority = Authority(servers.folder)
    server = servers.start("-v", *authority.issue(), "--client-ca", "ca.pem", "mirror")
    port = int(server.stderr.wait_for("listening").rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE_S) as raw,
        contextlib.suppress(ssl.SSLError, ConnectionError),
        authority.client_context().wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        tls.sendall(request(port))  # the client's part of the handshake may be over by now
        tls.recv(1)
    server.stderr.wait_for(r"refused 127\.0\.0\.1:\d+: the TLS handshake has failed: peer did not return a certificate")
    assert server.stop() == 0
    assert "TLS handshake failed: 1" in server.stderr.text


def test_of_many_refusals_the_rest_is_counted(servers: Servers) -> None:
    server = servers.start("-v", "mirror")
    for _ in range(50):
        with RawClient(server.port) as client:
            client.send(b"\x00")
            client.read_to_end()
    assert server.stop() == 0
    shown = len([line for line in server.stderr.lines if "refused 127" in line])
    hidden = sum(int(line.split()[2]) for line in server.stderr.lines if "which are not shown" in line)
    assert 20 <= shown < 50
    assert shown + hidden == 50


# A real proxy that sends PROXY headers, where it is installed; e2e/test_deploy.py has others.

HAPROXY = """
global
  log stdout format raw local0
defaults
  mode {mode}
  log global
  option log-health-checks
  timeout connect 10s
  timeout client 60s
  timeout server 60s
frontend front
  bind fd@{descriptor}
  default_backend back
backend back
  option httpchk
  http-check send meth {method} uri /health
  server one 127.0.0.1:{port} check inter 100ms {options}
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """What a proxy is to listen on: so no port is guessed."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


def client_from(address: str, port: int) -> socket.socket:
    """A connection from an address that is not the proxy's."""
    return socket.create_connection(("127.0.0.1", port), PATIENCE_S, (address, 0))


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
@pytest.mark.parametrize(
    ("mode", "options", "tls"),
    [("tcp", "send-proxy", False), ("http", "send-proxy-v2", False), ("tcp", "send-proxy-v2 ssl verify none", True)],
)
def test_haproxy_tells_where_clients_are_from_and_checks_health(
    servers: Servers, listener: socket.socket, mode: str, options: str, tls: bool
) -> None:
    certificate = Authority(servers.folder).issue() if tls else []
    server = start(servers, *certificate, "--health-path", "/health", "-v")
    port = int(server.stderr.wait_for("listening").rpartition(":")[2])
    method = "GET" if mode == "http" else "OPTIONS"
    values = {"mode": mode, "descriptor": listener.fileno(), "port": port, "options": options, "method": method}
    (servers.folder / "haproxy.cfg").write_text(HAPROXY.format(**values))
    proxy = servers.start_command("haproxy", "-db", "-f", "haproxy.cfg", descriptors=[listener.fileno()])
    proxy.stdout.wait_for("Health check for server back/one succeeded.*200")
    own = listener.getsockname()[1]
    with client_from("127.0.0.9", own) as raw, connect(f"ws://127.0.0.1:{own}", sock=raw) as client:
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"
        assert remote_of_a_client(server, 1) == list(raw.getsockname())
    assert len(server.events("open", 1)) == 1
    assert "refused" not in server.stderr.text
