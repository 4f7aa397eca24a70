"""A client as one that sends: how much of that the chain may have, and when it is held."""

from __future__ import annotations

import pytest

from fws_pipe.clients.client import Client
from fws_pipe.clients.sender import ALL_UNDER_WAY_LIMIT, FEW_UNDER_WAY, UNDER_WAY_LIMIT, Load
from fws_pipe.websocket.outbox import Outbox
from tests.unit.clients.recording_wire import Wire


def send_all_that_it_may(client: Client, size: int) -> int:
    count = 0
    while not client.must_wait(size):
        client.charge(size, 1)
        count += 1
    return count


@pytest.mark.parametrize("factor", [1, 3, 10, 100])
def test_what_is_under_way_is_fitted_to_the_length_of_the_replies(factor: int) -> None:
    share, size = 500_000, 1000
    wire = Wire()
    wire.outbox = Outbox(2 * share)
    client = Client("a", wire, share)  # type: ignore[arg-type]
    peaks = []
    for _ in range(20):
        count = send_all_that_it_may(client, size)
        assert count
        for _ in range(count):
            wire.outbox.append_own(b"x" * size * factor)
        peaks.append(wire.outbox.size)
        for _ in range(count):
            client.discharge(size, 1)
        while wire.outbox:
            wire.outbox.advance(len(wire.outbox.next_bytes()))
    assert peaks[0] <= 65536 * factor
    assert max(peaks[5:]) <= max(2 * share, 2 * size * factor)
    assert min(peaks[10:]) >= min(share // 4, size * factor)


def test_others_messages_do_not_hold_a_client() -> None:
    wire = Wire()
    client = Client("a", wire, 500)  # type: ignore[arg-type]
    wire.outbox.append_others(b"x" * 900)
    assert not client.must_wait(500)
    wire.outbox.append_own(b"x" * 500)
    assert client.must_wait(1)
    assert client.budget == 0


def test_each_client_may_have_a_few_events_in_the_chain_when_all_together_have_too_many() -> None:
    load = Load()
    greedy = [Client(f"{number}", Wire(), 10**6, load) for number in range(8)]  # type: ignore[arg-type]
    for client in greedy:
        send_all_that_it_may(client, 1)
    assert ALL_UNDER_WAY_LIMIT - UNDER_WAY_LIMIT < load.events <= ALL_UNDER_WAY_LIMIT + UNDER_WAY_LIMIT
    late = Client("late", Wire(), 10**6, load)  # type: ignore[arg-type]
    load.events = ALL_UNDER_WAY_LIMIT
    assert send_all_that_it_may(late, 1) == FEW_UNDER_WAY
    late.discharge(FEW_UNDER_WAY, FEW_UNDER_WAY)
    assert late.count_budget == FEW_UNDER_WAY


def test_a_client_that_is_held_hears_of_room_and_one_that_is_not_does_not() -> None:
    told: list[bool] = []
    client = Client("a", Wire(), 1000)  # type: ignore[arg-type]

    class Held:
        def try_to_go_on(self) -> None:
            told.append(client.must_wait(1))

    client.charge(1000, 1)
    client.discharge(500, 0)
    assert told == []
    client.hold(Held())
    client.discharge(250, 0)
    client.let_go()
    client.discharge(250, 1)
    assert told == [False]
