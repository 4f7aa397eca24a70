"""Sets by key in this process's memory: each stage has its own, and they are gone when it restarts."""

from __future__ import annotations

import threading
from typing import Any

from fws_pipe.storage.base import Storage


class MemoryStorage(Storage):
    """Sets by key in a dict. Keys and values are anything that Python can hash; empty sets are dropped."""

    def __init__(self) -> None:
        self._sets: dict[Any, set[Any]] = {}
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

    def close(self) -> None:
        """Drop all sets."""
        with self._lock:
            self._sets.clear()
