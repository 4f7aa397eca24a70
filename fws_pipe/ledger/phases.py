"""The phases of a feed as a table: what the running chain is given at the moment. No I/O and no clock.

    RESTING --BEGINS--> INTRODUCING --INTRODUCED--> REPLAYING --REPLAYED--> FLOWING
    these three --FINISH--> FINISHING;  each of the four --ENDS--> RESTING, but INTRODUCING to CUT_OFF
    CUT_OFF --RESTARTS--> RESTING

A chain gets a snapshot of the clients, then the events that the last chain had not finished, then new events. If it
dies during the snapshot a client is to blame, and if it dies later an event is: CUT_OFF remembers the first case until
`Feed.restart` has found the client.

The table has a cell for each phase and each event. IMPOSSIBLE stands for a fault of our own: `after` raises then.
"""

from __future__ import annotations

import enum

from fws_pipe.websocket.states import row


class Phase(enum.Enum):
    """What the running chain is given."""

    RESTING = enum.auto()
    """Nothing: there is no chain, or it takes no more. Events wait for the next chain."""
    INTRODUCING = enum.auto()
    """The snapshot of the clients, until the tick behind it is back."""
    REPLAYING = enum.auto()
    """The events that the last chain had not finished."""
    FLOWING = enum.auto()
    """New events."""
    FINISHING = enum.auto()
    """The rest of what is being written: another chain gets what follows."""
    CUT_OFF = enum.auto()
    """Nothing: the chain ended before it had heard of all clients, one of which may have killed it."""

    __hash__ = object.__hash__  # each member is a single object, so its name need not be hashed


class PhaseEvent(enum.Enum):
    """What happens to a feed."""

    BEGINS = enum.auto()
    """`run` begins to write to a new chain."""
    INTRODUCED = enum.auto()
    """The chain has survived the snapshot, or the snapshot is empty."""
    REPLAYED = enum.auto()
    """The kept events have been written."""
    FINISH = enum.auto()
    """The chain is to get nothing more; it may have gone already."""
    ENDS = enum.auto()
    """`run` ends: the chain has gone, or gets nothing more."""
    RESTARTS = enum.auto()
    """The next chain is being prepared."""

    __hash__ = object.__hash__


_P = Phase
_E = PhaseEvent

TRANSITIONS: dict[Phase, dict[PhaseEvent, Phase | None]] = {
    _P.RESTING: row(PhaseEvent, {_E.BEGINS: _P.INTRODUCING, _E.FINISH: _P.RESTING, _E.RESTARTS: _P.RESTING}),
    _P.INTRODUCING: row(PhaseEvent, {_E.INTRODUCED: _P.REPLAYING, _E.FINISH: _P.FINISHING, _E.ENDS: _P.CUT_OFF}),
    _P.REPLAYING: row(
        PhaseEvent,
        # With an empty snapshot INTRODUCED comes at once, and again when the first tick is back.
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
