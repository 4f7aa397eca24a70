"""When a dead chain is started again."""

from __future__ import annotations

from fws_pipe.pipeline.lifecycle import FAILED_STARTS_LIMIT, RestartPolicy


def test_a_chain_that_had_served_starts_again_at_once() -> None:
    policy = RestartPolicy()
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
