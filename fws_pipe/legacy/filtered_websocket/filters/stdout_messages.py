"""Writes each message to the server's stdout."""

from __future__ import annotations

from typing import Any

from fws_pipe.sdk import tell
from fws_pipe.terminal import one_line

from .base import WebSocketMessageFilter


class BroadcastMessageFilter(WebSocketMessageFilter):
    """Prints messages and their senders."""

    @classmethod
    def filter(cls, web_socket_instance: Any, data: Any = None) -> None:
        """Print the message on one line."""
        text = bytes(data).decode(errors="backslashreplace")
        tell(f"--MESSAGE--\n{web_socket_instance.id} => {one_line(text)}")
