"""Storage for filters: sets, lists and maps by key. FWS_STORAGE says where: in the process, an SQLite file, or Redis.

    storage = open_storage(os.environ)
    storage.add("token", "alice")

Rule: sqlite3 and redis are loaded only where they are chosen. Filters must start fast, and most need neither.
"""

from __future__ import annotations

from collections.abc import Mapping

from fws_pipe.errors import UsageError
from fws_pipe.storage.base import Storage, StorageKind
from fws_pipe.storage.memory import MemoryStorage

__all__ = ["VARIABLE", "MemoryStorage", "Storage", "StorageKind", "open_storage"]

VARIABLE = "FWS_STORAGE"
"""The environment variable that names the filters' storage."""

_SQLITE = f"{StorageKind.SQLITE}:"


def open_storage(environment: Mapping[str, str]) -> Storage:
    """The storage that FWS_STORAGE names, memory by default.

    Raises UsageError for an unknown kind, SystemRefusedError for a file or a Redis that can't be used.
    """
    choice = environment.get(VARIABLE) or StorageKind.MEMORY
    if choice == StorageKind.MEMORY:
        return MemoryStorage()
    if choice.startswith(_SQLITE) and choice != _SQLITE:
        from fws_pipe.storage.sqlite import SqliteStorage

        return SqliteStorage(choice.removeprefix(_SQLITE))
    if choice == StorageKind.REDIS:
        return _open_redis(environment)
    raise UsageError(f"{VARIABLE}={choice!r}: expected memory, sqlite:PATH or redis")


def _open_redis(environment: Mapping[str, str]) -> Storage:
    from fws_pipe.broker.settings import settings_from
    from fws_pipe.storage.redis_storage import RedisStorage

    settings = settings_from(environment)
    if settings is None:
        raise UsageError(f"{VARIABLE}=redis: there is no Redis; add --redis-url redis://HOST:PORT")
    return RedisStorage(settings)
