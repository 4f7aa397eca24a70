"""Tells with -v of each connection that is refused while the server runs, so that an operator sees why nobody gets in.

A client can be refused as often as it likes: so a window of time has room for so many lines, and at its end one line
says how many were not shown. No line holds what may be a secret: no token, no query, no header but Origin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from fws_pipe.log import Level, Log
from fws_pipe.websocket.transport import SocketAddress

LINES = 20
"""How many are shown in a window."""

WINDOW_S = 10.0

_SHOWN_LETTERS = 200


class Refusals:
    """Lines about refusals; `spawn` starts a task."""

    def __init__(self, log: Log, spawn: Callable[..., object]) -> None:
        self._log = log
        self._spawn = spawn
        self._count = 0
        """How many there have been in this window."""

    def tell(self, remote: SocketAddress, reason: str, origins: Sequence[str] = ()) -> None:
        """Tell of one: where it came from, which pages it named, and why it is refused."""
        if self._log.level < Level.DEBUG:
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
    """What a client has written, as one word of a line."""
    return ascii(text[:_SHOWN_LETTERS])
