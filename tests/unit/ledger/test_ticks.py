"""What ticks tell."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.counters import CHAIN_SECONDS, Histogram
from fws_pipe.ledger.ticks import FINDINGS, FIRST, Finding, Returning, Ticks


def test_every_finding_in_every_state_leads_somewhere() -> None:
    assert set(FINDINGS) == set(itertools.product(Returning, Finding))


def test_a_tick_that_comes_back_ends_all_doubt() -> None:
    assert {FINDINGS[state, Finding.COMES_BACK] for state in Returning} == {Returning.RETURNS}


@given(st.lists(st.sampled_from(["back", "give up", "run"])))
def test_ticks_are_never_both_returned_and_swallowed(happenings: list[str]) -> None:
    ticks = Ticks(Histogram(CHAIN_SECONDS))
    happen: dict[str, Callable[[], None]] = {
        "back": partial(ticks.note_back, FIRST),
        "give up": ticks.give_up,
        "run": ticks.begin_run,
    }
    for happening in happenings:
        happen[happening]()
        assert not (ticks.are_returned and ticks.are_swallowed)
    assert ticks.are_returned == ("back" in happenings)
    assert ticks.are_swallowed == ("give up" in happenings and "back" not in happenings)
    assert ticks.ready.is_set() == (bool(happenings) and happenings[-1] != "run")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 100))))
def test_numbers_only_rise(seen: list[tuple[bool, int]]) -> None:
    ticks = Ticks(Histogram(CHAIN_SECONDS))
    for is_done, seq in seen:
        before = ticks.settled, ticks.done
        (ticks.note_done if is_done else ticks.settle)(seq)
        assert ticks.settled >= before[0]
        assert ticks.done >= before[1]
    assert ticks.done == max([seq for is_done, seq in seen if is_done], default=0) or ticks.done == FIRST


def test_a_chain_that_owes_a_tick_hangs_unless_it_shows_life() -> None:
    owed: list[int | None] = [None]

    async def main() -> float:
        ticks = Ticks(Histogram(CHAIN_SECONDS))
        ticks.note_back(FIRST)

        async def show_life() -> None:
            await trio.sleep(30)
            owed[0] = 7
            await trio.sleep(5)
            ticks.note_life()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(show_life)
            await ticks.wait_stalled(10, lambda: owed[0])
        return trio.current_time()

    begin = trio.testing.MockClock(autojump_threshold=0)
    took = trio.run(main, clock=begin)
    # Nothing is owed for 30 s, a sign of life comes 5 s later, and then there is silence; a check comes every second.
    assert 44 <= took <= 47


def test_the_way_round_is_counted_for_each_tick_but_not_of_a_chain_that_swallows_them() -> None:
    way_round = Histogram((1000.0,))
    ticks = Ticks(way_round)
    for seq in (3, 5, 9):
        ticks.note_written(seq)
    assert ticks.oldest_age_s > 0
    ticks.note_back(5)
    assert way_round.buckets == [2, 0]
    ticks.note_back(9)
    assert (way_round.buckets, ticks.oldest_age_s) == ([3, 0], 0.0)
    swallowing = Ticks(way_round)
    swallowing.note_written(3)
    swallowing.give_up()
    swallowing.note_written(5)
    swallowing.note_back(5)
    assert (way_round.buckets, swallowing.oldest_age_s) == ([3, 0], 0.0)
