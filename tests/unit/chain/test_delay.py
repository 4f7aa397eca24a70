"""Which stage events wait for, and when people are told."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.chain.delay import CHECK_S, REPEAT_S, TOLD_AFTER_S, Delay, brake_of, stage_waited_for

samples = st.integers(1, 5).flatmap(
    lambda stages: st.lists(st.lists(st.integers(0, 3), min_size=stages, max_size=stages), min_size=1, max_size=4)
)


@pytest.mark.parametrize(
    ("waiting", "stage"),
    [
        ([[9, 9, 0], [9, 9, 0]], 1),
        ([[9, 0, 0], [9, 0, 4]], 0),
        ([[9, 0, 4], [9, 0, 0], [9, 0, 4]], 0),
        ([[0, 0, 0], [0, 4, 0]], 1),
        ([[9, 9, 9]], 2),
        ([[5, 0, 5], [0, 0, 0]], None),
    ],
)
def test_the_last_stage_that_leaves_its_input_unread(waiting: list[list[int]], stage: int | None) -> None:
    assert stage_waited_for(waiting) == stage


@pytest.mark.parametrize(
    ("shares", "brake"),
    [
        ([0, 0, 0, 0], None),
        ([0], None),
        ([0.3], 0),
        ([0, 1.0, 0.95, 0], 2),
        ([0, 1.0, 0, 0.01], 1),
        ([0, 0, 0.002, 0], 2),
        ([0.9, 1.0, 1.0, 1.0], 0),
        ([0.01, 1.0, 0.6, 0.01], 2),
    ],
)
def test_the_brake_is_the_last_of_those_whose_input_is_full_and_the_front_reads_what_comes_out(
    shares: list[float], brake: int | None
) -> None:
    assert brake_of(shares) == brake


@given(samples)
def test_a_stage_that_is_named_has_something_to_read(waiting: list[list[int]]) -> None:
    stage = stage_waited_for(waiting)
    assert (stage is None) == (not any(waiting[-1]))
    assert stage is None or waiting[-1][stage]


def told_at(ticks: Sequence[tuple[int | None, int]]) -> tuple[list[float], list[float]]:
    """When people are told at these checks that events are late, and that it is over, in seconds."""
    delay = Delay()
    beginnings, ends = [], []
    for number, (awaited, written) in enumerate(ticks):
        delay.check(awaited, written)
        if delay.take_beginning():
            beginnings.append(number * CHECK_S)
        if delay.take_end():
            ends.append(number * CHECK_S)
    return beginnings, ends


def checks(seconds: float) -> int:
    return int(seconds / CHECK_S)


def test_told_after_a_second_then_seldom_and_when_it_is_over() -> None:
    beginnings, ends = told_at([(1, 1)] * checks(25) + [(None, 1)])
    assert beginnings == [TOLD_AFTER_S, TOLD_AFTER_S + REPEAT_S, TOLD_AFTER_S + 2 * REPEAT_S]
    assert ends == [25.0]


def test_a_chain_that_returns_each_tick_in_time_is_never_told_of() -> None:
    assert told_at([(number, number) for number in range(checks(60))]) == ([], [])
    assert told_at([(number, number + checks(0.5)) for number in range(checks(60))]) == ([], [])
    assert told_at([(None, 1)] * checks(60)) == ([], [])


def test_a_chain_that_returns_ticks_all_the_time_but_late_is_told_of_until_it_keeps_up() -> None:
    late = [(number, number + checks(5)) for number in range(checks(30))]
    quick = [(number, number) for number in range(checks(40), checks(50))]
    beginnings, ends = told_at(late + quick)
    assert beginnings[0] == TOLD_AFTER_S
    assert len(beginnings) == 3
    assert len(ends) == 1
    assert ends[0] >= 30


@given(st.lists(st.tuples(st.none() | st.integers(0, 20), st.integers(0, 20)), max_size=400))
def test_whatever_a_chain_does_the_log_stays_readable(ticks: list[tuple[int | None, int]]) -> None:
    beginnings, ends = told_at(ticks)
    assert all(later - earlier >= REPEAT_S for earlier, later in pairwise(beginnings))
    assert len(ends) <= len(beginnings)


def test_a_new_run_has_no_end_to_tell() -> None:
    delay = Delay()
    for _ in range(checks(2)):
        delay.check(1, 1)
    assert delay.take_beginning()
    delay.begin()
    delay.check(None, 1)
    assert not delay.take_end()
