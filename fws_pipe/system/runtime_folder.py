"""The server's own folder for files that live as long as the server: `/tmp/fws-pipe-XXXX`.

A killed server can't remove its folder, so the next server does. Each holds a lock on a file in its folder (flock(2)),
which the kernel releases however the server ends: a folder with a free lock belongs to a dead server.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator

from fws_pipe.errors import SystemRefusedError

PREFIX = "fws-pipe-"
LOCK_NAME = "fws-pipe.lock"
CONTROL_NAME = "control"
"""The control socket of the server."""


@contextlib.contextmanager
def runtime_folder() -> Iterator[str]:
    """Make the folder for the time of the `with` block, and remove those of dead servers; yields its path.

    Raises SystemRefusedError where no folder can be made.
    """
    try:
        _clear_away()
        folder, lock = _make()
    except OSError as error:
        raise SystemRefusedError(
            f"no folder for the filters' storage can be made ({error.strerror or error}): let TMPDIR name one that can "
            "be written, or keep nothing on disk with --storage memory"
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def control_sockets() -> list[str]:
    """The control sockets in all such folders of this user, of which some may be dead servers'."""
    try:
        place = tempfile.gettempdir()
        names = sorted(name for name in os.listdir(place) if name.startswith(PREFIX))
    except OSError:
        return []  # there is no such place, or it may be written to and not listed
    paths = [os.path.join(place, name, CONTROL_NAME) for name in names]
    return [path for path in paths if _is_own_socket(path)]


def _is_own_socket(path: str) -> bool:
    try:
        there = os.lstat(path)
    except OSError:
        return False  # gone by now, or another user's folder
    return stat.S_ISSOCK(there.st_mode) and there.st_uid == os.geteuid()


def _make() -> tuple[str, int]:
    """Make a folder; returns its path, and the descriptor that holds its lock. Raises OSError."""
    while True:
        folder = tempfile.mkdtemp(prefix=PREFIX)
        lock = os.open(os.path.join(folder, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        # Another starting server may have found the lock free before we took it, and be removing this folder.
        if _try_to_lock(lock):
            return folder, lock
        os.close(lock)


def _clear_away() -> None:
    """Remove the folders of this user's dead servers; one without a lock file is being made, or isn't a server's."""
    place = tempfile.gettempdir()
    with contextlib.suppress(OSError):  # the temporary folder may be writable and yet not readable
        for name in os.listdir(place):
            if name.startswith(PREFIX):
                _remove_if_free(os.path.join(place, name))


def _remove_if_free(folder: str) -> None:
    try:
        lock = os.open(os.path.join(folder, LOCK_NAME), os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return  # it has been removed, or is no server's
    try:
        if os.fstat(lock).st_uid == os.geteuid() and _try_to_lock(lock):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _try_to_lock(lock: int) -> bool:
    """Whether this process now holds the lock of a file that still exists: its last holder may have removed it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(lock).st_nlink > 0
