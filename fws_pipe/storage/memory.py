"""Sets, lists and maps in this process's memory: each stage has its own, and they are gone when it restarts."""

from __future__ import annotations

import threading
from typing import Any

from fws_pipe.storage.base import Storage


class MemoryStorage(Storage):
    """Sets, lists and maps in dicts; empty ones are dropped.

    The keys and values of sets are anything that Python can hash. Lists and maps hold stored forms, as in a shared
    storage: so values come back as copies, and what can't be shared is refused here as well.
    """

    def __init__(self) -> None:
        self._sets: dict[Any, set[Any]] = {}
        self._lists: dict[bytes, list[bytes]] = {}
        self._maps: dict[bytes, dict[bytes, bytes]] = {}
        # A filter may have threads: one must not drop an empty set while another adds to it.
        self._lock = threading.Lock()

    def get(self, key: Any) -> set[Any] | None:
        """The set of a key; None when it is empty."""
        with self._lock:
            values = self._sets.get(key)
            return None if values is None else values.copy()

    def add(self, key: Any, value: Any) -> None:
        """Add a value to the set of a key."""
        with self._lock:
            values = self._sets.get(key)
            if values is None:
                # Not setdefault: a value without a hash would leave an empty set behind.
                self._sets[key] = {value}
            else:
                values.add(value)

    def remove(self, key: Any, value: Any) -> None:
        """Remove a value from the set of a key; a no-op when the set doesn't have it."""
        with self._lock:
            values = self._sets.get(key)
            if values is not None:
                values.discard(value)
                if not values:
                    del self._sets[key]

    def delete_set(self, key: Any) -> None:
        """Delete the set of a key; a no-op when there is none."""
        with self._lock:
            self._sets.pop(key, None)

    def close(self) -> None:
        """Drop all sets, lists and maps."""
        with self._lock:
            self._sets.clear()
            self._lists.clear()
            self._maps.clear()

    def _append(self, key: bytes, value: bytes, keep: int) -> None:
        with self._lock:
            values = self._lists.setdefault(key, [])
            values.append(value)
            del values[:-keep]

    def _last(self, key: bytes, n: int) -> list[bytes]:
        with self._lock:
            return self._lists.get(key, [])[-n:]

    def _delete_list(self, key: bytes) -> None:
        with self._lock:
            self._lists.pop(key, None)

    def _put(self, key: bytes, field: bytes, value: bytes) -> None:
        with self._lock:
            self._maps.setdefault(key, {})[field] = value

    def _fetch(self, key: bytes, field: bytes) -> bytes | None:
        with self._lock:
            return self._maps.get(key, {}).get(field)

    def _fetch_all(self, key: bytes) -> dict[bytes, bytes]:
        with self._lock:
            return self._maps.get(key, {}).copy()

    def _delete_field(self, key: bytes, field: bytes) -> None:
        with self._lock:
            fields = self._maps.get(key, {})
            fields.pop(field, None)
            if not fields:
                self._maps.pop(key, None)

    def _delete_map(self, key: bytes) -> None:
        with self._lock:
            self._maps.pop(key, None)
