"""Finds the event that kills the chain. No I/O.

One death says little: a stage may die for any reason. But an event that kills its reader is in the chain at each death.
So after a second death before everything from the first one is through, the events that were in the chain both times
are replayed one at a time, and an event that is alone in the chain at three deaths is to blame. This bounds the deaths
that one event can cause, however far each run gets: two until it is alone, and three alone. A filter that dies at
random hardly meets the same event three times, and twice costs nothing. A filter that dies because something it needs
is away for a moment would meet it three times: so the third attempt comes later.
"""

from __future__ import annotations

import enum
from collections import Counter

DEATHS_ALONE = 3
"""An event that was alone in the chain at this many deaths is to blame."""

LAST_CHANCE_S = 2.0
"""The delay before an event's last chance: a filter that lacked something may have it by then."""

DEATHS_IN_COMPANY = 2
"""The most deaths until a deadly event is alone in the chain."""


class Remedy(enum.Enum):
    """How the events that were in the chain at its death are treated."""

    REPLAY = enum.auto()
    """They are replayed in batches, as before."""
    BE_CAREFUL = enum.auto()
    """They are replayed one at a time, up to `Blame.careful_until`."""
    SKIP = enum.auto()
    """The oldest, which was alone in the chain, is left out."""


class Blame:
    """Remembers which events, by number, were in the chain at the last deaths."""

    def __init__(self) -> None:
        self.careful_until = 0
        """The last number that was in the chain at all deaths that may have one cause; 0: there was none."""
        self._alone: int | None = None
        self._deaths_alone = 0

    @property
    def last_chance(self) -> int:
        """The number of the event that is skipped if it is alone in the chain at one more death; 0: there is none."""
        return self._alone if self._alone is not None and self._deaths_alone == DEATHS_ALONE - 1 else 0

    def note_death(self, oldest: int | None, newest: int, count: int) -> Remedy:
        """Note that the chain has died with `count` events in it, numbered from `oldest` (None: none) to `newest`."""
        if oldest is None:
            return Remedy.REPLAY  # idle, or still starting: no event is to blame
        is_repeated = oldest <= self.careful_until
        self.careful_until = min(self.careful_until, newest) if is_repeated else newest
        if count == 1:
            self._deaths_alone = self._deaths_alone + 1 if oldest == self._alone else 1
            self._alone = oldest
            if self._deaths_alone >= DEATHS_ALONE:
                self.careful_until, self._alone, self._deaths_alone = 0, None, 0
                return Remedy.SKIP
        return Remedy.BE_CAREFUL if is_repeated else Remedy.REPLAY


class Introductions:
    """Finds the client whose `open` in the snapshot kills each new chain.

    After such a death the next chain hears of the clients one at a time. It must return a tick before the first one: if
    it dies earlier, no client is at fault.
    """

    def __init__(self) -> None:
        self.is_careful = False
        """Whether a new chain hears of the clients one at a time, each followed by a tick."""
        self.at_hand: str | None = None
        """The id of the client that is being introduced alone; None: none is."""
        self._deaths: Counter[str] = Counter()

    def is_last_chance(self, client_id: str) -> bool:
        """Whether one more death makes this client the one to blame."""
        return self._deaths[client_id] == DEATHS_ALONE - 1

    def note_death(self, *, is_over: bool) -> str | None:
        """Note that the chain has died; `is_over`: after the whole snapshot. Returns the client to blame, or None."""
        at_hand, self.at_hand = self.at_hand, None
        if is_over:
            self.is_careful = False
            self._deaths.clear()
        elif not self.is_careful:
            self.is_careful = True
        elif at_hand is not None:
            self._deaths[at_hand] += 1
            if self._deaths[at_hand] >= DEATHS_ALONE:
                return at_hand
        return None
