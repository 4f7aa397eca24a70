"""Plays a recording to a running server: a client for each `open` event of it."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterable, Iterator
from urllib.parse import SplitResult, urlsplit, urlunsplit

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, connect_websocket_url

from fws_pipe.cli.pace import is_moment
from fws_pipe.errors import FwsError, SystemRefusedError, UsageError, first_error
from fws_pipe.protocol.actions import SEND, may_be_sent
from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.events import DISCONNECT, MESSAGE, OPEN

_CONNECT_S = 10.0
_QUIET_S = 1.0
"""How long nothing may have come before the clients that the recording left connected leave."""

_MESSAGE_BYTES = 128 << 20
_PASSED_ON = ("origin", "cookie", "authorization", "user-agent")
"""Header fields of then that the clients send again."""


def play_to_server(recording: Iterable[Frame], url: str, speed: float | None) -> list[Frame]:
    """Play the events of a recording to the server at `url`; returns what each client received, as `send` frames.

    A `url` without a path gets those of then. Raises UsageError for what is no URL, SystemRefusedError when a client
    can't connect.
    """
    players = _Players(_parse_url(url), speed)
    try:
        trio.run(players.play, recording)
    except* FwsError as group:
        raise first_error(group) from None
    return players.received


def _parse_url(text: str) -> SplitResult:
    """The parts of a URL that names a host. Raises UsageError."""
    with contextlib.suppress(ValueError):  # an address in brackets that is none, or a port that is no number
        url = urlsplit(text)
        if url.hostname and url.port != 0:
            return url
    raise UsageError(f"expected the URL of a server, such as ws://127.0.0.1:9000/, got {text!r}")


class _Players:
    """The clients of a recording."""

    def __init__(self, url: SplitResult, speed: float | None) -> None:
        self._url = url
        self._speed = speed
        self._connections: dict[str, WebSocketConnection] = {}
        self.received: list[Frame] = []
        self._last = 0.0
        """When something was received or sent (trio's clock)."""

    async def play(self, recording: Iterable[Frame]) -> None:
        """Play all of it, wait until the server is quiet, and leave."""
        began, first = trio.current_time(), None
        async with trio.open_nursery() as nursery:
            for frame in recording:
                moment = frame.get("time")
                if self._speed is not None and is_moment(moment):
                    first = moment if first is None else first
                    await trio.sleep_until(began + (moment - first) / self._speed)
                await self._play_event(frame, nursery)
            await self._wait_quiet()
            for connection in self._connections.values():
                await connection.aclose()
            nursery.cancel_scope.cancel()

    async def _play_event(self, event: Frame, nursery: trio.Nursery) -> None:
        client = str(event.get("id"))
        connection = self._connections.get(client)
        self._last = trio.current_time()
        if event.get("type") == OPEN and connection is None:
            self._connections[client] = connection = await self._connect(event, nursery)
            nursery.start_soon(self._receive, client, connection)
        elif connection is None:
            return
        elif event.get("type") == MESSAGE:
            try:
                await connection.send_message(event["data"])
            except ConnectionClosed:
                pass  # the server has closed it, which it did not then
        elif event.get("type") == DISCONNECT:
            code = event.get("code")
            await self._connections.pop(client).aclose(code if type(code) is int and may_be_sent(code) else 1000)

    async def _connect(self, event: Frame, nursery: trio.Nursery) -> WebSocketConnection:
        url = self._url
        if url.path in ("", "/"):
            url = url._replace(path=str(event.get("path", "/")), query=url.query or str(event.get("query", "")))
        headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in _headers_of(event)]
        protocols = [event["subprotocol"]] if isinstance(event.get("subprotocol"), str) else None
        try:
            with trio.fail_after(_CONNECT_S):
                return await connect_websocket_url(
                    nursery,
                    urlunsplit(url),
                    ssl.create_default_context() if url.scheme == "wss" else None,
                    subprotocols=protocols,
                    extra_headers=headers,
                    max_message_size=_MESSAGE_BYTES,
                )
        except (OSError, HandshakeError, trio.TooSlowError) as error:
            reason = str(error) or type(error).__name__
            raise SystemRefusedError(f"can't connect to {urlunsplit(url)}: {reason}") from None

    async def _receive(self, client: str, connection: WebSocketConnection) -> None:
        try:
            while True:
                data = await connection.get_message()
                self._last = trio.current_time()
                self.received.append({"type": SEND, "to": client, "time": time.time(), "data": data})
        except ConnectionClosed:
            pass

    async def _wait_quiet(self) -> None:
        while (left := self._last + _QUIET_S - trio.current_time()) > 0:
            await trio.sleep(left)


def _headers_of(event: Frame) -> Iterator[tuple[str, str]]:
    for name, value in event.get("headers") or ():
        if name in _PASSED_ON:
            yield name, value
