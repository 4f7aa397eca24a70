"""Sets in this process's memory."""

from __future__ import annotations

from typing import Any

from fws_pipe.storage.memory import MemoryStorage

from .base import BaseStorageObject


class StorageObject(BaseStorageObject):
    """Sets by key, gone when the stage restarts."""

    def __init__(self, options: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(options, *args, **kwargs)
        self.storage = MemoryStorage()

    def get(self, item: Any) -> Any:
        """The set of a key, or None."""
        return self.storage.get(item)

    def __getitem__(self, item: Any) -> Any:
        return self.storage[item]

    def add(self, key: Any, value: Any) -> None:
        """Put a value into the set of a key."""
        self.storage.add(key, value)

    def remove(self, key: Any, value: Any) -> None:
        """Take a value out of the set of a key."""
        self.storage.remove(key, value)
