"""Sets by key in an SQLite file, which the processes of one machine share and which outlives them.

Each call is one statement and its own transaction, so that what several processes do at once is never lost.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from typing import Any

from fws_pipe.errors import SystemRefusedError
from fws_pipe.storage.base import Storage, set_or_none, to_bytes

BUSY_TIMEOUT_S = 10.0
"""How long to wait for other processes: each holds the file for less than a millisecond."""

_RETRY_S = 0.005

# A set's values lie side by side in the index, which is all there is: no row is stored twice.
_TABLE = "CREATE TABLE IF NOT EXISTS fws_storage (key BLOB, value BLOB, PRIMARY KEY (key, value)) WITHOUT ROWID"

_PLACE = "name a file in a folder that is there and that this user may write to"
_MENDS = {
    sqlite3.SQLITE_CANTOPEN: _PLACE,
    sqlite3.SQLITE_READONLY: _PLACE,
    sqlite3.SQLITE_PERM: _PLACE,
    sqlite3.SQLITE_NOTADB: "name an SQLite file, or one that isn't there yet",
    sqlite3.SQLITE_CORRUPT: "remove the file, or name another",
    sqlite3.SQLITE_BUSY: "end the process that keeps it locked, or name another file",
    sqlite3.SQLITE_FULL: "make room on the disk",
}


class SqliteStorage(Storage):
    """Sets by key in the file at `path`, made if it isn't there. For all threads of the process that opened it.

    Raises SystemRefusedError when the file can't be used.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        _make_private(path)
        try:
            # isolation_level None is autocommit. The lock is what lets threads share the connection.
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except sqlite3.Error:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise self._refused(error) from None

    def get(self, key: Any) -> set[Any] | None:
        """The set of a key, or None when there is nothing."""
        rows = self._execute("SELECT value FROM fws_storage WHERE key = ?", to_bytes(key))
        return set_or_none(value for (value,) in rows)

    def add(self, key: Any, value: Any) -> None:
        """Put a value into the set of a key."""
        self._execute("INSERT OR IGNORE INTO fws_storage VALUES (?, ?)", to_bytes(key), to_bytes(value))

    def remove(self, key: Any, value: Any) -> None:
        """Take a value out of the set of a key; nothing happens when it isn't in there."""
        self._execute("DELETE FROM fws_storage WHERE key = ? AND value = ?", to_bytes(key), to_bytes(value))

    def close(self) -> None:
        """Close the file; the sets stay in it."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        self._switch_to_wal()
        # A killed process loses nothing by this, and a set isn't worth a wait for the disk at each call.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(_TABLE)

    def _switch_to_wal(self) -> None:
        """Let who reads not wait for who writes, nor the other way round."""
        # For this statement alone SQLite says "locked" at once when another process switches the same new file.
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL").fetchall()
                return
            except sqlite3.OperationalError as error:
                if _code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(_RETRY_S)

    def _execute(self, statement: str, *values: bytes) -> list[tuple[bytes]]:
        try:
            with self._lock:
                return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._refused(error) from None

    def _refused(self, error: sqlite3.Error) -> SystemRefusedError:
        mend = _MENDS.get(_code_of(error), "name another file")
        return SystemRefusedError(f"can't keep sets in the SQLite file {self._path!r}: {error}; {mend}")


def _make_private(path: str) -> None:
    """Make the file, if it isn't there, for this user alone: what filters keep is nobody else's to read.

    SQLite gives its -wal and -shm the same permissions. Those of a file that is there are its owner's decision.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError:
        pass  # it is there, or SQLite says better than we could what is wrong with the place


def _code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code, 0 for the errors of Python's module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
