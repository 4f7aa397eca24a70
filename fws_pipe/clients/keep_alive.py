"""Finds out which clients still live, and keeps proxies from ending connections that are idle."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from fws_pipe.clients.client import Client, Ping
from fws_pipe.counters import Count, Counters
from fws_pipe.websocket.rfc6455 import INTERNAL_ERROR, PING_FRAME

_NEARLY = 0.999
"""What a sum of floats may lack."""

CHECKS = 4
"""How many times an interval the idle clients are looked through: a ping is early by a quarter of it at most."""


class KeepAlive:
    """Pings clients that have been idle for `interval` seconds; ends those that then stay silent for `timeout` seconds.

    A client is idle that has sent nothing, or has been sent nothing.

    A proxy in between may end a connection of which one direction is idle, whatever passes in the other. 0: off.
    `is_paused` tells whether the server reads no client just now: then a client's silence says nothing.
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
        """How often the clients have been looked at while they were read."""

    async def run(self) -> None:
        """Look through all clients, now and then, for ever."""
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
        """`pause`: the seconds between two checks. A ping is due when at the next one it would be late."""
        patience = self._interval - pause
        wire = client.wire
        if wire.forget_sent() or wire.outbox:
            client.addressed = now
        # A client that takes what waits for it lives, though the ping may be far behind in its queue.
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
        """Whether a client that has not answered this ping has had its time for that, and been silent before it.

        Its time is counted in checks, not by the clock: when we ourselves have been stopped, or have read no client
        since the chain was too slow, the answer may have been there all the time.
        """
        if pinged is None or self._timeout <= 0 or now - pinged.since < self._interval + self._timeout:
            return False
        return (self._checks - pinged.check) * pause >= self._timeout * _NEARLY
