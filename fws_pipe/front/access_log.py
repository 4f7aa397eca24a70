"""The access log: one line for each client that has gone, and for each connection that was refused.

No line holds what may be a secret: no query, no cookie, no token, no header but Origin and User-Agent.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from fws_pipe.clients.client import Client
from fws_pipe.http.handshake import Upgrade
from fws_pipe.ledger.introduction import opening_of
from fws_pipe.log import Level, Log, Subject
from fws_pipe.log_form import Field
from fws_pipe.websocket.rfc6455 import ABNORMAL
from fws_pipe.websocket.transport import SocketAddress

_SHOWN_LETTERS = 200
"""How much of a header or a path is shown, in characters."""


class AccessLog:
    """Writes a line for each connection, if the log's subject `access` is at the level info."""

    def __init__(self, log: Log) -> None:
        self._log = log.about(Subject.ACCESS)

    def closed(self, client: Client) -> None:
        """The connection of a client whose handshake was complete has ended."""
        if not self._log.shows(Level.INFO) or not client.is_open:
            return
        opening = opening_of(client) or {}
        self._log.access(
            "connection closed",
            {
                "id": client.id,
                "address": _shown_address(client.wire.remote),
                **_request_fields(opening.get("path"), opening.get("headers", ())),
                "subprotocol": client.subprotocol,
                "code": ABNORMAL if client.close_code is None else client.close_code,
                "duration": round(time.monotonic() - client.since, 3),
                "messages_in": client.messages_in,
                "bytes_in": client.bytes_in,
                "messages_out": client.messages_out,
                "bytes_out": client.wire.outbox.written,
            },
        )

    def refused(self, remote: SocketAddress, reason: str, status: int | None, request: Upgrade | None) -> None:
        """A connection has not become a client's. `status` is None where it got no answer.

        `request` is None where it has sent no valid request for a WebSocket.
        """
        if self._log.shows(Level.INFO):
            named = _request_fields(None, ()) if request is None else _request_fields(request.path, request.headers)
            fields = {"address": _shown_address(remote), **named, "status": status, "reason": reason}
            self._log.access("connection refused", fields)


def _request_fields(path: str | None, headers: Iterable[Sequence[str]]) -> dict[str, Field]:
    """What a request tells of its client, without secrets."""
    origin, agent = _first(headers, "origin"), _first(headers, "user-agent")
    return {"path": _shortened(path), "origin": _shortened(origin), "agent": _shortened(agent)}


def _first(headers: Iterable[Sequence[str]], wanted: str) -> str | None:
    return next((value for name, value in headers if name == wanted), None)


def _shortened(text: str | None) -> str | None:
    return None if text is None else text[:_SHOWN_LETTERS]


def _shown_address(remote: SocketAddress) -> str:
    host, port = remote
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
