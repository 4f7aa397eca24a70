"""Listens on a Unix socket (unix(7)), and replaces the socket file of a dead server.

Reads: whether a server listens at the path already. Writes: the socket file, which is removed with the listener. Never:
removes anything but a socket on which no server listens.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator

from fws_pipe.errors import SystemRefusedError

_LONGEST_PATH_BYTES = 107
"""The longest path in sockaddr_un, without the NUL behind it."""


_LOCK_S = 1.0
"""The time limit for another server's lock, which it holds for less than a millisecond."""

_LOCK_RETRY_S = 0.01

_NO_SOCKET = "a file is there that is not a socket; remove it if you don't need it"


class UnixListener(socket.socket):
    """A listening Unix socket. Closing it removes its file, unless another file has taken its place."""

    def __init__(self, descriptor: int | None = None) -> None:
        """`descriptor` is that of a socket which listens already; None: of a new one."""
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM, fileno=descriptor)
        self._file: tuple[str, tuple[int, int]] | None = None

    def own(self, path: str) -> None:
        """Own the socket file that was just bound."""
        self._file = path, _identity(os.lstat(path))

    @property
    def file(self) -> str | None:
        """The path of the file that goes with this socket; None: it stays, or there is none."""
        return None if self._file is None else self._file[0]

    def let_go_of_file(self) -> None:
        """The file is another server's from now on."""
        self._file = None

    def move_to(self, path: str) -> None:
        """Take the place of the socket at this path, which is no more in use. Raises OSError."""
        if self._file is not None:
            os.rename(self._file[0], path)
            self.own(path)

    def close(self) -> None:
        """Close the socket and remove its file. Idempotent."""
        if self._file is not None:
            path, identity = self._file
            self._file = None
            with contextlib.suppress(OSError):  # it is gone, or the folder can't be written any more: no harm is done
                if _identity(os.lstat(path)) == identity:
                    os.unlink(path)
        super().close()


def listen_unix(path: str, mode: int, backlog: int, option: str = "--unix") -> UnixListener:
    """Listen on a path, with the file mode `mode`. Raises SystemRefusedError, which names `option`."""
    if len(os.fsencode(path)) > _LONGEST_PATH_BYTES:
        raise SystemRefusedError(
            f"can't listen on {path}: the path of a socket must not exceed {_LONGEST_PATH_BYTES} bytes"
        )
    try:
        with _folder_locked(os.path.dirname(path) or "."):
            _remove_dead(path, option)
            return _bind(path, mode, backlog)
    except OSError as error:
        mends = {
            errno.ENOENT: f"there is no such folder; make it, or choose another one with {option}",
            errno.EACCES: f"no permission; with {option} choose a folder that this user may write in",
        }
        reason = mends.get(error.errno or 0, error.strerror or str(error))
        raise SystemRefusedError(f"can't listen on {path}: {reason}") from None


def _bind(path: str, mode: int, backlog: int) -> UnixListener:
    listener = UnixListener()
    try:
        listener.bind(path)
        listener.own(path)
        os.chmod(path, mode)  # no client can connect before it listens
        listener.listen(backlog)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_dead(path: str, option: str) -> None:
    """Remove a socket file on which no server listens. Raises SystemRefusedError for any other file."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(there.st_mode):
        mend = "it is a folder; name a file in it" if stat.S_ISDIR(there.st_mode) else _NO_SOCKET
        raise SystemRefusedError(f"can't listen on {path}: {mend}")
    if not _is_dead(path):
        raise SystemRefusedError(
            f"can't listen on {path}: another server listens there; stop it, or choose another path with {option}"
        )
    os.unlink(path)


def _is_dead(path: str) -> bool:
    """Whether no server listens on a socket. If that can't be told, the answer is False."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a server with a full queue would keep us waiting
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


@contextlib.contextmanager
def _folder_locked(folder: str) -> Iterator[None]:
    """Lock a folder (flock(2)), so that of two servers starting at once neither takes the other's socket for a dead
    one.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock a folder if that is possible within `_LOCK_S`.

    Any process that may read the folder may also lock it for ever, which must not keep a server from starting.
    """
    deadline = time.monotonic() + _LOCK_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_RETRY_S)
        else:
            return


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
