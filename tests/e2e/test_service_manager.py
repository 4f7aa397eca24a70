"""A server under a service manager, which is a real datagram socket here: readiness, reloads, the watchdog, the end."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import PATIENCE_S, Server, Servers


class Manager:
    """What NOTIFY_SOCKET names."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE_S)
        self.socket.bind(address)

    def read(self) -> str:
        return self.socket.recv(4096).decode()

    def wait_for(self, pattern: str) -> str:
        """The next message that matches; the others are dropped."""
        while not re.fullmatch(pattern, message := self.read()):
            pass
        return message

    def read_for(self, seconds: float) -> list[str]:
        """All messages within some time."""
        deadline = time.monotonic() + seconds
        messages = []
        try:
            while (left := deadline - time.monotonic()) > 0:
                self.socket.settimeout(left)
                messages.append(self.read())
        except TimeoutError:
            pass
        self.socket.settimeout(PATIENCE_S)
        return messages


@pytest.fixture
def manager(servers: Servers) -> Iterator[Manager]:
    manager = Manager(str(servers.folder / "notify"))
    yield manager
    manager.socket.close()


def start(servers: Servers, manager: Manager, *arguments: str) -> Server:
    """A server whose watchdog has a timeout of 0.4 s: it is told every 0.1 s."""
    environment = servers.environment(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="400000")
    return servers.start(*arguments, environment=environment)


def pid_of(servers: Servers, name: str) -> int:
    """The stage that runs this filter."""
    running = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in servers.processes()}
    [pid] = [pid for pid, words in running.items() if f"/{name}\0".encode() in words]
    return pid


def test_the_manager_hears_of_the_whole_life_of_a_server(servers: Servers, manager: Manager) -> None:
    config = servers.folder / "config.toml"
    config.write_text('chain = "mirror"')
    server = start(servers, manager, "-c", "config.toml")
    assert manager.wait_for(r"READY=1\n.*") == "READY=1\nSTATUS="
    assert server.url, "it listens by then"
    for _ in range(3):
        manager.wait_for("WATCHDOG=1")  # also while no client is there

    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    server.signal(signal.SIGHUP)
    since = manager.wait_for(r"RELOADING=1\n.*").partition("MONOTONIC_USEC=")[2]
    assert before - 0.001 <= int(since) / 1e6 <= time.clock_gettime(time.CLOCK_MONOTONIC)
    assert manager.wait_for(r"READY=1\n.*") == "READY=1\nSTATUS="

    config.write_text('chain = "no_such_filter"')
    server.signal(signal.SIGHUP)
    manager.wait_for(r"RELOADING=1\n.*")
    assert "STATUS=the last reload was refused: " in manager.wait_for(r"READY=1\n.*")

    server.signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    assert server.wait() == 0


def test_the_watchdog_is_told_only_while_ticks_come_back(servers: Servers, manager: Manager) -> None:
    server = start(servers, manager, "--stall-timeout", "0", "mirror")
    manager.wait_for(r"READY=1\n.*")
    stage = pid_of(servers, "mirror")
    os.kill(stage, signal.SIGSTOP)
    # A tick that was through by then may be told of at the next look.
    assert len(manager.read_for(1.5)) <= 3
    assert manager.read_for(0.5) == []
    os.kill(stage, signal.SIGCONT)
    manager.wait_for("WATCHDOG=1")
    server.signal(signal.SIGSTOP)
    manager.read_for(0.2)
    assert manager.read_for(0.5) == [], "a server that is stuck itself"
    server.signal(signal.SIGCONT)
    manager.wait_for("WATCHDOG=1")
    assert server.stop() == 0


def test_no_stage_gets_what_is_for_the_server(servers: Servers, manager: Manager) -> None:
    stage = servers.script("show", "#!/bin/sh\nenv | grep -E 'NOTIFY|WATCHDOG|LISTEN_' >&2\necho shown >&2\nexec cat\n")
    server = start(servers, manager, stage)
    server.stderr.wait_for("shown")
    assert server.stop() == 0
    assert not re.search("NOTIFY_SOCKET|WATCHDOG_", server.stderr.text)
