"""Writes each published message, and each value from the queue, to the server's stdout."""

from __future__ import annotations

from typing import Any

from fws_pipe.sdk import tell
from fws_pipe.terminal import one_line

from .base import WebSocketConsumerFilter


class BroadcastMessageFilter(WebSocketConsumerFilter):
    """Prints pubsub events."""

    @classmethod
    def filter(cls, web_socket_instance: Any, data: Any = None) -> None:
        """Print the value on one line."""
        text = data.decode(errors="backslashreplace") if isinstance(data, bytes) else str(data)
        tell(f"--PUBSUB--\n{one_line(text)}")
