"""What a subscriber has to have."""

from __future__ import annotations

from typing import Any


class BaseSubscriber:
    """Its `listener` runs in a thread of its own, and puts what it hears on the server's queue."""

    data_producer: Any = None

    def listener(self, web_socket_instance: Any) -> None:
        """Listen for ever. Raises NotImplementedError where a subclass has not said."""
        raise NotImplementedError
