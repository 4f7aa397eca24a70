"""Who is to blame: only an event that was alone at three deaths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.ledger.blame import DEATHS_ALONE, DEATHS_IN_COMPANY, Blame, Introductions, Remedy


def test_a_second_death_before_all_is_through_that_was_in_the_chain_at_the_first_is_reason_for_care() -> None:
    blame = Blame()
    assert blame.note_death(5, 20, 10) is Remedy.REPLAY
    assert blame.note_death(15, 30, 10) is Remedy.BE_CAREFUL
    assert blame.careful_until == 20, "what was in it both times"
    assert blame.note_death(21, 30, 10) is Remedy.REPLAY


def test_an_event_that_was_alone_at_three_deaths_is_skipped() -> None:
    blame = Blame()
    remedies = [blame.note_death(5, 4 + count, count) for count in (10, 9, 1, 1, 1)]
    assert remedies == [Remedy.REPLAY, Remedy.BE_CAREFUL, Remedy.BE_CAREFUL, Remedy.BE_CAREFUL, Remedy.SKIP]


def test_deaths_in_company_between_do_not_clear_it() -> None:
    blame = Blame()
    assert [blame.note_death(5, 4 + count, count) for count in (1, 3, 1, 3, 1)][-1] is Remedy.SKIP


def test_a_chain_that_dies_without_events_blames_nobody() -> None:
    blame = Blame()
    assert {blame.note_death(None, 0, 0) for _ in range(10)} == {Remedy.REPLAY}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2)), max_size=30))
def test_nobody_is_skipped_without_three_deaths_alone(deaths: list[tuple[int, int]]) -> None:
    blame = Blame()
    alone = dict.fromkeys(range(4), 0)
    for oldest, count in deaths:
        alone[oldest] += count == 1
        if blame.note_death(oldest, oldest + count - 1, count) is Remedy.SKIP:
            assert count == 1
            assert alone[oldest] >= DEATHS_ALONE
            alone[oldest] = 0


@given(st.integers(1, 200), st.data())
def test_however_far_each_run_gets_a_deadly_event_is_found_after_five_deaths(poison: int, data: st.DataObject) -> None:
    # A run gets any number of events through, and has read any number beyond the one that kills it. When it is to be
    # careful the events up to there are alone, each in its turn.
    blame = Blame()
    through = careful_until = 0
    for death in range(1, DEATHS_IN_COMPANY + DEATHS_ALONE + 1):
        through = poison - 1 if poison <= careful_until else data.draw(st.integers(through, poison - 1))
        newest = poison if poison <= careful_until else data.draw(st.integers(poison, poison + 100))
        remedy = blame.note_death(through + 1, newest, newest - through)
        if remedy is Remedy.SKIP:
            assert newest - through == 1
            return
        if remedy is Remedy.BE_CAREFUL:
            careful_until = max(careful_until, blame.careful_until)
        assert death < DEATHS_IN_COMPANY or poison <= careful_until
    raise AssertionError("it was not found")


def test_deaths_before_the_first_client_is_at_hand_blame_nobody() -> None:
    introductions = Introductions()
    assert {introductions.note_death(is_over=False) for _ in range(10)} == {None}


def test_the_client_that_is_at_hand_at_three_deaths_is_left_out() -> None:
    introductions = Introductions()
    assert introductions.note_death(is_over=False) is None
    assert introductions.is_careful
    for _ in range(2):
        introductions.at_hand = "a"
        assert introductions.note_death(is_over=False) is None
    introductions.at_hand = "b"
    assert introductions.note_death(is_over=False) is None
    introductions.at_hand = "a"
    assert introductions.note_death(is_over=False) == "a"
    assert introductions.note_death(is_over=True) is None
    assert not introductions.is_careful
