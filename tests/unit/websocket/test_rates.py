"""Rates and the token bucket, against what a bucket may never do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.config.options import parse_byte_rate, parse_rate
from fws_pipe.websocket.rates import Rate, TokenBucket

rates = st.builds(Rate, st.integers(1, 10**6), st.sampled_from([1.0, 60.0, 3600.0]))
steps = st.lists(st.tuples(st.floats(0, 1000, allow_subnormal=False), st.integers(1, 1000)), max_size=50)


@given(rates, steps)
def test_no_more_is_taken_than_the_rate_gives_and_one_bucketful_and_one_taking(
    rate: Rate, steps: list[tuple[float, int]]
) -> None:
    bucket = TokenBucket(rate, 0.0)
    now, taken = 0.0, 0
    for pause, amount in steps:
        now += pause
        if bucket.left(now) >= 1:
            bucket.spend(amount)
            taken += amount
            assert taken <= rate.amount + rate.per_second * now + amount + 0.01
        assert bucket.left(now) <= rate.amount + 0.01


@given(rates, st.integers(1, 10**7))
def test_after_the_wait_there_is_a_token_and_before_it_there_is_none(rate: Rate, amount: int) -> None:
    bucket = TokenBucket(rate, 0.0)
    bucket.spend(amount)
    wait = bucket.wait_s(1.0)
    if wait:
        assert bucket.left(wait * 0.9) < 1
    assert bucket.left(wait * 1.0000001) >= 1
    assert bucket.wait_s(1.0) == 0


@given(rates, st.floats(0, 10**6), steps)
def test_one_wait_is_enough_however_floats_round(rate: Rate, now: float, steps: list[tuple[float, int]]) -> None:
    bucket = TokenBucket(rate, now)
    for pause, amount in steps:
        now += pause
        if bucket.left(now) >= 1:
            bucket.spend(amount)
        if bucket.left(now) < 1:
            now += bucket.wait_s(1.0)
            assert bucket.left(now) >= 1


@given(rates, st.integers(1, 100))
def test_whoever_keeps_to_the_rate_never_waits(rate: Rate, count: int) -> None:
    bucket = TokenBucket(rate, 0.0)
    for number in range(count):
        assert bucket.left(number / rate.per_second) >= 1
        bucket.spend(1)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("100", Rate(100)), ("100/s", Rate(100)), (" 6000 / m ", Rate(6000, 60.0)), ("1/h", Rate(1, 3600.0)), ("0", None)],
)
def test_what_is_a_rate(text: str, rate: Rate | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "/s", "-1", "1/d", "1.5", "1//s", "1/s/s", "9" * 20, "64K"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="expected a rate"):
        parse_rate(text)


def test_bytes_take_units() -> None:
    assert parse_byte_rate("64K/s") == parse_byte_rate("65536") == Rate(65536)
    assert parse_byte_rate("10M/m") == Rate(10 * 1024**2, 60.0)
    with pytest.raises(ValueError, match="in bytes"):
        parse_byte_rate("10X/m")
