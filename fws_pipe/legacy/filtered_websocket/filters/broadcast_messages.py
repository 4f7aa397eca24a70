"""Sends each message to every other client."""

from __future__ import annotations

from typing import Any

from fws_pipe.sdk import send

from .base import WebSocketMessageFilter


class BroadcastMessagesFilter(WebSocketMessageFilter):
    """Broadcasts messages to all connected clients but the sender."""

    @classmethod
    def filter(cls, web_socket_instance: Any, data: Any = None) -> None:
        """Send the message to all other clients."""
        send("*", web_socket_instance.as_payload(data), without=web_socket_instance.id, everywhere=True)
