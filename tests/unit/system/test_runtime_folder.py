"""The server's own folder: whose it is, and who clears it away."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fws_pipe.system import runtime_folder as runtime
from fws_pipe.system.runtime_folder import CONTROL_NAME, LOCK_NAME, control_sockets, runtime_folder


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def dead_folder(place: Path, name: str) -> Path:
    folder = place / name
    folder.mkdir()
    for file in (LOCK_NAME, "storage.db", "storage.db-wal"):
        (folder / file).touch()
    return folder


def test_it_lives_as_long_as_the_block() -> None:
    with runtime_folder() as folder:
        (Path(folder) / "storage.db").touch()
        with runtime_folder() as other:
            assert other != folder
            assert os.path.exists(folder)
        assert not os.path.exists(other)
    assert not os.path.exists(folder)


def test_only_what_a_dead_server_left_is_cleared_away(tmp_path: Path) -> None:
    dead = [dead_folder(tmp_path, "fws-pipe-dead1"), dead_folder(tmp_path, "fws-pipe-dead2")]
    other = dead_folder(tmp_path, "another-program")
    unlocked = tmp_path / "fws-pipe-without-lock"
    unlocked.mkdir()
    (tmp_path / "fws-pipe-file").touch()
    elsewhere = dead_folder(tmp_path, "elsewhere")
    (tmp_path / "fws-pipe-lost").symlink_to(tmp_path / "nothing")
    (unlocked / LOCK_NAME).symlink_to(elsewhere / LOCK_NAME)
    with runtime_folder():
        assert not any(folder.exists() for folder in dead)
        assert other.exists()
        assert unlocked.exists()
        assert elsewhere.exists()
        assert (tmp_path / "fws-pipe-file").exists()


def test_control_sockets_are_those_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path has 107 bytes
    for folder in ("fws-pipe-b", "fws-pipe-a", "another"):
        (tmp_path / folder).mkdir()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/{CONTROL_NAME}")
    (tmp_path / "fws-pipe-c").mkdir()
    (tmp_path / "fws-pipe-c" / CONTROL_NAME).touch()
    (tmp_path / "fws-pipe-file").touch()
    paths = [str(tmp_path / folder / CONTROL_NAME) for folder in ("fws-pipe-a", "fws-pipe-b")]
    assert control_sockets() == paths
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert control_sockets() == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nosuch"))
    assert control_sockets() == []


def test_another_users_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = dead_folder(tmp_path, "fws-pipe-dead")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with runtime_folder():
        assert folder.exists()


def test_a_folder_that_another_server_takes_for_dead_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one opens the lock file after it was made and before it is locked."""
    flock = fcntl.flock
    taken: list[Path] = []

    def clear_away_first(lock: int, operation: int) -> None:
        if not taken:
            (folder,) = tmp_path.iterdir()
            taken.append(folder)
            runtime._clear_away()
        flock(lock, operation)

    monkeypatch.setattr(fcntl, "flock", clear_away_first)
    with runtime_folder() as folder:
        assert taken
        assert not taken[0].exists()
        assert (Path(folder) / LOCK_NAME).exists()


STARTER = """
import os, sys
from fws_pipe.system.runtime_folder import runtime_folder
for _ in sys.stdin:
    with runtime_folder() as folder:
        open(folder + "/storage.db", "x").close()
        for _ in range(20):
            os.scandir(folder).close()
        os.remove(folder + "/storage.db")
    print("done", flush=True)
"""


def test_servers_that_start_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    rounds = 50
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for _ in range(4)
    ]  # fmt: skip
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("go\n" * rounds)
        starter.stdin.flush()
    for starter in starters:
        out, _ = starter.communicate(timeout=60)
        assert out.count("done") == rounds
        assert starter.returncode == 0
    assert list(tmp_path.iterdir()) == []
