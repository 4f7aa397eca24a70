"""TLS as clients see it: wss, client certificates, certificates that are replaced while the server runs."""

from __future__ import annotations

import signal
import socket
import ssl

import pytest
from cryptography.hazmat.primitives import serialization
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect, unix_connect

from tests.e2e.authority import Authority
from tests.e2e.raw import RawClient, request, split_replies
from tests.harness import PATIENCE_S, Server, Servers


@pytest.fixture
def authority(servers: Servers) -> Authority:
    return Authority(servers.folder)


def serial_number(server: Server, context: ssl.SSLContext) -> str:
    with (
        socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        certificate = tls.getpeercert()
        assert certificate
        return str(certificate["serialNumber"])


def test_a_chat_over_wss(servers: Servers, authority: Authority) -> None:
    server = servers.start(*authority.issue(), f"broadcast | {servers.reporter()}")
    assert server.url.startswith("wss://127.0.0.1:")
    context = authority.client_context()
    with connect(server.url, ssl=context) as alice, connect(server.url, ssl=context) as bob:
        for size in (5, 70_000, 1_000_000):
            alice.send("x" * size)
            assert bob.recv(PATIENCE_S) == "x" * size
        alice.send(b"\x00\xff")
        assert bob.recv(PATIENCE_S) == b"\x00\xff"
    opened = server.events("open", 2)
    assert [event["tls"] for event in opened] == [{"version": "TLSv1.3", "subject": None}] * 2
    assert [event["code"] for event in server.events("disconnect", 2)] == [1000, 1000]
    assert server.stop() == 0


def test_a_client_that_never_shakes_hands_is_ended_at_once_when_its_time_is_over(
    servers: Servers, authority: Authority
) -> None:
    server = servers.start(*authority.issue(), "--handshake-timeout", "0.2", "mirror")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as client:
        assert client.recv(100) == b""
    assert server.stop() == 0
    assert "TLS handshake too slow: 1" in server.stderr.wait_for("counted")


def test_tls_on_a_unix_socket(servers: Servers, authority: Authority) -> None:
    server = servers.start_command("fws-pipe", "--unix", "socket", *authority.issue(), "mirror")
    server.stderr.wait_for("listening on wss.unix:socket")
    context = authority.client_context()
    with unix_connect(str(servers.folder / "socket"), ssl=context, server_hostname="localhost") as client:
        client.send("x" * 100_000)
        assert client.recv(PATIENCE_S) == "x" * 100_000
    assert server.stop() == 0


def test_the_certificate_and_its_key_in_one_file(servers: Servers, authority: Authority) -> None:
    authority.issue()
    both = (servers.folder / "cert.pem").read_bytes() + (servers.folder / "key.pem").read_bytes()
    (servers.folder / "both.pem").write_bytes(both)
    server = servers.start("-cert", "both.pem", "mirror")
    with connect(server.url, ssl=authority.client_context()) as client:
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_old_versions_of_tls_are_refused(servers: Servers, authority: Authority) -> None:
    server = servers.start(*authority.issue(), "mirror")
    context = authority.client_context()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError), connect(server.url, ssl=context):
        pass


def test_a_client_must_show_a_certificate_and_its_subject_stands_in_open(
    servers: Servers, authority: Authority
) -> None:
    server = servers.start(*authority.issue(), "--client-ca", "ca.pem", servers.reporter())
    context = authority.client_context()
    with pytest.raises((ssl.SSLError, OSError, WebSocketException)), connect(server.url, ssl=context) as client:
        client.recv(PATIENCE_S)
    authority.ca.issue_cert(common_name="alice", organization_name="wonderland").configure_cert(context)
    with connect(server.url, ssl=context):
        (opened,) = server.events("open", 1)
    assert opened["tls"]["subject"]["commonName"] == "alice"
    assert opened["tls"]["subject"]["organizationName"] == "wonderland"


def test_sighup_reads_the_certificate_again_for_new_connections(servers: Servers, authority: Authority) -> None:
    options = authority.issue()
    server = servers.start(*options, "mirror")
    context = authority.client_context()
    before = serial_number(server, context)
    with connect(server.url, ssl=context) as client:
        authority.issue()
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("SIGHUP: read again: certificates")
        assert serial_number(server, context) != before
        client.send("still here")
        assert client.recv(PATIENCE_S) == "still here"


def test_sighup_with_a_bad_pair_keeps_the_old_one(servers: Servers, authority: Authority) -> None:
    server = servers.start(*authority.issue(), "mirror")
    context = authority.client_context()
    before = serial_number(server, context)
    authority.issue(cert="other.pem", key="key.pem")
    server.signal(signal.SIGHUP)
    server.stderr.wait_for(
        "SIGHUP: kept as before: certificates .--cert cert.pem and --key key.pem don't belong together"
    )
    assert serial_number(server, context) == before


def test_sighup_that_fails_in_part_says_which(servers: Servers, authority: Authority) -> None:
    (servers.folder / "tokens").write_text("first\n")
    server = servers.start(*authority.issue(), "--auth-tokens", "tokens", "mirror")
    context = authority.client_context()
    assert server.port
    (servers.folder / "tokens").write_text("")
    authority.issue()
    server.signal(signal.SIGHUP)
    line = server.stderr.wait_for("SIGHUP")
    assert line.startswith("fws-pipe: SIGHUP: read again: certificates; kept as before: tokens (--auth-tokens tokens: ")
    with connect(server.url + "/?token=first", ssl=context):
        pass
    (servers.folder / "tokens").write_text("second\n")
    (servers.folder / "cert.pem").write_text("")
    server.signal(signal.SIGHUP)
    line = server.stderr.wait_for("SIGHUP: (read|kept)", 2)
    assert line.startswith("fws-pipe: SIGHUP: read again: tokens; kept as before: certificates (--cert cert.pem: ")
    with connect(server.url + "/?token=second", ssl=context):
        pass


def test_sighup_where_there_are_no_files_to_read(servers: Servers) -> None:
    server = servers.start("mirror")
    assert server.port
    server.signal(signal.SIGHUP)
    server.stderr.wait_for("SIGHUP: a new chain starts beside the one that runs$")


def test_plain_http_on_a_tls_port_is_told_to_use_tls(servers: Servers, authority: Authority) -> None:
    server = servers.start(*authority.issue(), "mirror")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"use wss://" in client.makefile("rb").read()


def test_a_client_that_never_shakes_hands_costs_nobody_else(servers: Servers, authority: Authority) -> None:
    server = servers.start(*authority.issue(), "mirror")
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        silent.sendall(b"\x16\x03\x01")
        with connect(server.url, ssl=authority.client_context()) as client:
            client.send("hello")
            assert client.recv(PATIENCE_S) == "hello"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cert", "gone.pem"], "--cert gone.pem: No such file or directory"),
        (["--cert", "."], "--cert .: is a directory"),
        (["--cert", "text.pem", "--key", "key.pem"], "--cert text.pem: holds no PEM certificate"),
        (["--cert", "cert.pem", "--key", "text.pem"], "--key text.pem: holds no PEM private key"),
        (["--cert", "cert.pem"], "--key cert.pem: holds no PEM private key .*; name the key's file with --key"),
        (["--cert", "cert.pem", "--key", "other-key.pem"], "don't belong together"),
        (["--cert", "cert.pem", "--key", "locked.pem"], "the key is encrypted; take the password off: openssl pkey"),
        (["--cert", "cert.pem", "--key", "key.pem", "--client-ca", "text.pem"], "--client-ca text.pem: holds no PEM"),
        (["--key", "key.pem"], "--key needs --cert"),
    ],
)
def test_bad_files_are_one_clear_line_at_start(
    servers: Servers, authority: Authority, options: list[str], message: str
) -> None:
    authority.issue()
    authority.issue("other.pem", "other-key.pem")
    (servers.folder / "text.pem").write_text("hello\n")
    (servers.folder / "locked.pem").write_bytes(_encrypted((servers.folder / "key.pem").read_bytes()))
    server = servers.start(*options, "mirror")
    assert server.wait() == 2
    (line,) = server.stderr.lines
    server.stderr.wait_for(message)
    assert line.startswith("fws-pipe: ")


def _encrypted(key: bytes) -> bytes:
    loaded = serialization.load_pem_private_key(key, None)
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


LATE_READER = """#!/usr/bin/env fws-python
from fws_pipe.sdk import accept, on, run, send

@on("open")
def greet(event):
    if event["query"] == "slow":
        for number in range(40):
            send(event["id"], b"%05d" % number + b"g" * 5000)
    accept(event["id"])

@on("message")
def flood(event):
    for number in range(100):
        send("*", b"%05d" % (1000 + number) + b"x" * 9995, without=event["id"])
    send(event["id"], "done")

run()
"""


@pytest.mark.parametrize("policy", ["drop-oldest", "close"])
def test_what_a_slow_client_gets_is_whole_whatever_is_dropped(
    servers: Servers, authority: Authority, policy: str
) -> None:
    chain = servers.script("flood", LATE_READER)
    options = ["--gate", "--slow-client", policy, "--outbox-limit", "300K"]
    server = servers.start(*authority.issue(), *options, chain)
    context = authority.client_context()
    with RawClient(server.port, receive_buffer=4096) as raw:
        raw.socket = context.wrap_socket(raw.socket, server_hostname="localhost")
        raw.socket.sendall(request(server.port, line="GET /?slow HTTP/1.1"))
        assert raw.socket.recv(12) == b"HTTP/1.1 101"
        with connect(server.url, ssl=context, max_size=None) as other:
            for _ in range(30 if policy == "drop-oldest" else 10):
                other.send("go")
                assert other.recv(PATIENCE_S) == "done"
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)  # from now on it reads fast
            stream = b""
            while policy == "close" or len(stream) < 300_000:
                part = raw.socket.recv(65536)
                if not part:
                    break
                stream += part
    replies = split_replies(stream.partition(b"\r\n\r\n")[2])
    messages = [reply for reply in replies if reply.first == 0x82]
    numbers = [int(reply.payload[:5]) for reply in messages]
    assert numbers[0] == 0
    assert all(len(set(reply.payload[5:])) == 1 for reply in messages)
    others = [reply for reply in replies if reply.first != 0x82]
    if policy == "close":
        assert [reply.payload[:2] for reply in others] == [(1013).to_bytes(2, "big")]
    else:
        assert others == []
    assert server.stop() == 0
