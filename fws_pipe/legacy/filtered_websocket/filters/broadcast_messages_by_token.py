"""Sends each message to the other clients of the sender's group, which it chooses with `token:NAME`.

A client's `token` is its group: when any filter of this stage sets it, the client moves to that group at once.
"""

from __future__ import annotations

from typing import Any

from fws_pipe.sdk import on
from fws_pipe.sdk.classes import WebSocketInstance
from fws_pipe.sdk.token_groups import TokenGroups, default_group

from .base import WebSocketDisconnectFilter, WebSocketMessageFilter

_groups = TokenGroups(default_group())
on("open")(_groups.opened)


class TokenMessageFilter(WebSocketMessageFilter):
    """Puts clients into the groups that they choose, and sends their messages to those groups."""

    @classmethod
    def filter(cls, web_socket_instance: Any, data: Any = None) -> None:
        """Handle a choice of a group, or send the message to the sender's group."""
        _groups.said({"id": web_socket_instance.id, "data": web_socket_instance.as_payload(data)})
        group = _groups.group(web_socket_instance.id)
        if group != _group_named(web_socket_instance.token):
            web_socket_instance.token = group


class TokenDisconnectFilter(WebSocketDisconnectFilter):
    """Forgets the groups of clients that have disconnected."""

    @classmethod
    def filter(cls, web_socket_instance: Any, data: Any = None) -> None:
        """Forget the client's group."""
        _groups.gone(web_socket_instance.id)


def _group_named(token: Any) -> str | None:
    """The group that a token names, of whatever type a filter has set it to; None: no group."""
    text = token.decode(errors="replace") if isinstance(token, (bytes, bytearray)) else token
    return None if text is None else str(text) or None


WebSocketInstance.token_listeners.append(lambda client_id, token: _groups.move(client_id, _group_named(token)))
