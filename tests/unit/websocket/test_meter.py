"""What one client may send."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.websocket.meter import Meter, Pace, ends_of_messages
from fws_pipe.websocket.rates import Rate
from tests.e2e.raw import BINARY, PING, frame

payloads = st.lists(st.tuples(st.binary(max_size=300), st.sampled_from([BINARY, PING, 0])), max_size=20)


@given(payloads, st.integers(0, 25) | st.just(math.inf), st.integers(0, 3000) | st.just(math.inf), st.integers(0, 10))
def test_the_messages_that_are_counted_stop_at_the_first_frame_that_is_none(
    payloads: list[tuple[bytes, int]], most: float, size: float, cut: int
) -> None:
    frames = [frame(payload[: 125 if opcode == PING else None], opcode) for payload, opcode in payloads]
    whole = b"".join(frames)
    block = whole[: len(whole) - cut]
    ends = ends_of_messages(b"before" + block, 6, most, size)
    opcodes = [opcode for _, opcode in payloads]
    messages = next((number for number, opcode in enumerate(opcodes) if opcode != BINARY), len(frames))
    sizes = [len(each) for each in frames[:messages]]
    expected = [6 + sum(sizes[: number + 1]) for number in range(messages)]
    allowed = [
        end
        for number, end in enumerate(expected)
        if end - 6 <= len(block) and number < most and sum(sizes[:number]) < size
    ]
    assert ends == allowed


def test_a_large_frame_is_allowed_and_paid_for_afterwards() -> None:
    meter = Meter(Pace(bytes=Rate(1000)), now=0.0)
    assert meter.may_send(0.0)
    meter.charge(1, 5000)
    assert not meter.may_send(3.9)
    assert 0 < meter.wait_s() < 0.2
    assert meter.may_send(4.1)


def test_both_rates_hold() -> None:
    meter = Meter(Pace(frames=Rate(2), bytes=Rate(1000)), now=0.0)
    meter.charge(2, 10)
    assert not meter.may_send(0.0)
    assert meter.may_send(0.5)
    meter.charge(1, 5000)
    assert not meter.may_send(1.0)


def test_without_a_rate_it_only_knows_the_time() -> None:
    meter = Meter(Pace(), now=7.0)
    assert not meter.is_limited
    meter.charge(10**9, 10**12)
    assert meter.may_send(7.0)
    assert meter.wait_s() == 0
    assert meter.last_message == 7.0


@given(st.integers(1, 50), st.integers(0, 200), st.integers(0, 5000), st.floats(0, 100), st.floats(0, 100))
def test_a_meter_goes_on_where_that_of_another_server_has_stopped(
    amount: int, frames: int, size: int, now: float, other_now: float
) -> None:
    pace = Pace(frames=Rate(amount), bytes=Rate(1000))
    meter, other = Meter(pace, now=0.0), Meter(pace, now=other_now)
    meter.room(now)
    meter.charge(frames, size)
    other.restore(meter.exported(now), other_now)
    assert other.room(other_now) == pytest.approx(meter.room(now), abs=0.01)
    assert other_now - other.last_message == pytest.approx(now - meter.last_message)
