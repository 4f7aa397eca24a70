"""Which event may have killed the chain. No I/O.

One death says little: a stage may die for any reason. An event that kills the stage that reads it was in the chain at
each death. So when a second death comes before all is through that was in the chain at the first one, the events that
were in it both times are replayed one at a time, and one that is alone in the chain at three deaths is to blame. That
bounds the deaths which one event can cause, however far each run gets before it dies: two until it is alone, three
alone. A filter that dies at random hardly meets the same event three times, and if it does so twice nothing is lost by
that. One that dies because what it needs is away for a moment would: so the last of the three comes later.
"""

from __future__ import annotations

import enum
from collections import Counter

DEATHS_ALONE = 3
"""How many deaths with nothing else in the chain make an event guilty."""

LAST_CHANCE_S = 2.0
"""How long after the death before an event gets its last chance: a filter that lacked something may have it by then."""

DEATHS_IN_COMPANY = 2
"""The most deaths before a deadly event is alone: at the second one it is among those replayed alone."""


class Remedy(enum.Enum):
    """What to do about what was in the chain when it died."""

    REPLAY = enum.auto()
    """As it was written before."""
    BE_CAREFUL = enum.auto()
    """One event at a time, up to `Blame.careful_until`."""
    SKIP = enum.auto()
    """The oldest event, which was alone, has killed the chain often enough."""


class Blame:
    """Remembers what was in the chain at the last deaths, by numbers of events and of the ticks behind them."""

    def __init__(self) -> None:
        self.careful_until = 0
        """The last number that was in the chain at each of the deaths that may have one cause; 0: there was none."""
        self._alone: int | None = None
        self._deaths_alone = 0

    @property
    def last_chance(self) -> int:
        """The event that is skipped if the chain dies once more while it is alone there; 0: there is none."""
        return self._alone if self._alone is not None and self._deaths_alone == DEATHS_ALONE - 1 else 0

    def note_death(self, oldest: int | None, newest: int, count: int) -> Remedy:
        """The chain has died with `count` events in it, numbered from `oldest` to `newest`; None: there were none."""
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
    """Finds the client whose `open` in a snapshot kills each new chain, which is told of them one at a time then.

    Before it hears of the first one it has to return a tick: a start that shows no life is no client's fault.
    """

    def __init__(self) -> None:
        self.is_careful = False
        """Whether a new chain is to hear of the clients one at a time, each with a tick behind it."""
        self.at_hand: str | None = None
        """The client of which it is hearing then; None while it has shown no life."""
        self._deaths: Counter[str] = Counter()

    def is_last_chance(self, client_id: str) -> bool:
        """Whether no chain is to hear of this client again if another one dies of it."""
        return self._deaths[client_id] == DEATHS_ALONE - 1

    def note_death(self, *, is_over: bool) -> str | None:
        """The chain has died; `is_over`: having heard of all. Returns the client that no chain is to hear of again."""
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
