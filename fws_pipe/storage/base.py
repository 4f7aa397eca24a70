"""What every storage can do, and the bytes that a key or a value has outside of Python.

Keys and values are what msgpack can carry and Python can hash: str, bytes, int, float, bool, None, and tuples of these.
A shared storage tells them apart by type as well. Python's sets take 1, 1.0 and True for the same: don't mix them.
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
    """A database on this machine; behind a colon follows its path."""
    REDIS = "redis"
    """Redis, which all servers share."""


class Storage(ABC):
    """Sets by key. Each call is atomic; each set that is returned is a copy, and the caller's own.

    Raises TypeError for a key or a value that can't be stored, and SystemRefusedError when a shared storage fails.
    """

    @abstractmethod
    def get(self, key: Any) -> set[Any] | None:
        """The set of a key, or None when there is nothing."""

    def __getitem__(self, key: Any) -> set[Any]:
        return self.get(key) or set()

    @abstractmethod
    def add(self, key: Any, value: Any) -> None:
        """Put a value into the set of a key."""

    @abstractmethod
    def remove(self, key: Any, value: Any) -> None:
        """Take a value out of the set of a key; nothing happens when it isn't in there."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the storage holds; it can't be used any more."""


def to_bytes(value: Any) -> bytes:
    """The bytes under which a key or value is stored. Raises TypeError for what has no msgpack form or no hash."""
    if isinstance(value, str):
        try:
            # As it is, so that redis-cli and sqlite3 show ids as one knows them.
            text = value.encode()
            if not text.startswith(_PREFIX):
                return text
        except UnicodeEncodeError:
            pass  # A lone surrogate has no UTF-8; msgpack is told below to let it through.
    try:
        packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
        # Only now: packing has a limit of depth, hashing has none and would overflow the stack.
        hash(value)
    except (TypeError, ValueError, OverflowError) as error:
        shown = " ".join(describe(value).split())
        raise TypeError(
            f"can't store {shown} ({error}); expected str, bytes, int, float, bool, None or a tuple of these"
        ) from None
    return _PREFIX + packed


def from_bytes(data: bytes) -> Any:
    """The key or value that was stored; what another program wrote as str, or as bytes if it isn't UTF-8."""
    if data.startswith(_PREFIX):
        try:
            value = msgpack.unpackb(data[len(_PREFIX) :], use_list=False, unicode_errors="surrogatepass")
            hash(value)
            return value
        except (TypeError, ValueError, msgpack.UnpackException):
            pass  # Another program's, which only begins like ours.
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def set_or_none(members: Iterable[bytes]) -> set[Any] | None:
    """The set of these stored values, or None when there are none."""
    return {from_bytes(member) for member in members} or None
