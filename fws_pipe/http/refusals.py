"""Logs each refused connection with -v, so that an operator sees why clients don't get in.

A client may be refused any number of times, so each window of WINDOW_S seconds has room for LINES lines; at its end one
line says how many were not shown. No line holds a possible secret: no token, no query, no header but Origin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from fws_pipe.log import Level, Log
from fws_pipe.websocket.transport import SocketAddress

LINES = 20
"""How many refusals are logged in a window."""

WINDOW_S = 10.0

_SHOWN_LETTERS = 200


class Refusals:
    """Logs refusals. `spawn` starts a task: it gets an async function without arguments."""

    def __init__(self, log: Log, spawn: Callable[..., object]) -> None:
        self._log = log
        self._spawn = spawn
        self._count = 0
        """The number of refusals in this window."""

    def tell(self, remote: SocketAddress, reason: str, origins: Sequence[str] = ()) -> None:
        """Log one refusal: the peer's (host, port), the reason, and the values of its Origin headers."""
        if not self._log.shows(Level.DEBUG):
            return
        if self._count == 0:
            self._spawn(self._end_window)
        self._count += 1
        if self._count <= LINES:
            pages = "".join(f", Origin {_shown(origin)}" for origin in origins)
            self._log.debug(f"refused {remote[0]}:{remote[1]}{pages}: {reason}")

    async def _end_window(self) -> None:
        try:
            await trio.sleep(WINDOW_S)
        finally:
            hidden, self._count = self._count - LINES, 0
            if hidden > 0:
                self._log.debug(f"refused {hidden} more within {WINDOW_S:.0f} s, which are not shown")


def _shown(text: str) -> str:
    """A client's text as a Python literal in ASCII, shortened."""
    return ascii(text[:_SHOWN_LETTERS])
