"""Listeners open on all addresses or on none, and say why in one line; connections are accepted while there is room."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from fws_pipe.errors import SystemRefusedError
from fws_pipe.front import listener
from fws_pipe.front.listener import accept_all, address_of, open_listeners, open_unix_listeners, url_of
from fws_pipe.log import Log


def test_all_addresses_of_a_free_port_have_the_same_one() -> None:
    listeners = trio.run(open_listeners, ["127.0.0.1", "127.0.0.2"], 0)
    try:
        assert [address_of(each)[0] for each in listeners] == ["127.0.0.1", "127.0.0.2"]
        assert len({address_of(each)[1] for each in listeners}) == 1
        assert url_of(listeners[0], has_tls=False) == f"ws://127.0.0.1:{address_of(listeners[0])[1]}"
        assert url_of(listeners[0], has_tls=True).startswith("wss://")
    finally:
        for each in listeners:
            each.close()


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("127.0.0.1", "the port is in use; stop what uses it, or choose another with --port"),
        ("192.0.2.1", "this machine has no such address; see --host"),
        ("nonesuch.invalid", "is the name right?"),
        ("a" * 64, "is the name right?"),
    ],
)
def test_why_a_server_cannot_listen(host: str, problem: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemRefusedError) as caught:
        trio.run(open_listeners, ["127.0.0.3", host], taken.getsockname()[1])
    assert problem in str(caught.value)
    assert host in str(caught.value)


def test_a_listener_that_fails_closes_the_others(tmp_path: Path) -> None:
    with pytest.raises(SystemRefusedError):
        open_unix_listeners([str(tmp_path / "a"), str(tmp_path / "none" / "b")], 0o600)
    assert list(tmp_path.iterdir()) == []


def test_the_url_of_a_unix_socket(tmp_path: Path) -> None:
    [unix] = open_unix_listeners([str(tmp_path / "a")], 0o600)
    with unix:
        assert url_of(unix, has_tls=False) == f"ws+unix:{tmp_path}/a"


def test_a_system_without_descriptors_is_waited_for_and_told_of_once(capfd: pytest.CaptureFixture[str]) -> None:
    class Short:
        """A listener that a connection waits at, and for which there is no descriptor at first."""

        family = socket.AF_INET

        def __init__(self, real: socket.socket) -> None:
            self._real = real
            self.refusals = 3

        def fileno(self) -> int:
            return self._real.fileno()

        def accept(self) -> tuple[socket.socket, object]:
            if self.refusals:
                self.refusals -= 1
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return self._real.accept()

    accepted: list[tuple[str, int]] = []

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as real, socket.socket() as client:
            real.setblocking(False)
            client.connect(real.getsockname())
            log = Log("it")
            async with trio.open_nursery() as nursery:

                def serve(connection: socket.socket, remote: tuple[str, int]) -> None:
                    connection.close()
                    accepted.append(remote)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(accept_all, Short(real), serve, log)  # type: ignore[arg-type]
            assert accepted == [client.getsockname()]
            log.close()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=listener.PAUSE_S / 10))
    assert capfd.readouterr().err.count("can't accept a connection just now") == 1
