"""Sends what is published on a subscribed channel to every client."""

from __future__ import annotations

from typing import Any

from fws_pipe.sdk import send

from .base import WebSocketConsumerFilter


class BroadcastMessageFilter(WebSocketConsumerFilter):
    """Broadcasts all pubsub events to connected clients."""

    @classmethod
    def filter(cls, web_socket_instance: Any, data: Any = None) -> None:
        """Send it to all; what the queue holds need not be a message."""
        payload = data.get("data") if isinstance(data, dict) else None
        if isinstance(payload, (str, bytes)):
            send("*", web_socket_instance.as_payload(payload))
