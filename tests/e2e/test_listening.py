"""Where clients come in: Unix sockets, and sockets that a service manager holds."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.sync.client import connect, unix_connect

from tests.e2e.raw import RawClient, request
from tests.e2e.test_limits import exchange
from tests.harness import PATIENCE_S, Server, Servers, eventually

# What a service manager does: the socket becomes descriptor 3, and the process itself is named.
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
os.execvp(sys.argv[2], sys.argv[2:])
"""


def start_unix(servers: Servers, *arguments: str) -> Server:
    server = servers.start_command("fws-pipe", "--unix", "socket", *arguments)
    server.stderr.wait_for("listening on")
    return server


def hand_over(servers: Servers, listener: socket.socket, *argv: str, **environment: str) -> Server:
    number = listener.fileno()
    return servers.start_command(
        "fws-python", "-c", HAND_OVER, str(number), *argv, descriptors=[number],
        environment=servers.environment(**environment),
    )  # fmt: skip


@pytest.mark.parametrize("intake", ["epoll", "tasks", "library"])
def test_a_unix_socket_and_no_port(servers: Servers, intake: str) -> None:
    path = servers.folder / "socket"
    server = start_unix(servers, "--unix-mode", "0600", "--intake", intake, f"mirror | {servers.reporter()}")
    assert server.stderr.wait_for("listening on").endswith("listening on ws+unix:socket")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with unix_connect(str(path)) as client:
        exchange(client, "hello")
        exchange(client, "x" * 500_000)
        [opened] = server.events("open", 1)
        assert opened["remote"] == ["unix", 0]
    assert server.stop() == 0
    assert not path.exists()


def test_a_port_as_well_where_one_is_named(servers: Servers) -> None:
    server = servers.start_command("fws-pipe", "--unix", "one,two", "--port", "0", "mirror")
    line = server.stderr.wait_for("listening on ws.unix:one, ws.unix:two, ws://127.0.0.1:")
    with connect(line.rpartition(", ")[2]) as client, unix_connect(str(servers.folder / "two")) as other:
        exchange(client, "a")
        exchange(other, "b")


def test_a_second_server_is_refused_and_the_first_still_serves(servers: Servers) -> None:
    start_unix(servers, "mirror")
    second = servers.start_command("fws-pipe", "--unix", "socket", "mirror")
    assert second.wait() == 5
    [line] = second.stderr.lines
    assert line.startswith("fws-pipe: can't listen on socket: another server listens there; stop it, or choose")
    with unix_connect(str(servers.folder / "socket")) as client:
        exchange(client, "hello")


def test_what_a_killed_server_has_left_is_replaced(servers: Servers) -> None:
    start_unix(servers, "mirror").crash()
    assert (servers.folder / "socket").is_socket()
    start_unix(servers, "mirror")
    with unix_connect(str(servers.folder / "socket")) as client:
        exchange(client, "hello")


def test_a_proxy_on_a_unix_socket(servers: Servers) -> None:
    server = start_unix(servers, "--trusted-proxy", "unix", servers.reporter())
    with unix_connect(str(servers.folder / "socket"), additional_headers={"X-Forwarded-For": "203.0.113.5"}):
        [opened] = server.events("open", 1)
        assert opened["remote"] == ["203.0.113.5", 0]


@pytest.mark.parametrize("command", ["fws-pipe", "fws-front"])
def test_ready_is_told_when_it_listens_and_stopping_when_it_stops(servers: Servers, command: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(PATIENCE_S)
        manager.bind(str(servers.folder / "notify"))
        environment = servers.environment(NOTIFY_SOCKET=str(servers.folder / "notify"))
        if command == "fws-pipe":
            argv = [command, "--port", "0", "mirror"]
        else:
            line = "mkfifo back; fws-front --port 0 <back | fws-sink >back"
            argv = ["/bin/sh", "-c", line]
        server = servers.start_command(*argv, environment=environment)
        assert manager.recv(100) == b"READY=1\nSTATUS=", "there is nothing to say of the chain"
        assert "listening on" in server.stderr.text or server.url
        if command == "fws-pipe":
            server.signal(signal.SIGTERM)
        else:
            servers.interrupt("fws-front")
        assert manager.recv(100) == b"STOPPING=1"
        assert server.wait() == 0


SHOW = """#!/bin/sh
ls -l /proc/$$/fd | grep -c socket: >&"$FWS_STDOUT_FD"
env | grep -c -e ^LISTEN_ -e ^NOTIFY_ >&"$FWS_STDOUT_FD"
exec cat
"""


def test_stages_see_nothing_of_what_the_manager_hands_over(servers: Servers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        show = servers.script("show", SHOW)
        server = hand_over(servers, listener, "fws-pipe", f"{show} | mirror", NOTIFY_SOCKET="/nowhere")
        line = server.stderr.wait_for("listening on")
        assert line.endswith(f"listening on ws://127.0.0.1:{port}")
        with connect(server.url) as client:
            exchange(client, "hello")
        assert server.stop() == 0
        assert server.stdout.lines == ["0", "0"]


def test_a_socket_for_both_protocols_tells_ipv4_addresses_as_such(servers: Servers) -> None:
    try:
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):
        pytest.skip("no IPv6 here")
    with listener:
        port = listener.getsockname()[1]
        server = hand_over(servers, listener, "fws-pipe", servers.reporter())
        assert server.stderr.wait_for("listening on").endswith(f"ws://[::]:{port}")
        with connect(f"ws://127.0.0.1:{port}"):
            [opened] = server.events("open", 1)
            assert opened["remote"][0] == "127.0.0.1"


def test_what_was_meant_for_another_process_is_left_alone(servers: Servers) -> None:
    server = servers.start("mirror", environment=servers.environment(LISTEN_PID="1", LISTEN_FDS="1"))
    with connect(server.url) as client:
        exchange(client, "hello")


def test_no_socket_where_one_should_be_is_one_line(servers: Servers) -> None:
    with (servers.folder / "file").open("w") as file:
        server = hand_over(servers, file, "fws-pipe", "mirror")  # type: ignore[arg-type]
        assert server.wait() == 5
    [line] = server.stderr.lines
    assert line.startswith("fws-pipe: LISTEN_FDS: descriptor 3 is no socket")


def tcp_listener(folder: Path) -> tuple[socket.socket, Callable[[], socket.socket]]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    return listener, lambda: socket.create_connection(listener.getsockname(), PATIENCE_S)


def unix_listener(folder: Path) -> tuple[socket.socket, Callable[[], socket.socket]]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(1000)

    def dial() -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE_S)
        client.connect(str(folder / "socket"))
        return client

    return listener, dial


@pytest.mark.parametrize("make", [tcp_listener, unix_listener])
def test_servers_follow_one_another_on_a_socket_and_no_client_is_refused(
    servers: Servers, make: Callable[[Path], tuple[socket.socket, Callable[[], socket.socket]]]
) -> None:
    listener, dial = make(servers.folder)
    visits = Visits(dial)
    with listener, visits:
        for _ in range(3):
            server = hand_over(servers, listener, "fws-pipe", "mirror")
            visits.wait_for_more(20)
            assert server.stop() == 0
            assert "Traceback" not in server.stderr.text
        hand_over(servers, listener, "fws-pipe", "mirror")
        visits.wait_for_more(20)
    assert visits.failures == []
    if listener.family == socket.AF_UNIX:
        assert os.path.exists(servers.folder / "socket")  # it is the manager's, and stays


def test_a_handshake_under_way_when_the_server_stops_is_finished(servers: Servers) -> None:
    server = servers.start("--drain-timeout", "300", "mirror")
    with RawClient(server.port) as client, connect(server.url) as other:
        exchange(other, "x")  # whoever came before it has been accepted as well
        port = server.port
        head = request(port)
        client.send(head[:30])
        server.signal(signal.SIGTERM)
        eventually(lambda: is_refused(port), "nobody is accepted any more")
        client.send(head[30:])
        received = b""
        while b"the server is shutting down" not in received:
            block = client.socket.recv(1000)
            assert block, received
            received += block
        assert received.startswith(b"HTTP/1.1 101 ")
    assert server.wait() == 0


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()
    except ConnectionError:
        return True
    return False


class Visits:
    """Clients that connect, are answered, and leave, again and again."""

    def __init__(self, dial: Callable[[], socket.socket]) -> None:
        self._dial = dial
        self._changed = threading.Condition()
        self._count = 0
        self._is_over = False
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._visit_on) for _ in range(4)]

    def __enter__(self) -> Visits:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def wait_for_more(self, count: int) -> None:
        with self._changed:
            target = self._count + count
            assert self._changed.wait_for(lambda: self._count >= target or self.failures, PATIENCE_S)

    def _visit_on(self) -> None:
        while not self._is_over:
            try:
                with self._dial() as client:
                    client.sendall(request(80))
                    answer = b""
                    while b"\r\n\r\n" not in answer:
                        block = client.recv(1000)
                        assert block, f"ended after {answer!r}"
                        answer += block
                    assert answer.startswith(b"HTTP/1.1 101 ")
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
                return
            finally:
                with self._changed:
                    self._count += 1
                    self._changed.notify_all()
