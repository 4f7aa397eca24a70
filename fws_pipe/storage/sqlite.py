"""Sets, lists and maps in an SQLite file, which the processes of one machine share and which outlives them.

Each call is one transaction, so that no change is lost when several processes write at once.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from typing import Any

from fws_pipe.errors import SystemRefusedError
from fws_pipe.storage.base import Storage
from fws_pipe.storage.stored_form import set_or_none, to_bytes

BUSY_TIMEOUT_S = 10.0
"""How long to wait for other processes, in seconds; each holds the file for less than a millisecond."""

_RETRY_S = 0.005

# WITHOUT ROWID: a table is its own index, so each row is stored once, and the values of a key lie side by side.
_TABLES = (
    "CREATE TABLE IF NOT EXISTS fws_storage (key BLOB, value BLOB, PRIMARY KEY (key, value)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS fws_lists "
    "(key BLOB, number INTEGER, value BLOB, PRIMARY KEY (key, number)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS fws_maps (key BLOB, field BLOB, value BLOB, PRIMARY KEY (key, field)) WITHOUT ROWID",
)
"""Sets, lists and maps. The values of a list are numbered, the newest has the highest number."""

_APPEND = (
    "INSERT INTO fws_lists SELECT :key, coalesce(max(number), 0) + 1, :value FROM fws_lists WHERE key = :key",
    "DELETE FROM fws_lists WHERE key = :key AND number <= (SELECT max(number) FROM fws_lists WHERE key = :key) - :keep",
)
_LAST = "SELECT value FROM fws_lists WHERE key = ? ORDER BY number DESC LIMIT ?"

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
    """Sets, lists and maps in the file at `path`, which is made if it is missing.

    Safe in all threads of the opening process. It and its methods raise SystemRefusedError when the file can't be used.
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

    def delete_set(self, key: Any) -> None:
        """Delete the set of a key; a no-op when there is none."""
        self._execute("DELETE FROM fws_storage WHERE key = ?", to_bytes(key))

    def close(self) -> None:
        """Close the file; what is stored stays in it."""
        with self._lock:
            self._connection.close()

    def _append(self, key: bytes, value: bytes, keep: int) -> None:
        try:
            with self._lock:
                self._append_in_one(key, value, keep)
        except sqlite3.Error as error:
            raise self._refused(error) from None

    def _append_in_one(self, key: bytes, value: bytes, keep: int) -> None:
        """Append and trim in one transaction."""
        # Immediate: it waits for other writers at its begin, where nothing has been read that they could change.
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _APPEND:
                self._connection.execute(statement, {"key": key, "value": value, "keep": keep})
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _last(self, key: bytes, n: int) -> list[bytes]:
        return [value for (value,) in self._execute(_LAST, key, n)][::-1]

    def _delete_list(self, key: bytes) -> None:
        self._execute("DELETE FROM fws_lists WHERE key = ?", key)

    def _put(self, key: bytes, field: bytes, value: bytes) -> None:
        self._execute("INSERT OR REPLACE INTO fws_maps VALUES (?, ?, ?)", key, field, value)

    def _fetch(self, key: bytes, field: bytes) -> bytes | None:
        rows = self._execute("SELECT value FROM fws_maps WHERE key = ? AND field = ?", key, field)
        return rows[0][0] if rows else None

    def _fetch_all(self, key: bytes) -> dict[bytes, bytes]:
        return dict(self._execute("SELECT field, value FROM fws_maps WHERE key = ?", key))

    def _delete_field(self, key: bytes, field: bytes) -> None:
        self._execute("DELETE FROM fws_maps WHERE key = ? AND field = ?", key, field)

    def _delete_map(self, key: bytes) -> None:
        self._execute("DELETE FROM fws_maps WHERE key = ?", key)

    def _prepare(self) -> None:
        self._switch_to_wal()
        # A killed process loses nothing without it; only a crash of the machine may, and waiting for the disk is slow.
        self._connection.execute("PRAGMA synchronous = OFF")
        for table in _TABLES:
            self._connection.execute(table)

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

    def _execute(self, statement: str, *values: bytes | int) -> list[Any]:
        try:
            with self._lock:
                return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._refused(error) from None

    def _refused(self, error: sqlite3.Error) -> SystemRefusedError:
        mend = _MENDS.get(_code_of(error), "name another file")
        return SystemRefusedError(f"can't use the SQLite file {self._path!r}: {error}; {mend}")


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
