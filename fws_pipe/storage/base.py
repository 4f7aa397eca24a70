"""The interface of all storages, and the form of keys and values as bytes.

Keys and values are what msgpack can carry and Python can hash: str, bytes, int, float, bool, None, and tuples of these.
A shared storage distinguishes them by type as well. In Python's sets 1, 1.0 and True are equal: don't mix them.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import msgpack

from fws_pipe.protocol.codec import describe

_PREFIX = b"msgpack:"


class StorageKind(enum.StrEnum):
    """The shipped kinds of storage (--storage, FWS_STORAGE)."""

    MEMORY = "memory"
    """Each process has its own."""
    SQLITE = "sqlite"
    """A database file on this machine; its path may follow after a colon."""
    REDIS = "redis"
    """Redis, which all servers share."""


class Storage(ABC):
    """Sets by key. Each call is atomic; each returned set is a copy, which the caller may change.

    Raises TypeError for a key or a value that can't be stored, and SystemRefusedError when a shared storage fails.
    """

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
    def close(self) -> None:
        """Close the storage's file or connections; it can't be used any more."""


def to_bytes(value: Any) -> bytes:
    """The bytes under which a key or value is stored. Raises TypeError for a value without msgpack form or hash."""
    if isinstance(value, str):
        try:
            # Text is stored as it is, so that redis-cli and sqlite3 show it readably.
            text = value.encode()
            if not text.startswith(_PREFIX):
                return text
        except UnicodeEncodeError:
            pass  # A lone surrogate has no UTF-8; below msgpack lets it through.
    try:
        packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
        # After packing, which has a limit of depth: hashing has none, and would overflow the stack.
        hash(value)
    except (TypeError, ValueError, OverflowError) as error:
        shown = " ".join(describe(value).split())
        raise TypeError(
            f"can't store {shown} ({error}); expected str, bytes, int, float, bool, None or a tuple of these"
        ) from None
    return _PREFIX + packed


def from_bytes(data: bytes) -> Any:
    """The key or value that was stored as these bytes; another program's bytes are a str if they are UTF-8."""
    if data.startswith(_PREFIX):
        try:
            value = msgpack.unpackb(data[len(_PREFIX) :], use_list=False, unicode_errors="surrogatepass")
            hash(value)
            return value
        except (TypeError, ValueError, msgpack.UnpackException):
            pass  # another program wrote it, and it only begins like ours
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def set_or_none(members: Iterable[bytes]) -> set[Any] | None:
    """The set of these stored values; None when there are none."""
    return {from_bytes(member) for member in members} or None
