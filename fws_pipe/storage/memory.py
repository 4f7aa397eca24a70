"""Sets by key in this process only: what filters get unless told otherwise. Gone when the stage restarts."""

from __future__ import annotations

import threading
from typing import Any

from fws_pipe.storage.base import Storage


class MemoryStorage(Storage):
    """Sets by key in a dict. It takes whatever Python can hash, and forgets keys that have become empty."""

    def __init__(self) -> None:
        self._sets: dict[Any, set[Any]] = {}
        # A filter may have threads: one must not forget a key while another adds to its set.
        self._lock = threading.Lock()

    def get(self, key: Any) -> set[Any] | None:
        """The set of a key, or None when there is nothing."""
        with self._lock:
            values = self._sets.get(key)
            return None if values is None else values.copy()

    def add(self, key: Any, value: Any) -> None:
        """Put a value into the set of a key."""
        with self._lock:
            values = self._sets.get(key)
            if values is None:
                # Not setdefault: it would leave an empty set behind a value that has no hash.
                self._sets[key] = {value}
            else:
                values.add(value)

    def remove(self, key: Any, value: Any) -> None:
        """Take a value out of the set of a key; nothing happens when it isn't in there."""
        with self._lock:
            values = self._sets.get(key)
            if values is not None:
                values.discard(value)
                if not values:
                    del self._sets[key]

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._sets.clear()
