"""Listening on a Unix socket: what is dead goes, what lives or is something else stays."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

import pytest

from fws_pipe.errors import EXIT_SYSTEM, SystemRefusedError
from fws_pipe.front.listener import open_unix_listeners, url_of
from fws_pipe.front.unix_socket import listen_unix


def connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_file_has_its_mode_and_goes_with_the_listener(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "socket"
    listener = listen_unix(str(path), mode, 10)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert url_of(listener, has_tls=False) == f"ws+unix:{path}"
    connect(path)
    listener.close()
    listener.close()
    assert not path.exists()


def test_a_dead_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with listen_unix(str(path), 0o660, 10):
        connect(path)


def test_a_living_one_is_refused_and_still_serves(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listen_unix(str(path), 0o660, 10):
        with pytest.raises(SystemRefusedError, match="another server listens there") as refused:
            listen_unix(str(path), 0o660, 10)
        assert refused.value.exit_code == EXIT_SYSTEM
        connect(path)


def test_a_lock_that_another_keeps_on_the_folder_stops_nobody(tmp_path: Path) -> None:
    """Any user who may read the folder may lock it, and never let go."""
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with listen_unix(str(tmp_path / "socket"), 0o660, 10):
            connect(tmp_path / "socket")
    finally:
        os.close(held)


def test_one_whose_queue_is_full_is_alive(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listen_unix(str(path), 0o660, 0), socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(str(path))
        with pytest.raises(SystemRefusedError, match="another server listens there"):
            listen_unix(str(path), 0o660, 10)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_never_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "socket"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_text("precious")
    words = "it is a folder; name a file in it" if kind == "folder" else "a file is there that is not a socket"
    with pytest.raises(SystemRefusedError, match=words):
        listen_unix(str(path), 0o660, 10)
    assert os.path.lexists(path)


def test_one_that_has_taken_our_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    first = listen_unix(str(path), 0o660, 10)
    path.unlink()
    with listen_unix(str(path), 0o660, 10):
        first.close()
        connect(path)


@pytest.mark.parametrize(
    ("path", "words"), [("no/such/folder/socket", "no such folder"), ("x" * 200, "must not exceed 107 bytes")]
)
def test_places_where_none_can_be(path: str, words: str) -> None:
    with pytest.raises(SystemRefusedError, match=words):
        listen_unix(path, 0o660, 10)


def test_one_of_several_that_cannot_be_undoes_the_others(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemRefusedError):
        open_unix_listeners([str(tmp_path / "free"), str(tmp_path / "taken")], 0o660)
    assert not (tmp_path / "free").exists()
