"""Sets by key in this process's memory."""

from __future__ import annotations

from typing import Any

from fws_pipe.storage.memory import MemoryStorage

from .base import BaseStorageObject, SetsMixin


class StorageObject(SetsMixin, BaseStorageObject):
    """Sets by key in memory, which are gone when the stage restarts."""

    def __init__(self, options: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(options, *args, **kwargs)
        self.storage = MemoryStorage()
