"""The phases of a feed: every cell of their table, against facts that are kept apart."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.ledger.phases import TRANSITIONS, Phase, PhaseEvent
from fws_pipe.websocket.states import ImpossibleEventError, after

CELLS = list(itertools.product(Phase, PhaseEvent))


@dataclass(frozen=True)
class Facts:
    """What is so for a feed, as independent facts."""

    runs: bool = False
    is_introduced: bool = True
    is_replayed: bool = False
    is_finishing: bool = False


CHANGES: dict[PhaseEvent, dict[str, bool]] = {
    PhaseEvent.BEGINS: {"runs": True, "is_introduced": False, "is_replayed": False, "is_finishing": False},
    PhaseEvent.INTRODUCED: {"is_introduced": True},
    PhaseEvent.REPLAYED: {"is_replayed": True},
    PhaseEvent.FINISH: {"is_finishing": True},
    PhaseEvent.ENDS: {"runs": False},
    PhaseEvent.RESTARTS: {"is_introduced": True},
}


def may_be(facts: Facts, event: PhaseEvent) -> bool:
    """Whether this can happen where all this is so."""
    match event:
        case PhaseEvent.BEGINS:
            return not facts.runs and facts.is_introduced
        case PhaseEvent.RESTARTS:
            return not facts.runs
        case PhaseEvent.FINISH:
            return True
        case PhaseEvent.INTRODUCED:
            return facts.runs and (facts.is_finishing or not facts.is_replayed)
        case PhaseEvent.REPLAYED:
            return facts.runs and (facts.is_finishing or (facts.is_introduced and not facts.is_replayed))
        case PhaseEvent.ENDS:
            return facts.runs


def changed(facts: Facts, event: PhaseEvent) -> Facts:
    """The facts after an event: what ends because it was asked to ends well."""
    if event is PhaseEvent.ENDS and facts.is_finishing:
        return replace(facts, runs=False, is_introduced=True)
    return replace(facts, **CHANGES[event])


def phase_of(facts: Facts) -> Phase:
    """The one phase in which all this is so."""
    if not facts.runs:
        return Phase.RESTING if facts.is_introduced else Phase.CUT_OFF
    if facts.is_finishing:
        return Phase.FINISHING
    if not facts.is_introduced:
        return Phase.INTRODUCING
    return Phase.FLOWING if facts.is_replayed else Phase.REPLAYING


@given(st.lists(st.sampled_from(PhaseEvent), max_size=40))
def test_whatever_happens_what_is_so_is_one_phase(happens: list[PhaseEvent]) -> None:
    phase, facts = Phase.RESTING, Facts()
    for event in happens:
        if may_be(facts, event):
            phase, facts = after(TRANSITIONS, phase, event), changed(facts, event)
            assert phase is phase_of(facts)
        else:
            with pytest.raises(ImpossibleEventError):
                after(TRANSITIONS, phase, event)


def test_nothing_but_these_cells() -> None:
    assert {(phase, event) for phase, row in TRANSITIONS.items() for event in row} == set(CELLS)


def test_every_phase_is_reached_and_leads_back_to_rest() -> None:
    ways: dict[Phase, list[PhaseEvent]] = {Phase.RESTING: []}
    waiting = [Phase.RESTING]
    while waiting:
        phase = waiting.pop(0)
        for event, following in TRANSITIONS[phase].items():
            if following is not None and following not in ways:
                ways[following] = [*ways[phase], event]
                waiting.append(following)
    assert ways.keys() == set(Phase)
    for phase in Phase:
        ended = phase if phase in (Phase.RESTING, Phase.CUT_OFF) else after(TRANSITIONS, phase, PhaseEvent.ENDS)
        assert after(TRANSITIONS, ended, PhaseEvent.RESTARTS) is Phase.RESTING


@pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.name)
def test_only_a_chain_that_dies_while_it_is_introduced_is_cut_off(phase: Phase) -> None:
    ended = TRANSITIONS[phase][PhaseEvent.ENDS]
    assert (ended is Phase.CUT_OFF) == (phase is Phase.INTRODUCING)
