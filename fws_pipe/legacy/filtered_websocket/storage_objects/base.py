"""The base classes of storage objects, a user's own included."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any


class BaseStorageObject:
    """Sets by key. `options` is the namespace of the server's parsed command line."""

    def __init__(self, options: Any, *args: Any, **kwargs: Any) -> None:
        self.options = options
        self.storage: Any = None

    def get(self, item: Any) -> Any:
        """The set of a key, or None. Raises NotImplementedError unless a subclass defines it."""
        raise NotImplementedError

    def __getitem__(self, item: Any) -> Any:
        raise NotImplementedError

    def add(self, key: Any, value: Any) -> None:
        """Add a value to the set of a key. Raises NotImplementedError unless a subclass defines it."""
        raise NotImplementedError

    def remove(self, key: Any, value: Any) -> None:
        """Remove a value from the set of a key. Raises NotImplementedError unless a subclass defines it."""
        raise NotImplementedError

    @classmethod
    def parser(cls, parser: ArgumentParser) -> ArgumentParser:
        """Add options to the server's parser, and return it."""
        return parser


class SetsMixin:
    """Delegates the sets to `storage`, one of fws-pipe's own. List it before the abstract base class."""

    storage: Any

    def get(self, item: Any) -> Any:
        """The set of a key, or None."""
        return self.storage.get(item)

    def __getitem__(self, item: Any) -> Any:
        return self.storage[item]

    def add(self, key: Any, value: Any) -> None:
        """Add a value to the set of a key."""
        self.storage.add(key, value)

    def remove(self, key: Any, value: Any) -> None:
        """Remove a value from the set of a key."""
        self.storage.remove(key, value)


class BasePubSubStorageObject(BaseStorageObject):
    """A storage with pub/sub, such as Redis."""

    def get_client(self) -> Any:
        """The argument `client` of the subscriber. Raises NotImplementedError unless a subclass defines it."""
        raise NotImplementedError

    def publish(self, channel: Any, data: Any) -> None:
        """Publish to a channel. Raises NotImplementedError unless a subclass defines it."""
        raise NotImplementedError

    @classmethod
    def get_subscriber(cls) -> Any:
        """A subclass of subscribers.base.BaseSubscriber. Raises NotImplementedError unless a subclass defines it."""
        raise NotImplementedError
