"""The life of a chain, as a table, and when one that has died is started again. No I/O and no clock.

`TRANSITIONS` has a cell for each state and each event: the supervisor reports what happens, and the table says what
state that makes. What can't happen in a state, or says nothing new there, leaves it as it is.
"""

from __future__ import annotations

import enum

START_INTERVAL_S = 1.0
"""A chain that has not served is started at most this often (s6 does the same)."""

FAILED_STARTS_LIMIT = 5
"""So many starts in a row that came to nothing, and the server stops."""


class State(enum.Enum):
    """Where a supervised chain is in its life."""

    DOWN = enum.auto()
    """Nothing runs; a start is due, now or in a moment."""
    STARTING = enum.auto()
    """Its processes run; no tick has come back yet."""
    UP = enum.auto()
    """It serves."""
    DYING = enum.auto()
    """Something is wrong with it: what is left of it is carried out, and ended."""
    YIELDING = enum.auto()
    """Another one stands ready to take its place: it finishes what it has."""
    DRAINING = enum.auto()
    """It was asked to stop: it finishes what it has."""
    STOPPED = enum.auto()
    """It was asked to stop, and is gone."""
    FAILED = enum.auto()
    """It won't be started again."""


class Event(enum.Enum):
    """What happens to it."""

    DUE = enum.auto()
    """The time has come to start it."""
    REFUSED = enum.auto()
    """The system has no process or descriptor for it."""
    SERVES = enum.auto()
    """A tick has come back."""
    SILENT = enum.auto()
    """None has, in all the time that a start may take."""
    DIES = enum.auto()
    """A process has ended, or what it writes makes no sense."""
    STALLS = enum.auto()
    """It returns no tick although it owes one."""
    REPLACE = enum.auto()
    """Another one has shown that it serves, and is to take its place."""
    STOP = enum.auto()
    """The server ends."""
    GONE = enum.auto()
    """Its last process has ended."""
    GIVEN_UP = enum.auto()
    """It has ended, and another start is of no use."""


FINAL = frozenset({State.STOPPED, State.FAILED})
RUNNING = frozenset({State.STARTING, State.UP})

TRANSITIONS: dict[State, dict[Event, State]] = {
    State.DOWN: {
        Event.DUE: State.STARTING,
        Event.REFUSED: State.DOWN,
        Event.SERVES: State.DOWN,
        Event.SILENT: State.DOWN,
        Event.DIES: State.DOWN,
        Event.STALLS: State.DOWN,
        Event.REPLACE: State.DOWN,
        Event.STOP: State.STOPPED,
        Event.GONE: State.DOWN,
        Event.GIVEN_UP: State.FAILED,
    },
    State.STARTING: {
        Event.DUE: State.STARTING,
        Event.REFUSED: State.DYING,
        Event.SERVES: State.UP,
        Event.SILENT: State.UP,
        Event.DIES: State.DYING,
        Event.STALLS: State.DYING,
        Event.REPLACE: State.YIELDING,
        Event.STOP: State.DRAINING,
        Event.GONE: State.DOWN,
        Event.GIVEN_UP: State.FAILED,
    },
    State.UP: {
        Event.DUE: State.UP,
        Event.REFUSED: State.UP,
        Event.SERVES: State.UP,
        Event.SILENT: State.UP,
        Event.DIES: State.DYING,
        Event.STALLS: State.DYING,
        Event.REPLACE: State.YIELDING,
        Event.STOP: State.DRAINING,
        Event.GONE: State.DOWN,
        Event.GIVEN_UP: State.FAILED,
    },
    State.DYING: {
        Event.DUE: State.DYING,
        Event.REFUSED: State.DYING,
        Event.SERVES: State.DYING,
        Event.SILENT: State.DYING,
        Event.DIES: State.DYING,
        Event.STALLS: State.DYING,
        Event.REPLACE: State.DYING,
        Event.STOP: State.DRAINING,
        Event.GONE: State.DOWN,
        Event.GIVEN_UP: State.FAILED,
    },
    State.YIELDING: {
        Event.DUE: State.YIELDING,
        Event.REFUSED: State.YIELDING,
        Event.SERVES: State.YIELDING,
        Event.SILENT: State.YIELDING,
        Event.DIES: State.YIELDING,
        Event.STALLS: State.YIELDING,
        Event.REPLACE: State.YIELDING,
        Event.STOP: State.DRAINING,
        Event.GONE: State.DOWN,
        Event.GIVEN_UP: State.FAILED,
    },
    State.DRAINING: {
        Event.DUE: State.DRAINING,
        Event.REFUSED: State.DRAINING,
        Event.SERVES: State.DRAINING,
        Event.SILENT: State.DRAINING,
        Event.DIES: State.DRAINING,
        Event.STALLS: State.DRAINING,
        Event.REPLACE: State.DRAINING,
        Event.STOP: State.DRAINING,
        Event.GONE: State.STOPPED,
        Event.GIVEN_UP: State.STOPPED,
    },
    State.STOPPED: dict.fromkeys(Event, State.STOPPED),
    State.FAILED: dict.fromkeys(Event, State.FAILED),
}


SHORT_LIFE_S = 1.0
"""A chain that served for less than this may die of what it was given, or of what is away: it is started again soon,"""

SHORT_LIFE_DELAYS_S = (0.0, 0.0, 0.2, 0.4, 0.8, 1.0)
"""but later each time in a row; the last of these stays."""


class RestartPolicy:
    """Counts the starts that failed in a row. A start has failed when the chain died before it had served.

    `limit` is how many of them it takes to give up; None: never. Lives that were short are counted as well: clients
    want their chain back at once, but one that dies again and again must not take the whole processor.
    """

    def __init__(self, limit: int | None = FAILED_STARTS_LIMIT) -> None:
        self._limit = limit
        self._failed_starts = 0
        self._short_lives = 0

    def delay_after(self, *, served: bool, started: float, died: float) -> float | None:
        """How many seconds to wait before the next start; None to give up. `started` and `died` are on one clock."""
        if served:
            self._failed_starts = 0
            self._short_lives = self._short_lives + 1 if died - started < SHORT_LIFE_S else 0
            return SHORT_LIFE_DELAYS_S[min(max(self._short_lives, 1), len(SHORT_LIFE_DELAYS_S)) - 1]
        self._failed_starts += 1
        if self._limit is not None and self._failed_starts >= self._limit:
            return None
        return max(0.0, started + START_INTERVAL_S - died)
