"""The lives of a conversation and of a wire, as tables. No I/O and no clock.

    conversation   READING -> ADVANCING -> READING | CROWDED | LAGGING | IN_LIBRARY | HELD_BACK -> ADVANCING -> ...
                   any of these but ADVANCING -> ON_HOLD -> LAGGING, or IN_LIBRARY -> ON_HOLD_IN_LIBRARY -> ...
                   any of these -> LAST_WORDS, DESERTED, ENDED -> GONE
                   those that wait for nothing of ours -> GONE, when another server takes over
    wire           HELD -> OPEN -> CLOSING -> CLOSED, or CLOSED from any of them

Each table has a cell for each state and each event. A cell says what comes next; IMPOSSIBLE says that our own code is
wrong: `after` raises then, and the error ends this connection alone. Where an event may come late (a client's turn
after its end, say), the state stays.
"""

from __future__ import annotations

import enum
from typing import Final, TypeVar


class ConversationState(enum.Enum):
    """What becomes of the bytes that a client sends."""

    READING = enum.auto()
    """The connection is read: what arrives is dealt with at once."""
    ADVANCING = enum.auto()
    """What has arrived is being dealt with, in this very call."""
    CROWDED = enum.auto()
    """Not read: its next event waits for room, in the chain or in its own outbox."""
    LAGGING = enum.auto()
    """Not read: it has sent more than is dealt with in a row, and waits for its turn."""
    IN_LIBRARY = enum.auto()
    """Not read: trio-websocket is at work on what it was fed."""
    HELD_BACK = enum.auto()
    """Not read: the client has used up its rate."""
    ON_HOLD = enum.auto()
    """Not read: a filter has asked for that. What else there is to wait for is found out when it resumes."""
    ON_HOLD_IN_LIBRARY = enum.auto()
    """As ON_HOLD, while trio-websocket is at work on what it was fed."""
    LAST_WORDS = enum.auto()
    """The client sends no more; trio-websocket, or the chain, is still at work on what it has sent."""
    DESERTED = enum.auto()
    """The wire is closed; trio-websocket may still be at work on what the client had sent."""
    ENDED = enum.auto()
    """The chain knows that the client has gone; the wire is still to be closed."""
    GONE = enum.auto()
    """The chain knows, and the wire is closed, or both are another server's: nothing happens any more."""

    __hash__ = object.__hash__  # there is one object for each: no need to hash its name


class ConversationEvent(enum.Enum):
    """What happens to a conversation."""

    ARRIVED = enum.auto()
    """Bytes have been read."""
    DEALT_WITH = enum.auto()
    """No whole frame is left."""
    NO_ROOM = enum.auto()
    """The next event must wait for room."""
    ROOM = enum.auto()
    """There is room for the next event, and time to deal with it."""
    SLICE_OVER = enum.auto()
    """There is no time to go on: others come first."""
    TURN = enum.auto()
    """It is this client's turn again."""
    HANDED_OVER = enum.auto()
    """trio-websocket has been fed something."""
    LIBRARY_DONE = enum.auto()
    """trio-websocket has dealt with all that it was fed."""
    RATE_USED_UP = enum.auto()
    """The client has sent more than its rate allows now."""
    RATE_ALLOWS = enum.auto()
    """The client may send again, or its rate matters no longer."""
    HOLD = enum.auto()
    """A filter asks not to read the client."""
    RESUME = enum.auto()
    """The hold is over."""
    LOST = enum.auto()
    """The client has ended its side while trio-websocket, or the chain, is at work on what it has sent."""
    DEPARTED = enum.auto()
    """The chain has been told that the client has gone."""
    WIRE_CLOSED = enum.auto()
    """The connection is closed, by whichever side."""
    MOVED = enum.auto()
    """Another server goes on with the connection."""

    __hash__ = object.__hash__


class WireState(enum.Enum):
    """What becomes of messages to a client."""

    HELD = enum.auto()
    """The handshake is under way: what the chain sends is kept until the client has been accepted."""
    OPEN = enum.auto()
    """They go out."""
    CLOSING = enum.auto()
    """A Close frame has been queued: nothing follows it (RFC 6455, section 5.5.1)."""
    CLOSED = enum.auto()
    """The connection has ended."""

    __hash__ = object.__hash__


class WireEvent(enum.Enum):
    """What happens to a wire."""

    RELEASE = enum.auto()
    """The client has been accepted."""
    CLOSE = enum.auto()
    """A Close frame is queued."""
    END = enum.auto()
    """The connection is closed."""

    __hash__ = object.__hash__


class ImpossibleEventError(RuntimeError):
    """An event in a state where none such can be: an error of ours, never of a client."""


_C = ConversationState
_E = ConversationEvent

IMPOSSIBLE: Final = None

StateT = TypeVar("StateT", bound=enum.Enum)
EventT = TypeVar("EventT", bound=enum.Enum)


def row(events: type[EventT], possible: dict[EventT, StateT]) -> dict[EventT, StateT | None]:
    """A state's cells: those that are written down, and IMPOSSIBLE in all others."""
    return {event: possible.get(event, IMPOSSIBLE) for event in events}


CONVERSATION_TRANSITIONS: dict[ConversationState, dict[ConversationEvent, ConversationState | None]] = {
    _C.READING: row(
        ConversationEvent,
        {
            _E.ARRIVED: _C.ADVANCING,
            _E.HOLD: _C.ON_HOLD,
            _E.LOST: _C.LAST_WORDS,
            _E.DEPARTED: _C.ENDED,
            _E.WIRE_CLOSED: _C.DESERTED,
            _E.MOVED: _C.GONE,
        },
    ),
    _C.ADVANCING: row(
        ConversationEvent,
        {
            _E.DEALT_WITH: _C.READING,
            _E.NO_ROOM: _C.CROWDED,
            _E.SLICE_OVER: _C.LAGGING,
            _E.HANDED_OVER: _C.IN_LIBRARY,
            _E.RATE_USED_UP: _C.HELD_BACK,
            _E.LOST: _C.LAST_WORDS,
            _E.DEPARTED: _C.ENDED,
            _E.WIRE_CLOSED: _C.DESERTED,
        },
    ),
    _C.CROWDED: row(
        ConversationEvent,
        {
            _E.ROOM: _C.ADVANCING,
            _E.SLICE_OVER: _C.LAGGING,
            _E.HOLD: _C.ON_HOLD,
            _E.DEPARTED: _C.ENDED,
            _E.WIRE_CLOSED: _C.DESERTED,
            _E.MOVED: _C.GONE,
        },
    ),
    _C.LAGGING: row(
        ConversationEvent,
        {
            _E.TURN: _C.ADVANCING,
            _E.HOLD: _C.ON_HOLD,
            _E.DEPARTED: _C.ENDED,
            _E.WIRE_CLOSED: _C.DESERTED,
            _E.MOVED: _C.GONE,
        },
    ),
    _C.IN_LIBRARY: row(
        ConversationEvent,
        {
            _E.LIBRARY_DONE: _C.ADVANCING,
            _E.HOLD: _C.ON_HOLD_IN_LIBRARY,
            _E.DEPARTED: _C.ENDED,
            _E.WIRE_CLOSED: _C.DESERTED,
        },
    ),
    _C.HELD_BACK: row(
        ConversationEvent,
        {
            _E.RATE_ALLOWS: _C.ADVANCING,
            _E.HOLD: _C.ON_HOLD,
            _E.LOST: _C.LAST_WORDS,
            _E.DEPARTED: _C.ENDED,
            _E.WIRE_CLOSED: _C.DESERTED,
            _E.MOVED: _C.GONE,
        },
    ),
    _C.ON_HOLD: row(
        ConversationEvent,
        {
            _E.TURN: _C.ON_HOLD,
            _E.HOLD: _C.ON_HOLD,
            _E.RESUME: _C.LAGGING,
            _E.DEPARTED: _C.ENDED,
            _E.WIRE_CLOSED: _C.DESERTED,
            _E.MOVED: _C.GONE,
        },
    ),
    _C.ON_HOLD_IN_LIBRARY: row(
        ConversationEvent,
        {
            _E.LIBRARY_DONE: _C.ON_HOLD,
            _E.HOLD: _C.ON_HOLD_IN_LIBRARY,
            _E.RESUME: _C.IN_LIBRARY,
            _E.DEPARTED: _C.ENDED,
            _E.WIRE_CLOSED: _C.DESERTED,
        },
    ),
    _C.LAST_WORDS: row(
        ConversationEvent,
        {
            _E.ARRIVED: _C.LAST_WORDS,
            _E.TURN: _C.LAST_WORDS,
            _E.LIBRARY_DONE: _C.LAST_WORDS,
            _E.LOST: _C.LAST_WORDS,
            _E.DEPARTED: _C.ENDED,
            _E.WIRE_CLOSED: _C.DESERTED,
        },
    ),
    _C.DESERTED: row(
        ConversationEvent,
        {
            _E.ARRIVED: _C.DESERTED,
            _E.TURN: _C.DESERTED,
            _E.LIBRARY_DONE: _C.DESERTED,
            _E.LOST: _C.DESERTED,
            _E.DEPARTED: _C.GONE,
        },
    ),
    _C.ENDED: row(
        ConversationEvent,
        {
            _E.ARRIVED: _C.ENDED,
            _E.TURN: _C.ENDED,
            _E.LIBRARY_DONE: _C.ENDED,
            _E.WIRE_CLOSED: _C.GONE,
        },
    ),
    _C.GONE: row(
        ConversationEvent,
        {
            _E.ARRIVED: _C.GONE,
            _E.TURN: _C.GONE,
            _E.LIBRARY_DONE: _C.GONE,
        },
    ),
}

HOLDS = frozenset({_C.ON_HOLD, _C.ON_HOLD_IN_LIBRARY})
"""The states in which a filter keeps the client from being read."""

MOVABLE = frozenset({_C.READING, _C.CROWDED, _C.LAGGING, _C.HELD_BACK, _C.ON_HOLD})
"""The states in which another server can go on with the connection: nobody is at work on what the client has sent."""

OVER = frozenset({_C.LAST_WORDS, _C.DESERTED, _C.ENDED, _C.GONE})
"""The states in which nothing is read any more, ever."""

DEPARTED = frozenset({_C.ENDED, _C.GONE})
"""The states in which the chain takes no more events of this client."""

WIRE_TRANSITIONS: dict[WireState, dict[WireEvent, WireState | None]] = {
    WireState.HELD: row(
        WireEvent,
        {
            WireEvent.RELEASE: WireState.OPEN,
            WireEvent.END: WireState.CLOSED,
        },
    ),
    WireState.OPEN: row(
        WireEvent,
        {
            WireEvent.CLOSE: WireState.CLOSING,
            WireEvent.END: WireState.CLOSED,
        },
    ),
    WireState.CLOSING: row(
        WireEvent,
        {
            WireEvent.END: WireState.CLOSED,
        },
    ),
    WireState.CLOSED: row(
        WireEvent,
        {
            WireEvent.RELEASE: WireState.CLOSED,
        },
    ),
}


def after(table: dict[StateT, dict[EventT, StateT | None]], state: StateT, event: EventT) -> StateT:
    """The state that an event leads to. Raises ImpossibleEventError."""
    following = table[state][event]
    if following is None:
        raise ImpossibleEventError(f"{event} can't happen in {state}")
    return following
