"""What a storage object has to have; the user's own are subclasses of these."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any


class BaseStorageObject:
    """Sets by key. `options` are those of the server's command line."""

    def __init__(self, options: Any, *args: Any, **kwargs: Any) -> None:
        self.options = options
        self.storage: Any = None

    def get(self, item: Any) -> Any:
        """The set of a key, or None. Raises NotImplementedError where a subclass has not said."""
        raise NotImplementedError

    def __getitem__(self, item: Any) -> Any:
        raise NotImplementedError

    def add(self, key: Any, value: Any) -> None:
        """Put a value into the set of a key. Raises NotImplementedError where a subclass has not said."""
        raise NotImplementedError

    def remove(self, key: Any, value: Any) -> None:
        """Take a value out of the set of a key. Raises NotImplementedError where a subclass has not said."""
        raise NotImplementedError

    @classmethod
    def parser(cls, parser: ArgumentParser) -> ArgumentParser:
        """Add options to the server's."""
        return parser


class SetsMixin:
    """Leaves the sets to the storage of fws-pipe's own in `storage`; stands before the base that asks for them."""

    storage: Any

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


class BasePubSubStorageObject(BaseStorageObject):
    """Storage, like Redis, that passes on what is published."""

    def get_client(self) -> Any:
        """What the subscriber gets as its client. Raises NotImplementedError where a subclass has not said."""
        raise NotImplementedError

    def publish(self, channel: Any, data: Any) -> None:
        """Publish to a channel. Raises NotImplementedError where a subclass has not said."""
        raise NotImplementedError

    @classmethod
    def get_subscriber(cls) -> Any:
        """A class below subscribers.base.BaseSubscriber. Raises NotImplementedError where a subclass has not said."""
        raise NotImplementedError
