"""Sets by key in an SQLite file, which the processes of one machine share and which outlives them.

Each call is one statement in its own transaction, so that no change is lost when several processes write at once.
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
"""How long to wait for other processes, in seconds; each holds the file for less than a millisecond."""

_RETRY_S = 0.005

# WITHOUT ROWID: the table is its own index, so each row is stored once, and a set's values lie side by side.
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
    """Sets by key in the file at `path`, which is made if it is missing. Safe in all threads of the opening process.

    It and its methods raise SystemRefusedError when the file can't be used.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        _make_private(path)
        try:
            # isolation_level None is autocommit. `_lock` lets threads share the connection.
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
        """The set of a key; None when it is empty."""
        rows = self._execute("SELECT value FROM fws_storage WHERE key = ?", to_bytes(key))
        return set_or_none(value for (value,) in rows)

    def add(self, key: Any, value: Any) -> None:
        """Add a value to the set of a key."""
        self._execute("INSERT OR IGNORE INTO fws_storage VALUES (?, ?)", to_bytes(key), to_bytes(value))

    def remove(self, key: Any, value: Any) -> None:
        """Remove a value from the set of a key; a no-op when the set doesn't have it."""
        self._execute("DELETE FROM fws_storage WHERE key = ? AND value = ?", to_bytes(key), to_bytes(value))

    def close(self) -> None:
        """Close the file; the sets stay in it."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        self._switch_to_wal()
        # A killed process loses nothing without it; only a crash of the machine may, and waiting for the disk is slow.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(_TABLE)

    def _switch_to_wal(self) -> None:
        """Switch the file to write-ahead logging, so that readers and writers don't wait for each other."""
        # For this statement SQLite doesn't wait: it says "locked" at once while another process switches the same file.
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
    """Make a missing file so that this user alone can read and write it.

    SQLite gives its -wal and -shm files the same permissions. Those of an existing file stay as they are.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError:
        pass  # the file exists, or SQLite will say what is wrong with its path


def _code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error of Python's module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
