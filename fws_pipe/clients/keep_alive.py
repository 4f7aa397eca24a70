"""Pings idle clients: finds dead ones, and keeps proxies from ending idle connections (RFC 6455, section 5.5.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from fws_pipe.clients.client import Client, Ping
from fws_pipe.counters import Count, Counters
from fws_pipe.websocket.rfc6455 import INTERNAL_ERROR, PING_FRAME

_NEARLY = 0.999
"""Allows for the rounding error of a sum of floats."""

CHECKS = 4
"""Keep-alive checks per interval: a ping is early by a quarter of the interval at most."""


class KeepAlive:
    """Pings clients that have been idle for `interval` seconds; ends those that then stay silent for `timeout` seconds.

    A client is idle when either direction is: a proxy may end a connection for one idle direction, whatever passes in
    the other. 0 switches either off. `is_paused` tells whether the server reads no client at the moment: then a
    client's silence means nothing.
    """

    def __init__(
        self,
        interval: float,
        timeout: float,
        clients: Iterable[Client],
        is_paused: Callable[[], bool],
        counters: Counters,
    ) -> None:
        self._interval = interval
        self._timeout = timeout
        self._clients = clients
        self._is_paused = is_paused
        self._counters = counters
        self._checks = 0
        """The number of checks so far, without those while no client was read."""

    async def run(self) -> None:
        """Check all clients, CHECKS times an interval, for ever."""
        if self._interval <= 0:
            return
        pause = min(self._interval, self._timeout or self._interval) / CHECKS
        while True:
            await trio.sleep(pause)
            if self._is_paused():
                continue
            self._checks += 1
            now = trio.current_time()
            for client in self._clients:
                if client.is_open and not client.wire.is_closing:
                    self._keep_client_alive(client, now, pause)

    def _keep_client_alive(self, client: Client, now: float, pause: float) -> None:
        """Ping a client that will be idle for the whole interval before the next check; end one that is silent.

        `pause` is the seconds between two checks.
        """
        patience = self._interval - pause
        wire = client.wire
        if wire.forget_sent() or wire.outbox:
            client.addressed = now
        # A client that reads its outbox lives, though the ping may be far behind in that.
        signs_of_life = [since for since in (wire.waiting_since, wire.blocked_since) if since is not None]
        since = max(signs_of_life, default=now)
        is_unanswered = client.pinged is not None and client.pinged.since == since
        if is_unanswered and self._is_silent(client.pinged, now, pause):
            self._counters.add(Count.SILENT)
            wire.fail(INTERNAL_ERROR, f"no sign of life for {now - since:.0f} s, in spite of a ping")
        elif now - client.addressed >= patience or (now - since >= patience and not is_unanswered):
            if not is_unanswered:
                client.pinged = Ping(since, self._checks)
            wire.send_control(PING_FRAME)

    def _is_silent(self, pinged: Ping | None, now: float, pause: float) -> bool:
        """Whether a client that was silent before this ping has not answered it in time.

        The time is counted in checks, not by the clock: if the server was stopped, or read no client since the chain
        was too slow, the answer may wait unread.
        """
        if pinged is None or self._timeout <= 0 or now - pinged.since < self._interval + self._timeout:
            return False
        return (self._checks - pinged.check) * pause >= self._timeout * _NEARLY
