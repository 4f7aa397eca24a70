"""The server's own folder for what lives as long as it does: `/tmp/fws-pipe-XXXX`.

A server that is killed can't clear it away, so the next one does. Each holds a lock on a file in its folder (flock(2)),
which the kernel lets go of however the server ends: a folder whose lock is free is nobody's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator

from fws_pipe.errors import SystemRefusedError

PREFIX = "fws-pipe-"
LOCK_NAME = "fws-pipe.lock"


@contextlib.contextmanager
def runtime_folder() -> Iterator[str]:
    """A folder until the end of the block; those of dead servers go. Raises SystemRefusedError if there can be none."""
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


def _make() -> tuple[str, int]:
    """A new folder, and the descriptor that holds its lock."""
    while True:
        folder = tempfile.mkdtemp(prefix=PREFIX)
        lock = os.open(os.path.join(folder, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        # Another server that starts may have found the lock free before we took it, and be removing the folder.
        if _try_to_lock(lock):
            return folder, lock
        os.close(lock)


def _clear_away() -> None:
    """Remove the folders of this user's dead servers; one without a lock file is just being made, or not ours."""
    place = tempfile.gettempdir()
    with contextlib.suppress(OSError):  # a place that may be written to and not listed
        for name in os.listdir(place):
            if name.startswith(PREFIX):
                _remove_if_free(os.path.join(place, name))


def _remove_if_free(folder: str) -> None:
    try:
        lock = os.open(os.path.join(folder, LOCK_NAME), os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return  # gone by now, or not as ours are
    try:
        if os.fstat(lock).st_uid == os.geteuid() and _try_to_lock(lock):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _try_to_lock(lock: int) -> bool:
    """Whether we hold it now, and the file is still there: who held it before may have removed it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(lock).st_nlink > 0
