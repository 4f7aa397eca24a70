"""What a service manager is told, on real sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fws_pipe.system.service_manager import VARIABLES, Notifier, take_over
from tests.harness import PATIENCE_S


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and NOTIFY_SOCKET."""
    if request.param == "path":
        name = shown = str(tmp_path / "notify")
    else:
        shown = f"@fws-pipe-test-{uuid.uuid4().hex}"
        name = "\0" + shown[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(PATIENCE_S)
        receiver.bind(name)
        yield receiver, shown


def test_the_manager_is_told(manager: tuple[socket.socket, str]) -> None:
    receiver, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    assert receiver.recv(100) == b"READY=1\nSTATUS="
    notifier.ready("all is well")
    assert receiver.recv(100) == b"READY=1\nSTATUS=all is well"
    notifier.alive()
    assert receiver.recv(100) == b"WATCHDOG=1"
    notifier.stopping()
    assert receiver.recv(100) == b"STOPPING=1"


def test_a_server_that_has_taken_over_is_the_main_process(manager: tuple[socket.socket, str]) -> None:
    receiver, address = manager
    Notifier({"NOTIFY_SOCKET": address}).become_main()
    assert receiver.recv(100) == f"MAINPID={os.getpid()}".encode()


def test_a_reload_says_since_when(manager: tuple[socket.socket, str]) -> None:
    """By the clock of CLOCK_MONOTONIC in microseconds, as Type=notify-reload wants it."""
    receiver, name = manager
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    Notifier({"NOTIFY_SOCKET": name}).reloading()
    state, since = receiver.recv(100).decode().split("\n")
    assert state == "RELOADING=1"
    assert since.startswith("MONOTONIC_USEC=")
    now = int(since.partition("=")[2]) / 1_000_000
    assert before - 0.001 <= now <= time.clock_gettime(time.CLOCK_MONOTONIC)


@pytest.mark.parametrize("name", ["", "/no/such/socket", "@nobody-is-here", "vsock:2:1234"])
def test_nobody_to_tell_does_no_harm(name: str) -> None:
    Notifier({"NOTIFY_SOCKET": name}).ready()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "-1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_the_watchdog_is_asked_for_in_microseconds(environment: dict[str, str], expected: float) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/x", **environment}).watchdog_s == expected
    assert Notifier(environment).watchdog_s == 0


def test_what_is_meant_for_us_goes_from_the_environment() -> None:
    environment = dict.fromkeys(VARIABLES, "1") | {"NOTIFY_SOCKET": "/x", "HOME": "/"}
    environment |= {"LISTEN_PID": "1", "WATCHDOG_PID": "1"}
    assert take_over(environment).listeners == []
    assert environment == {"HOME": "/"}


TAKE = """
import os, socket, sys
from fws_pipe.errors import FwsError
from fws_pipe.system.service_manager import take_over
environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": sys.argv[1]}
try:
    listeners = take_over(environment).listeners
except FwsError as error:
    sys.exit(str(error))
for listener in listeners:
    print(listener.getsockname()[1], listener.fileno() >= 10, listener.get_inheritable(), listener.getblocking())
assert not os.path.exists("/proc/self/fd/3")
"""


def take_in_child(count: str, passed: socket.socket | None) -> subprocess.CompletedProcess[str]:
    """Start a process that is handed a descriptor 3, and let it take over."""

    def hand_over() -> None:
        if passed is not None:
            os.dup2(passed.fileno(), 3)

    return subprocess.run(
        [sys.executable, "-c", TAKE, count], preexec_fn=hand_over, close_fds=False, capture_output=True, text=True,
        check=False, timeout=PATIENCE_S,
    )  # fmt: skip


def test_a_listening_socket_is_taken_out_of_the_way_and_no_child_gets_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = take_in_child("1", listener)
        assert done.stdout == f"{listener.getsockname()[1]} True False False\n", done.stderr


def test_what_is_no_listening_socket_is_named() -> None:
    with socket.socket() as idle:
        assert "descriptor 3 is no listening" in take_in_child("1", idle).stderr
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        assert "descriptor 3 is no listening" in take_in_child("1", datagrams).stderr
    assert "expected the number of inherited sockets" in take_in_child("many", None).stderr
