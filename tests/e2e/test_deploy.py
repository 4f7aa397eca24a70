"""The files of `fws-pipe --deploy-dir` at work: real proxies, and a server that is shut in as in a container."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from fws_pipe.config.topics import DEPLOY
from tests.harness import BIN, PATIENCE_S, Server, Servers, eventually, run

TIMEOUT_S = 1.0
"""How long a connection may be silent, for these proxies; the server pings five times as often."""

IDLE_S = 2.5 * TIMEOUT_S

NGINX = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  {folders}
  {snippet}
}}
"""


def test_the_folder_is_printed() -> None:
    assert run("fws-pipe", "--deploy-dir").stdout.decode() == f"{DEPLOY}\n"


# Proxies


def snippet(name: str, changes: Mapping[str, str]) -> str:
    """A shipped file, with each of these texts replaced; each is there."""
    text = (DEPLOY / name).read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


class Site:
    """A server, and the proxies in front of it, each of which is started when it is needed."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.server = servers.start(
            "--trusted-proxy", "127.0.0.1", "--origin", "same,none", "--health-path", "/health",
            "--ping-interval", str(TIMEOUT_S / 5), f"mirror | {servers.reporter()}",
        )  # fmt: skip
        self._ports: dict[str, int] = {}
        self._kept: list[socket.socket] = []

    def _free_port(self) -> int:
        """A port that is a proxy's alone: a socket holds it that doesn't listen (SO_REUSEADDR, socket(7))."""
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        self._kept.append(holder)
        return int(holder.getsockname()[1])

    def close(self) -> None:
        for holder in self._kept:
            holder.close()

    def port_of(self, proxy: str) -> int:
        """Where a proxy listens. Skips the test where it isn't installed."""
        if shutil.which(proxy) is None:
            pytest.skip(f"{proxy} is not installed")
        if proxy not in self._ports:
            own = self._free_port()
            {"nginx": self._nginx, "caddy": self._caddy, "haproxy": self._haproxy}[proxy](own)
            eventually(lambda: _accepts(own), f"{proxy} listens")
            self._ports[proxy] = own
        return self._ports[proxy]

    def _write(self, name: str, text: str) -> str:
        (self.servers.folder / name).write_text(text)
        return name

    def _start(self, *argv: str) -> Server:
        folder = str(self.servers.folder)
        environment = self.servers.environment(HOME=folder, XDG_DATA_HOME=folder, XDG_CONFIG_HOME=folder)
        return self.servers.start_command(*argv, environment=environment)

    def _nginx(self, own: int) -> None:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = " ".join(f"{kind}_temp_path {self.servers.folder}/{kind};" for kind in kinds)
        changes = {":9000": f":{self.server.port}", "listen 80": f"listen 127.0.0.1:{own}", "60s": f"{TIMEOUT_S:.0f}s"}
        text = NGINX.format(folders=folders, snippet=snippet("nginx.conf", changes))
        self._start("nginx", "-p", str(self.servers.folder), "-c", self._write("nginx.conf", text), "-e", "stderr")

    def _caddy(self, own: int) -> None:
        changes = {":9000": f":{self.server.port}", ":80 {": f"http://127.0.0.1:{own} {{"}
        text = "{\n\tadmin off\n}\n" + snippet("Caddyfile", changes)
        self._start("caddy", "run", "--adapter", "caddyfile", "--config", self._write("Caddyfile", text))

    def _haproxy(self, own: int) -> None:
        changes = {
            ":9000": f":{self.server.port}", "bind :80": f"bind 127.0.0.1:{own}", "inter 2s": "inter 100ms",
            "60s": f"{TIMEOUT_S:.0f}s",
        }  # fmt: skip
        self._start("haproxy", "-db", "-f", self._write("haproxy.cfg", snippet("haproxy.cfg", changes)))

    @contextlib.contextmanager
    def client(self, port: int, *, path: str = "/", page: str | None = None) -> Iterator[ClientConnection]:
        """A client from 127.0.0.9, which claims to be another."""
        raw = socket.create_connection(("127.0.0.1", port), PATIENCE_S, ("127.0.0.9", 0))
        forged = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https"}
        origin = Origin(page or f"http://127.0.0.1:{port}")
        url = f"ws://127.0.0.1:{port}/ws{path}"
        with raw, connect(url, sock=raw, origin=origin, additional_headers=forged) as client:
            yield client


def _accepts(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Servers(tmp_path_factory.mktemp("site")) as servers:
        site = Site(servers)
        yield site
        site.close()


PROXIES = ("nginx", "caddy", "haproxy")


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_proxy_tells_who_connects_and_to_what(site: Site, proxy: str) -> None:
    port = site.port_of(proxy)
    path = f"/{proxy}/room"
    with site.client(port, path=f"{path}?a=1") as client:
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"
        client.send(bytes(100_000))
        assert client.recv(PATIENCE_S) == bytes(100_000)
    site.server.stdout.wait_for(f'"path": "{path}".*')
    [opened] = [event for event in site.server.events("open", 1) if event["path"] == path]
    assert opened["remote"][0] == "127.0.0.9"
    assert opened["query"] == "a=1"
    with pytest.raises(InvalidStatus, match="403"), site.client(port, page="http://evil.example"):
        pass


def test_an_idle_connection_outlives_the_time_outs_of_proxies(site: Site) -> None:
    installed = [proxy for proxy in PROXIES if shutil.which(proxy)]
    if not installed:
        pytest.skip("no proxy is installed")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(site.client(site.port_of(proxy), path=f"/idle/{proxy}")) for proxy in installed]
        time.sleep(IDLE_S)  # that nothing happens is the point
        for client in clients:
            client.send("still here")
            assert client.recv(PATIENCE_S) == "still here"


# As in a container


SHUT_IN = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mount -o remount,bind,ro /
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all env TMPDIR=/mnt "$@"
"""
"""The only place that can be written is /mnt, and nothing may be done that only root may do."""

SHOW = """#!/bin/sh
grep CapEff /proc/self/status >&2
touch / "$HOME/x" ./x 2>&1 | head -1 >&2
exec cat
"""


def test_a_server_works_as_pid_1_on_a_read_only_root_without_capabilities(servers: Servers) -> None:
    """As with the shipped Compose file: `read_only`, a tmpfs, `cap_drop: ALL`, `no-new-privileges`."""
    namespaces = ["unshare", "--pid", "--fork", "--mount", "--mount-proc"]
    if shutil.which("setpriv") is None or subprocess.run([*namespaces, "true"], check=False, stderr=-3).returncode:
        pytest.skip("this user may not make namespaces, or there is no setpriv")
    show = servers.script("show", SHOW)
    command = [*namespaces, "sh", "-c", SHUT_IN, "sh", str(BIN / "fws-pipe"), "--port", "0", f"{show} | mirror"]
    server = servers.start_command(*command)
    with connect(server.url) as client:
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"
        server.stderr.wait_for("CapEff:\t0000000000000000")
        server.stderr.wait_for("Read-only file system")
        [first] = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        entered = ["nsenter", "--target", first, "--mount", "--pid", "env", "TMPDIR=/mnt"]
        assert run(*entered, str(BIN / "fws-ctl"), "status").returncode == 0, "the image's health check"
        os.kill(int(first), signal.SIGTERM)
    assert server.wait() == 0
