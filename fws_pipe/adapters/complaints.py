"""Complaints of an adapter about a program, limited in rate so that they don't fill the log."""

from __future__ import annotations

import time

from fws_pipe.pipes.blocks import say
from fws_pipe.wording import counted

_AT_ONCE = 5
"""The most lines within a second."""

_INTERVAL_S = 1.0


class Complaints:
    """Writes lines about the program `name` to stderr: a few per second, then the number of the others."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told = 0
        self._untold = 0
        self._until = 0.0

    def tell(self, text: str) -> None:
        """Write a line, or count it."""
        now = time.monotonic()
        if now >= self._until:
            self.finish()
            self._told, self._until = 0, now + _INTERVAL_S
        if self._told < _AT_ONCE:
            self._told += 1
            say(f"{self._name}: {text}")
        else:
            self._untold += 1

    def finish(self) -> None:
        """Write the number of lines that were only counted."""
        if self._untold:
            say(f"{self._name}: {counted(self._untold, 'similar line')} left out")
            self._untold = 0
