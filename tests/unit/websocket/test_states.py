"""The lives of a conversation and of a wire: every cell of their tables, against facts that are kept apart."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.websocket.states import (
    CONVERSATION_TRANSITIONS,
    DEPARTED,
    HOLDS,
    OVER,
    WIRE_TRANSITIONS,
    ImpossibleEventError,
    WireEvent,
    WireState,
    after,
)
from fws_pipe.websocket.states import ConversationEvent as Event
from fws_pipe.websocket.states import ConversationState as State

CELLS = list(itertools.product(State, Event))


@dataclass(frozen=True)
class Facts:
    """What is so for a conversation, as independent facts."""

    is_library_busy: bool = False
    is_held_back: bool = False
    is_on_hold: bool = False
    is_lagging: bool = False
    is_advancing: bool = False
    has_room: bool = True
    sends_no_more: bool = False
    has_departed: bool = False
    is_closed: bool = False


CHANGES: dict[Event, dict[str, bool]] = {
    Event.ARRIVED: {"is_advancing": True},
    Event.DEALT_WITH: {"is_advancing": False, "has_room": True},
    Event.NO_ROOM: {"is_advancing": False, "has_room": False},
    Event.ROOM: {"is_advancing": True, "has_room": True},
    Event.SLICE_OVER: {"is_advancing": False, "is_lagging": True, "has_room": True},
    Event.TURN: {"is_advancing": True, "is_lagging": False},
    Event.HANDED_OVER: {"is_advancing": False, "is_library_busy": True},
    Event.LIBRARY_DONE: {"is_advancing": True, "is_library_busy": False},
    Event.RATE_USED_UP: {"is_advancing": False, "is_held_back": True},
    Event.RATE_ALLOWS: {"is_advancing": True, "is_held_back": False},
    Event.HOLD: {"is_on_hold": True, "is_held_back": False, "is_lagging": False, "has_room": True},
    Event.RESUME: {"is_on_hold": False},
    Event.LOST: {"sends_no_more": True},
    Event.DEPARTED: {"has_departed": True},
    Event.WIRE_CLOSED: {"is_closed": True},
    Event.MOVED: {"has_departed": True, "is_closed": True},
}
"""What each event makes so, as long as the client sends."""


def changed(facts: Facts, event: Event) -> Facts:
    """The facts after an event: once nothing is read any more, only the end of it all makes a difference."""
    is_over = facts.sends_no_more or facts.has_departed or facts.is_closed
    if is_over and event not in (Event.LOST, Event.DEPARTED, Event.WIRE_CLOSED):
        return facts
    made = CHANGES[event]
    if event is Event.RESUME and not facts.is_library_busy:
        made = {**made, "is_lagging": True}  # it goes on in its turn
    elif facts.is_on_hold and made.get("is_advancing"):
        made = {**made, "is_advancing": False}
    return replace(facts, **made)


def state_of(facts: Facts) -> State:
    """The one state in which all this is so."""
    if facts.has_departed:
        return State.GONE if facts.is_closed else State.ENDED
    if facts.is_closed:
        return State.DESERTED
    if facts.sends_no_more:
        return State.LAST_WORDS
    reasons = (facts.is_library_busy, facts.is_held_back, facts.is_lagging, facts.is_advancing, not facts.has_room)
    assert sum(reasons) <= 1, facts
    if facts.is_on_hold:
        return State.ON_HOLD_IN_LIBRARY if facts.is_library_busy else State.ON_HOLD
    if facts.is_held_back:
        return State.HELD_BACK
    if facts.is_library_busy:
        return State.IN_LIBRARY
    if facts.is_lagging:
        return State.LAGGING
    if facts.is_advancing:
        return State.ADVANCING
    return State.READING if facts.has_room else State.CROWDED


@given(st.lists(st.sampled_from(Event), max_size=40))
def test_whatever_happens_what_is_so_is_one_state(happens: list[Event]) -> None:
    state, facts = State.READING, Facts()
    for event in happens:
        try:
            state = after(CONVERSATION_TRANSITIONS, state, event)
        except ImpossibleEventError:
            continue
        facts = changed(facts, event)
        assert state is state_of(facts)


@pytest.mark.parametrize(("state", "event"), CELLS, ids=lambda cell: cell.name)
def test_every_cell_of_a_conversation(state: State, event: Event) -> None:
    following = CONVERSATION_TRANSITIONS[state][event]
    if following is None:
        with pytest.raises(ImpossibleEventError, match=f"{event} can't happen in {state}"):
            after(CONVERSATION_TRANSITIONS, state, event)
        return
    assert after(CONVERSATION_TRANSITIONS, state, event) is following
    if state in OVER:
        assert following in OVER
    if state in DEPARTED:
        assert following in DEPARTED
    # Frames are dealt with in one place, which only what ends a wait can enter.
    if following is State.ADVANCING:
        starts = {Event.ARRIVED, Event.ROOM, Event.TURN, Event.LIBRARY_DONE, Event.RATE_ALLOWS}
        assert state not in OVER
        assert event in starts
    assert following is not state or state in OVER or state in HOLDS
    # Only what ends a hold lets a client on hold be read.
    if state in HOLDS and following not in OVER:
        assert following in HOLDS or event is Event.RESUME


def test_nothing_but_these_cells() -> None:
    assert {(state, event) for state, row in CONVERSATION_TRANSITIONS.items() for event in row} == set(CELLS)
    cells = set(itertools.product(WireState, WireEvent))
    assert {(state, event) for state, row in WIRE_TRANSITIONS.items() for event in row} == cells


def test_every_state_is_reached_and_leads_to_the_end() -> None:
    reached, waiting = {State.READING}, [State.READING]
    while waiting:
        for following in CONVERSATION_TRANSITIONS[waiting.pop()].values():
            if following is not None and following not in reached:
                reached.add(following)
                waiting.append(following)
    assert reached == set(State)
    for state in set(State) - DEPARTED:
        departed = after(CONVERSATION_TRANSITIONS, state, Event.DEPARTED)
        closed = departed if state is State.DESERTED else after(CONVERSATION_TRANSITIONS, departed, Event.WIRE_CLOSED)
        assert closed is State.GONE


@pytest.mark.parametrize(("state", "event"), list(itertools.product(WireState, WireEvent)), ids=lambda cell: cell.name)
def test_every_cell_of_a_wire(state: WireState, event: WireEvent) -> None:
    order = list(WireState)
    following = WIRE_TRANSITIONS[state][event]
    if following is None:
        with pytest.raises(ImpossibleEventError):
            after(WIRE_TRANSITIONS, state, event)
    else:
        assert order.index(following) > order.index(state) or state is following is WireState.CLOSED
