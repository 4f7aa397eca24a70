"""Sends each message that is published on a subscribed channel to every client."""

from __future__ import annotations

from typing import Any

from fws_pipe.sdk import send

from .base import WebSocketConsumerFilter


class BroadcastMessageFilter(WebSocketConsumerFilter):
    """Broadcasts published messages to all clients."""

    @classmethod
    def filter(cls, web_socket_instance: Any, data: Any = None) -> None:
        """Send a published message to all clients; other values of the queue are ignored."""
        payload = data.get("data") if isinstance(data, dict) else None
        if isinstance(payload, (str, bytes)):
            send("*", web_socket_instance.as_payload(payload))
