"""Who is to blame: only an event that was alone at three deaths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.front.suspicion import DEATHS_ALONE, Introductions, Suspicion, Verdict


def test_one_death_is_no_reason_for_suspicion_and_a_second_one_at_the_same_place_is() -> None:
    suspicion = Suspicion()
    assert suspicion.judge(5, 10) is Verdict.REPLAY
    assert suspicion.judge(5, 12) is Verdict.BE_CAREFUL
    assert suspicion.judge(6, 12) is Verdict.REPLAY


def test_an_event_that_was_alone_at_three_deaths_is_skipped() -> None:
    suspicion = Suspicion()
    verdicts = [suspicion.judge(5, count) for count in (10, 9, 1, 1, 1)]
    assert verdicts == [Verdict.REPLAY, Verdict.BE_CAREFUL, Verdict.BE_CAREFUL, Verdict.BE_CAREFUL, Verdict.SKIP]


def test_deaths_in_company_between_do_not_clear_it() -> None:
    suspicion = Suspicion()
    assert [suspicion.judge(5, count) for count in (1, 3, 1, 3, 1)][-1] is Verdict.SKIP


def test_a_chain_that_dies_without_events_blames_nobody() -> None:
    suspicion = Suspicion()
    assert {suspicion.judge(None, 0) for _ in range(10)} == {Verdict.REPLAY}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2)), max_size=30))
def test_nobody_is_skipped_without_three_deaths_alone(deaths: list[tuple[int, int]]) -> None:
    suspicion = Suspicion()
    alone = dict.fromkeys(range(4), 0)
    for oldest, count in deaths:
        alone[oldest] += count == 1
        if suspicion.judge(oldest, count) is Verdict.SKIP:
            assert count == 1
            assert alone[oldest] >= DEATHS_ALONE
            alone[oldest] = 0


def test_the_client_that_is_at_hand_at_three_deaths_is_left_out() -> None:
    introductions = Introductions()
    assert introductions.judge(is_over=False) is None
    assert introductions.is_careful
    for _ in range(2):
        introductions.at_hand = "a"
        assert introductions.judge(is_over=False) is None
    introductions.at_hand = "b"
    assert introductions.judge(is_over=False) is None
    introductions.at_hand = "a"
    assert introductions.judge(is_over=False) == "a"
    assert introductions.judge(is_over=True) is None
    assert not introductions.is_careful
