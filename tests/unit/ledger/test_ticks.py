"""What ticks tell."""

from __future__ import annotations

import itertools

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.ledger.ticks import FINDINGS, FIRST, Finding, Returning, Ticks


def test_every_finding_in_every_state_leads_somewhere() -> None:
    assert set(FINDINGS) == set(itertools.product(Returning, Finding))


def test_a_tick_that_comes_back_ends_all_doubt() -> None:
    assert {FINDINGS[state, Finding.COMES_BACK] for state in Returning} == {Returning.RETURNS}


@given(st.lists(st.sampled_from(["back", "give up", "run"])))
def test_ticks_are_never_both_returned_and_swallowed(happenings: list[str]) -> None:
    ticks = Ticks()
    for happening in happenings:
        {"back": ticks.note_back, "give up": ticks.give_up, "run": ticks.begin_run}[happening]()
        assert not (ticks.are_returned and ticks.are_swallowed)
    assert ticks.are_returned == ("back" in happenings)
    assert ticks.are_swallowed == ("give up" in happenings and "back" not in happenings)
    assert ticks.ready.is_set() == (bool(happenings) and happenings[-1] != "run")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 100))))
def test_numbers_only_rise(seen: list[tuple[bool, int]]) -> None:
    ticks = Ticks()
    for is_done, seq in seen:
        before = ticks.settled, ticks.done
        (ticks.note_done if is_done else ticks.settle)(seq)
        assert ticks.settled >= before[0]
        assert ticks.done >= before[1]
    assert ticks.done == max([seq for is_done, seq in seen if is_done], default=0) or ticks.done == FIRST


def test_a_chain_that_owes_a_tick_hangs_unless_it_shows_life() -> None:
    owed: list[int | None] = [None]

    async def main() -> float:
        ticks = Ticks()
        ticks.note_back()

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
