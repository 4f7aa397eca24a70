"""The life of a chain: every cell of its table, and when a dead one is started again."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.chain.lifecycle import (
    FAILED_STARTS_LIMIT,
    FINAL,
    RUNNING,
    TRANSITIONS,
    Event,
    RestartPolicy,
    State,
)

CELLS = list(itertools.product(State, Event))

GRAVER = {
    State.DOWN: 0,
    State.STARTING: 1,
    State.UP: 2,
    State.DYING: 3,
    State.YIELDING: 3,
    State.DRAINING: 4,
    State.FAILED: 5,
    State.STOPPED: 5,
}
"""A life goes up these steps; only the end of the last process takes it back to the first."""


@pytest.mark.parametrize(("state", "event"), CELLS, ids=lambda cell: cell.name)
def test_every_cell(state: State, event: Event) -> None:
    after = TRANSITIONS[state][event]
    if state in FINAL:
        assert after is state
    elif event is Event.GONE:
        # Nobody starts a chain again that was asked to stop.
        assert after is (State.STOPPED if state is State.DRAINING else State.DOWN)
    elif event is Event.GIVEN_UP:
        assert after is (State.STOPPED if state is State.DRAINING else State.FAILED)
    else:
        assert GRAVER[after] >= GRAVER[state]
        # Only a start starts anything, and only what runs can serve or die.
        assert after not in RUNNING or state in RUNNING or event is Event.DUE
        assert after is not State.UP or event in (Event.SERVES, Event.SILENT) or state is State.UP
        assert after not in (State.DYING, State.YIELDING) or state in RUNNING or state is after
        assert after is not State.YIELDING or event is Event.REPLACE or state is after
    if event is Event.STOP:
        assert after in (State.STOPPED, State.DRAINING, State.FAILED)


def test_nothing_but_these_cells() -> None:
    assert {(state, event) for state, row in TRANSITIONS.items() for event in row} == set(CELLS)


@given(st.lists(st.sampled_from(Event)))
def test_whatever_has_happened_a_stop_and_the_end_of_the_last_process_end_it(events: list[Event]) -> None:
    state = State.DOWN
    for event in [*events, Event.STOP, Event.GONE]:
        state = TRANSITIONS[state][event]
    assert state in FINAL


def test_a_chain_that_had_served_starts_again_at_once() -> None:
    policy = RestartPolicy()
    assert policy.delay_after(served=True, started=0.0, died=0.1) == 0.0


def test_one_that_lives_for_a_moment_only_again_and_again_starts_later_each_time() -> None:
    policy = RestartPolicy()
    delays = [policy.delay_after(served=True, started=0.0, died=0.1) for _ in range(9)]
    assert delays == [0.0, 0.0, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0]
    assert policy.delay_after(served=True, started=0.0, died=5.0) == 0.0
    assert policy.delay_after(served=True, started=0.0, died=0.1) == 0.0


def test_one_that_had_not_starts_at_most_once_a_second() -> None:
    policy = RestartPolicy()
    assert policy.delay_after(served=False, started=10.0, died=10.25) == 0.75
    assert policy.delay_after(served=False, started=11.0, died=15.0) == 0.0


def test_five_failed_starts_in_a_row_are_enough() -> None:
    policy = RestartPolicy()
    delays = [policy.delay_after(served=False, started=0.0, died=5.0) for _ in range(FAILED_STARTS_LIMIT)]
    assert delays == [0.0, 0.0, 0.0, 0.0, None]


def test_having_served_starts_the_count_anew() -> None:
    policy = RestartPolicy()
    for _ in range(20):
        for _ in range(FAILED_STARTS_LIMIT - 1):
            assert policy.delay_after(served=False, started=0.0, died=5.0) is not None
        assert policy.delay_after(served=True, started=0.0, died=5.0) == 0.0
