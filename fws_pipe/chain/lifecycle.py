"""The life of a chain, as a table, and how long to wait before a restart. No I/O and no clock.

    DOWN         --DUE-->               STARTING  --SERVES, SILENT--> UP
    STARTING, UP --DIES, STALLS-->      DYING     --GONE--> DOWN      (STARTING also by REFUSED)
    STARTING, UP --REPLACE-->           YIELDING  --GONE--> DOWN
    all of these --STOP-->              DRAINING  --GONE--> STOPPED   (DOWN at once: STOPPED)
    all of these --GIVEN_UP-->          FAILED                        (DRAINING: STOPPED)

Rule 1: the supervisor changes its state by this table alone. It reports what happens; the table says what that means.
Rule 2: the table is total. It has a cell for each state and each event; an event that can't happen in a state, or
brings nothing new there, leaves the state as it is.
Rule 3: processes run in STARTING, UP, DYING, YIELDING and DRAINING; events are written in STARTING and UP only. The
last three say how a run ends. DYING keeps the answers that have passed the dead stage. YIELDING lets the chain finish
its events because a successor is ready, DRAINING because the server stops.
Rule 4: from DYING, YIELDING and DRAINING no event leads back to UP. A run ends once.
"""

from __future__ import annotations

import enum

START_INTERVAL_S = 1.0
"""A chain that has not served is started at most this often (s6 does the same)."""

FAILED_STARTS_LIMIT = 5
"""The server stops after this many starts in a row that never served."""


class State(enum.Enum):
    """Where a supervised chain is in its life."""

    DOWN = enum.auto()
    """No process runs; the next start is due now or after a delay."""
    STARTING = enum.auto()
    """The processes run; no tick has come back yet."""
    UP = enum.auto()
    """The chain serves."""
    DYING = enum.auto()
    """The run has failed: its last actions are executed, and its processes are ended."""
    YIELDING = enum.auto()
    """A successor is ready: the chain finishes the events that it has."""
    DRAINING = enum.auto()
    """The server stops: the chain finishes the events that it has."""
    STOPPED = enum.auto()
    """The chain was asked to stop, and its processes are gone."""
    FAILED = enum.auto()
    """The chain has failed too often; it is not started again."""


class Event(enum.Enum):
    """What happens to a supervised chain."""

    DUE = enum.auto()
    """The next start is due."""
    REFUSED = enum.auto()
    """The system has no process or descriptor left for the chain."""
    SERVES = enum.auto()
    """A tick has come back."""
    SILENT = enum.auto()
    """No tick has come back in the time that a start may take."""
    DIES = enum.auto()
    """A process has exited, or the chain writes broken frames."""
    STALLS = enum.auto()
    """The oldest tick has been under way for longer than --stall-timeout."""
    REPLACE = enum.auto()
    """A successor has shown that it serves."""
    STOP = enum.auto()
    """The server stops."""
    GONE = enum.auto()
    """The last process of the run has ended."""
    GIVEN_UP = enum.auto()
    """The run has ended, and no further start is tried."""


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
"""A run that served for less than this was short: an event may have killed it, or a database may be away."""

SHORT_LIFE_DELAYS_S = (0.0, 0.0, 0.2, 0.4, 0.8, 1.0)
"""The delay before a restart, by the number of short runs in a row: for none or one it is the first. The last one
applies to all further runs.
"""


class RestartPolicy:
    """Says how long to wait before each restart, and when to give up.

    A start has failed when the chain died before it served. After `limit` failed starts in a row it is time to give up;
    None: never. Short runs in a row make the delay longer: clients want their chain back at once, but a chain that dies
    again and again must not take the whole processor.
    """

    def __init__(self, limit: int | None = FAILED_STARTS_LIMIT) -> None:
        self._limit = limit
        self._failed_starts = 0
        self._short_lives = 0

    def delay_after(self, *, served: bool, started: float, died: float) -> float | None:
        """The seconds to wait before the next start; None: give up.

        `started` and `died` are the times of the run that has ended, in seconds of the same clock.
        """
        if served:
            self._failed_starts = 0
            self._short_lives = self._short_lives + 1 if died - started < SHORT_LIFE_S else 0
            return SHORT_LIFE_DELAYS_S[min(max(self._short_lives, 1), len(SHORT_LIFE_DELAYS_S)) - 1]
        self._failed_starts += 1
        if self._limit is not None and self._failed_starts >= self._limit:
            return None
        return max(0.0, started + START_INTERVAL_S - died)
