"""--page: a folder on the clients' port, beside the WebSockets, to clients of all manners."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.e2e.raw import RawClient
from tests.harness import PATIENCE_S, Server, Servers, descriptors_of, eventually

BIG = 12 * 1024**2
"""Far more than the kernel's buffers take for a client that does not read."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server with pages and four places for downloads, and its folder of pages."""
    with Servers(tmp_path_factory.mktemp("served")) as servers:
        pages = servers.folder / "www"
        pages.mkdir()
        (pages / "index.html").write_text("<h1>chat</h1>")
        (pages / "ws").write_text("a page")
        (pages / "health").write_text("no health")
        (pages / "big").write_bytes(os.urandom(BIG))
        server = servers.start(
            "-v", "--page", "www", "--max-downloads", "4", "--origin", "same,none", "--trusted-proxy", "127.0.0.1",
            "--health-path", "/health", "--route", f"/ws={servers.reporter()} | mirror", "--route", "/=mirror",
        )  # fmt: skip
        assert server.port
        yield server, pages
        assert server.stop() == 0


def get(server: Server, path: str, **headers: str) -> bytes:
    """The whole response to a GET."""
    with RawClient(server.port) as client:
        client.send(head(path, **headers))
        return client.read_to_end()


def head(path: str, **headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", *(f"{name.replace('_', '-')}: {headers[name]}" for name in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def test_a_page_and_a_websocket_share_a_path_and_the_chain_hears_of_the_websocket_alone(
    served: tuple[Server, Path],
) -> None:
    server, _ = served
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/ws", timeout=PATIENCE_S) as page:
        assert page.read() == b"a page"
    with connect(f"{server.url}/ws", origin=Origin(f"http://127.0.0.1:{server.port}")) as client:
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"
    server.events("disconnect", 1)
    assert [event["type"] for event in server.events("open", 1)] == ["open"]


def test_a_large_file_arrives_whole_and_in_parts(served: tuple[Server, Path]) -> None:
    server, pages = served
    content = (pages / "big").read_bytes()
    assert get(server, "/big").split(b"\r\n\r\n", 1)[1] == content
    part = get(server, "/big", Range=f"bytes={BIG - 100_000}-")
    assert part.startswith(b"HTTP/1.1 206 ")
    assert part.split(b"\r\n\r\n", 1)[1] == content[-100_000:]


def test_health_checks_win_at_their_path(served: tuple[Server, Path]) -> None:
    assert get(served[0], "/health").endswith(b"fws-pipe serves.\n")


@pytest.mark.parametrize("path", ["/none", "/%2e%2e/report", "/..%2freport", "/../report", "/.", "*"])
def test_what_is_not_there_is_refused_as_clients_are(served: tuple[Server, Path], path: str) -> None:
    answer = get(served[0], path)
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert answer.endswith(b"\r\n\r\nThis server has no file at this path.\n")
    served[0].stderr.wait_for(r"refused 127.0.0.1:\d+: 404, --page has no file at its path")


def test_what_a_trusted_proxy_tells_of_a_page_request_must_agree(served: tuple[Server, Path]) -> None:
    with RawClient(served[0].port) as client:
        client.send(head("/", X_Forwarded_For="192.0.2.1", Forwarded="for=192.0.2.2"))
        assert client.read_to_end().startswith(b"HTTP/1.1 400 ")


def test_a_file_that_shrinks_while_it_is_sent_ends_the_connection_early(served: tuple[Server, Path]) -> None:
    server, pages = served
    (pages / "shrinks").write_bytes(bytes(BIG))
    with RawClient(server.port) as client:
        client.send(head("/shrinks"))
        assert b"Content-Length: %d\r\n" % BIG in client.read_head()
        os.truncate(pages / "shrinks", 1000)
        assert len(client.read_to_end()) < BIG
    server.stderr.wait_for("a file has become shorter, or unreadable, while it was sent")
    assert get(server, "/shrinks").startswith(b"HTTP/1.1 200 ")


@pytest.mark.slow  # 1,000 connections, each with a file of its own
def test_slow_readers_cost_themselves_alone(served: tuple[Server, Path]) -> None:
    """Four places, and 1,000 clients that ask for a large file and never read it."""
    server, _ = served
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    before = descriptors_of(server.pid)
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(1000):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                client.sendall(head("/big"))
            with connect(server.url) as client_that_talks:
                client_that_talks.send("hello")
                assert client_that_talks.recv(PATIENCE_S) == "hello"
            assert get(server, "/health").startswith(b"HTTP/1.1 200 ")
            eventually(lambda: get(server, "/").startswith(b"HTTP/1.1 200 "), "one that stands still makes room")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    server.stderr.wait_for("took nothing of a file while others waited")
    eventually(lambda: descriptors_of(server.pid) <= before, "all files are closed")
    assert b"<h1>chat</h1>" in get(server, "/")


def test_a_folder_that_is_none_is_said_in_one_line(servers: Servers) -> None:
    (servers.folder / "file").touch()
    for name, reason in (("none", "No such file or directory"), ("file", "Not a directory")):
        server = servers.start("--page", name, "mirror")
        assert server.wait() == 2
        assert server.stderr.lines == [
            f"fws-pipe: --page {name}: {reason}; it must be a folder that the server may read"
        ]


def test_a_folder_that_vanishes_while_the_server_runs(servers: Servers) -> None:
    (servers.folder / "www").mkdir()
    server = servers.start("--page", "www", "--no-console", "mirror")
    assert get(server, "/").startswith(b"HTTP/1.1 404 ")
    (servers.folder / "www").rmdir()
    for _ in range(3):
        assert get(server, "/").startswith(b"HTTP/1.1 404 ")
    assert server.stop() == 0
    assert len([line for line in server.stderr.lines if "until the folder is back" in line]) == 1


def test_a_file_that_nobody_reads_does_not_hold_up_the_end(servers: Servers) -> None:
    (servers.folder / "www").mkdir()
    (servers.folder / "www" / "big").write_bytes(bytes(BIG))
    server = servers.start("--page", "www", "--drain-timeout", "4", "mirror")
    with RawClient(server.port) as client:
        client.send(head("/big"))
        client.read_head()
        assert server.stop() == 0


def test_the_word_on_what_this_is_has_the_scheme_that_a_trusted_proxy_tells(servers: Servers) -> None:
    server = servers.start("--trusted-proxy", "127.0.0.1", "--no-console", "mirror")
    for proto, origin in (("https", "wss://x/"), ("http", "ws://x/")):
        answer = get(server, "/", X_Forwarded_Proto=proto, Accept="text/html").decode()
        assert answer.startswith("HTTP/1.1 426 ")
        assert f"Connect a WebSocket client to {origin} - " in answer
