"""The interface of all storages: sets, lists and maps by key.

A set, a list and a map of one key are three different things. Keys, the fields of maps and the values of sets are what
msgpack can carry and Python can hash: str, bytes, int, float, bool, None, and tuples of these. The values of lists and
maps may be, or hold, lists and dicts as well.

A shared storage distinguishes all these by type as well. In Python's sets 1, 1.0 and True are equal: don't mix them.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from typing import Any

from fws_pipe.storage.stored_form import from_bytes, to_bytes, value_from_bytes, value_to_bytes

KEEP = 20
"""How many values of a list `append` keeps and `last` returns, unless told otherwise: a screenful of a chat."""


class StorageKind(enum.StrEnum):
    """The shipped kinds of storage (--storage, FWS_STORAGE)."""

    MEMORY = "memory"
    """Each process has its own."""
    SQLITE = "sqlite"
    """A database file on this machine; its path may follow after a colon."""
    REDIS = "redis"
    """Redis, which all servers share."""


class Storage(ABC):
    """Sets, lists and maps by key. Each call is atomic; what it returns is a copy, which the caller may change.

    Raises TypeError for a key or a value that can't be stored, and SystemRefusedError when a shared storage fails.
    """

    # Sets.

    @abstractmethod
    def get(self, key: Any) -> set[Any] | None:
        """The set of a key; None when it is empty."""

    def __getitem__(self, key: Any) -> set[Any]:
        return self.get(key) or set()

    @abstractmethod
    def add(self, key: Any, value: Any) -> None:
        """Add a value to the set of a key (SADD)."""

    @abstractmethod
    def remove(self, key: Any, value: Any) -> None:
        """Remove a value from the set of a key (SREM); a no-op when the set doesn't have it."""

    @abstractmethod
    def delete_set(self, key: Any) -> None:
        """Delete the set of a key (DEL); a no-op when there is none."""

    # Lists.

    def append(self, key: Any, value: Any, keep: int = KEEP) -> None:
        """Append a value to the list of a key, and drop its oldest values until `keep` are left (RPUSH, LTRIM).

        Raises ValueError unless `keep` is an integer from 1 to 2**31 - 1.
        """
        self._append(to_bytes(key), value_to_bytes(value), _checked("keep", keep, 1))

    def last(self, key: Any, n: int = KEEP) -> list[Any]:
        """The newest `n` values of the list of a key, or as many as there are, the oldest first (LRANGE).

        Raises ValueError unless `n` is an integer from 0 to 2**31 - 1.
        """
        newest = self._last(to_bytes(key), n) if _checked("n", n, 0) else []
        return [value_from_bytes(value) for value in newest]

    def delete_list(self, key: Any) -> None:
        """Delete the list of a key (DEL); a no-op when there is none."""
        self._delete_list(to_bytes(key))

    # Maps.

    def put(self, key: Any, field: Any, value: Any) -> None:
        """Set a field of the map of a key to a value (HSET)."""
        self._put(to_bytes(key), to_bytes(field), value_to_bytes(value))

    def fetch(self, key: Any, field: Any, default: Any = None) -> Any:
        """The value of a field of the map of a key (HGET); `default` when it isn't there."""
        value = self._fetch(to_bytes(key), to_bytes(field))
        return default if value is None else value_from_bytes(value)

    def fetch_all(self, key: Any) -> dict[Any, Any]:
        """The map of a key: its values by field, in any order (HGETALL); an empty dict when there is none."""
        fields = self._fetch_all(to_bytes(key))
        return {from_bytes(field): value_from_bytes(value) for field, value in fields.items()}

    def delete_field(self, key: Any, field: Any) -> None:
        """Delete a field of the map of a key (HDEL); a no-op when it isn't there."""
        self._delete_field(to_bytes(key), to_bytes(field))

    def delete_map(self, key: Any) -> None:
        """Delete the map of a key (DEL); a no-op when there is none."""
        self._delete_map(to_bytes(key))

    @abstractmethod
    def close(self) -> None:
        """Close the storage's file or connections; it can't be used any more."""

    # The same on stored forms: what each kind of storage does by itself.

    @abstractmethod
    def _append(self, key: bytes, value: bytes, keep: int) -> None: ...

    @abstractmethod
    def _last(self, key: bytes, n: int) -> list[bytes]: ...

    @abstractmethod
    def _delete_list(self, key: bytes) -> None: ...

    @abstractmethod
    def _put(self, key: bytes, field: bytes, value: bytes) -> None: ...

    @abstractmethod
    def _fetch(self, key: bytes, field: bytes) -> bytes | None: ...

    @abstractmethod
    def _fetch_all(self, key: bytes) -> dict[bytes, bytes]: ...

    @abstractmethod
    def _delete_field(self, key: bytes, field: bytes) -> None: ...

    @abstractmethod
    def _delete_map(self, key: bytes) -> None: ...


_MOST = 2**31 - 1
"""The most values that are asked for: every database's integers hold it."""


def _checked(name: str, value: int, least: int) -> int:
    """The number itself. Raises ValueError unless it is an integer from `least` to _MOST."""
    if type(value) is not int or not least <= value <= _MOST:
        raise ValueError(f"{name}: expected an integer from {least} to {_MOST}, got {value!r}")
    return value
