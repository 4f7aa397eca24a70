"""Which event may have killed the chain. No I/O.

One death says little: a stage may die for any reason. When a second one follows before anything has come through, the
events that were in the chain are replayed one at a time; one that is alone in the chain at three deaths is to blame.
A filter that dies at random hardly meets the same event three times, and if it does so twice nothing is lost by that.
"""

from __future__ import annotations

import enum
from collections import Counter

DEATHS_ALONE = 3
"""So many deaths with nothing else in the chain, and an event is guilty."""

DEATHS_WITHOUT_PROGRESS = 2
"""So many deaths in a row at the same place, and replay is careful."""


class Verdict(enum.Enum):
    """What to do about what was in the chain when it died."""

    REPLAY = enum.auto()
    """As it was written before."""
    BE_CAREFUL = enum.auto()
    """One event at a time."""
    SKIP = enum.auto()
    """The oldest event, which was alone, has killed the chain often enough."""


class Suspicion:
    """Remembers the last deaths."""

    def __init__(self) -> None:
        self._oldest: int | None = None
        self._deaths = 0
        self._alone: int | None = None
        self._deaths_alone = 0

    def judge(self, oldest: int | None, count: int) -> Verdict:
        """The chain has died with `count` events in it, the first of them `oldest`; None: there were none."""
        if oldest is None:
            return Verdict.REPLAY  # idle, or still starting: no event is to blame
        self._deaths = self._deaths + 1 if oldest == self._oldest else 1
        self._oldest = oldest
        if count == 1:
            self._deaths_alone = self._deaths_alone + 1 if oldest == self._alone else 1
            self._alone = oldest
            if self._deaths_alone >= DEATHS_ALONE:
                self._oldest, self._deaths, self._alone, self._deaths_alone = None, 0, None, 0
                return Verdict.SKIP
        return Verdict.BE_CAREFUL if self._deaths >= DEATHS_WITHOUT_PROGRESS else Verdict.REPLAY


class Introductions:
    """Finds the client whose `open` in a snapshot kills each new chain, which is told of them one at a time then."""

    def __init__(self) -> None:
        self.is_careful = False
        """Whether a new chain is to hear of the clients one at a time, each with a tick behind it."""
        self.at_hand: str | None = None
        """Of whom it is hearing then."""
        self._deaths: Counter[str] = Counter()

    def judge(self, *, is_over: bool) -> str | None:
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
