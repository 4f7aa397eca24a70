"""The phases of a feed, as a table: where the chain of now is in what it is written. No I/O and no clock.

    RESTING --BEGINS--> INTRODUCING --INTRODUCED--> REPLAYING --REPLAYED--> FLOWING
    these three --FINISH--> FINISHING;  each of the four --ENDS--> RESTING, but INTRODUCING to CUT_OFF
    CUT_OFF --RESTARTS--> RESTING

A chain gets a snapshot of the clients, then again what the one before it had not finished, then what comes. If it dies
of the snapshot, a client is to blame, and if it dies later, an event: CUT_OFF remembers that until `Feed.restart` has
found out which.

The table has a cell for each phase and each event. IMPOSSIBLE says that our own code is wrong: `after` raises then.
"""

from __future__ import annotations

import enum

from fws_pipe.websocket.states import row


class Phase(enum.Enum):
    """What the chain of now is written."""

    RESTING = enum.auto()
    """Nothing: there is no chain, or it takes no more. Events wait for the next one."""
    INTRODUCING = enum.auto()
    """The clients that it must hear of before any event; until the tick behind them is back."""
    REPLAYING = enum.auto()
    """What the chain before it had not finished, once a tick is back."""
    FLOWING = enum.auto()
    """Events as they come."""
    FINISHING = enum.auto()
    """Only what has been begun: another chain gets the rest."""
    CUT_OFF = enum.auto()
    """Nothing: it ended before it had heard of all clients, one of which may have killed it."""

    __hash__ = object.__hash__  # there is one object for each: no need to hash its name


class PhaseEvent(enum.Enum):
    """What happens to a feed."""

    BEGINS = enum.auto()
    """A new chain takes what is written."""
    INTRODUCED = enum.auto()
    """The chain has outlived the introduction, or there was none to make."""
    REPLAYED = enum.auto()
    """What is kept has been written."""
    FINISH = enum.auto()
    """The chain is to get nothing more; perhaps it has gone already."""
    ENDS = enum.auto()
    """Writing is over: the chain has gone, or gets nothing more."""
    RESTARTS = enum.auto()
    """The next chain is prepared."""

    __hash__ = object.__hash__


_P = Phase
_E = PhaseEvent

TRANSITIONS: dict[Phase, dict[PhaseEvent, Phase | None]] = {
    _P.RESTING: row(PhaseEvent, {_E.BEGINS: _P.INTRODUCING, _E.FINISH: _P.RESTING, _E.RESTARTS: _P.RESTING}),
    _P.INTRODUCING: row(PhaseEvent, {_E.INTRODUCED: _P.REPLAYING, _E.FINISH: _P.FINISHING, _E.ENDS: _P.CUT_OFF}),
    _P.REPLAYING: row(
        PhaseEvent,
        # Where there is nobody to introduce this is said at once, and then again when the first tick is back.
        {_E.INTRODUCED: _P.REPLAYING, _E.REPLAYED: _P.FLOWING, _E.FINISH: _P.FINISHING, _E.ENDS: _P.RESTING},
    ),
    _P.FLOWING: row(PhaseEvent, {_E.FINISH: _P.FINISHING, _E.ENDS: _P.RESTING}),
    _P.FINISHING: row(
        PhaseEvent,
        {
            _E.INTRODUCED: _P.FINISHING,
            _E.REPLAYED: _P.FINISHING,
            _E.FINISH: _P.FINISHING,
            _E.ENDS: _P.RESTING,
        },
    ),
    _P.CUT_OFF: row(PhaseEvent, {_E.FINISH: _P.CUT_OFF, _E.RESTARTS: _P.RESTING}),
}
