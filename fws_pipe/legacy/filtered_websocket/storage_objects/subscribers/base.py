"""The base class of subscribers."""

from __future__ import annotations

from typing import Any


class BaseSubscriber:
    """A subscriber: its `listener` runs in a thread of its own, and puts each value that it receives on the queue."""

    data_producer: Any = None

    def listener(self, web_socket_instance: Any) -> None:
        """Listen for ever. Raises NotImplementedError unless a subclass defines it."""
        raise NotImplementedError
