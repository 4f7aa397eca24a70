"""A short run of chaos, the same each time; `python -m tests.chaos` is the long one. And that it would notice."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.accounts import EVERYWHERE, OUTSIDE, Ending, Listener, Message, Sender, compose, find_problems, parse
from tests.chaos.campaign import chaos
from tests.chaos.faults import all_faults
from tests.chaos.redis_side import OUT_CHANNEL, GatedRedis, Subscriber
from tests.harness import PATIENCE_S, Servers
from tests.redis_servers import reason_missing


@pytest.mark.slow
def test_every_message_is_accounted_for(servers: Servers) -> None:
    if reason := reason_missing("valkey"):
        pytest.skip(reason)
    report = chaos(servers, seed=1, seconds=10.0, clients=50, rate=5.0)
    assert report.deaths > 0
    assert report.said > 0


def test_each_fault_has_a_name_of_its_own() -> None:
    names = [fault.name for fault in all_faults()]
    assert len(set(names)) == len(names)


class _BusySubscriber(Subscriber):
    """Reads nothing until it is asked for the last word."""

    def __init__(self) -> None:
        super().__init__()
        self._may_read = threading.Event()

    def _follow(self, client: Any, subscription: Any) -> None:
        assert self._may_read.wait(PATIENCE_S)
        super()._follow(client, subscription)

    def wait_last_word(self) -> None:
        self._may_read.set()
        super().wait_last_word()


def test_what_redis_has_executed_before_its_end_is_heard_by_a_subscriber_that_lags(tmp_path: Path) -> None:
    """More than the socket takes: Redis ends without writing the rest."""
    if reason := reason_missing("valkey"):
        pytest.skip(reason)
    subscriber = _BusySubscriber()
    with GatedRedis(tmp_path, subscriber) as server:
        with server.client().pipeline(transaction=True) as batch:
            for number in range(1, 5001):
                batch.publish(OUT_CHANNEL, compose(Message(1, number), "x" * 100))
            batch.execute()
        server.restart()
        assert subscriber.listener.last_of(1) == 5000
    assert subscriber.listener.problems == []


class Room:
    """Two who talk and listen, in room 7."""

    def __init__(self) -> None:
        self.senders = [Sender(1, 7), Sender(2, 7)]
        self.listeners = [Listener("a", 7, {}), Listener("b", 7, {})]

    def say(self, sender: int, *numbers: int, to: str = "ab") -> None:
        self.senders[sender - 1].said = max(numbers)
        for number in numbers:
            for listener in self.listeners:
                if listener.name in to:
                    listener.hear(compose(Message(sender, number), "padding"))

    def problems(self, deaths: int = 0) -> list[str]:
        return [problem.text for problem in find_problems(self.senders, self.listeners, deaths)]


def test_all_is_well() -> None:
    room = Room()
    room.say(1, 1, 2, 3)
    room.say(2, 1)
    assert room.problems() == []


def test_a_lost_message_is_noticed_at_the_beginning_in_between_and_at_the_end() -> None:
    room = Room()
    room.say(1, 1, to="a")
    room.say(1, 2)
    assert room.problems() == ["b missed messages 1 to 1 of 1"]
    room = Room()
    room.say(1, 1, 3)
    assert room.problems()[0] == "a heard message 3 of 1 after 1: those between are missing"
    room = Room()
    room.say(1, 1)
    room.say(1, 2, to="b")
    assert room.problems() == ["a missed messages 2 to 2 of 1, which is HERE"]
    room = Room()
    room.say(1, 1, to="")
    assert len(room.problems()) == 2


def test_a_message_may_come_twice_for_each_death_and_no_more() -> None:
    room = Room()
    room.say(1, 1, 1)
    assert room.problems(deaths=1) == []
    assert room.problems() == ["1 messages came twice, but the chain died 0 times: message 1 of 1"]
    room.say(1, 2, 1)
    assert room.problems(deaths=9) == [f"{name} heard message 1 of 1 after 2" for name in "ab"]


def test_of_who_was_reset_all_have_heard_the_same() -> None:
    room = Room()
    room.senders[0].ending = Ending.RESET
    room.say(1, 1, 2)
    room.senders[0].said = 5
    assert room.problems() == []
    room.say(1, 3, to="a")
    assert room.problems() == ["b missed messages 3 to 3 of 1, which is RESET"]
    room.senders[0].said = 2
    assert "1 has said 2 messages, and somebody heard 3" in room.problems()


def test_who_comes_later_is_owed_what_is_said_later_and_who_goes_what_was_said_before() -> None:
    room = Room()
    room.say(1, 1, 2, to="a")
    room.listeners[1].owed_from = {1: 2}
    room.say(1, 3)
    room.listeners[0].is_here = False
    room.say(1, 4, to="b")
    assert room.problems() == []
    room.listeners.append(Listener("c", 7))
    assert room.problems() == ["c is here and has never heard itself"] * 2


def test_a_listener_everywhere_hears_all_rooms_and_what_comes_from_outside_may_be_missed() -> None:
    room = Room()
    room.listeners = [Listener("redis", EVERYWHERE, {})]
    room.say(1, 1, to="")
    assert room.problems() == ["redis missed messages 1 to 1 of 1, which is HERE"]
    outside = Listener("a", 0, {})
    for number in (3, 7):
        outside.hear(compose(Message(OUTSIDE, number)))
    assert (outside.problems, outside.missed) == ([], 3)
    outside.hear(compose(Message(OUTSIDE, 5)))
    assert len(outside.problems) == 1


def test_damage_is_noticed() -> None:
    payload = compose(Message(12, 345), "some padding")
    assert parse(payload) == Message(12, 345)
    for damaged in (payload[:-1], payload.replace(b"345", b"346"), b"", b"zz 1 2 "):
        with pytest.raises(ValueError, match=r"checksum|literal"):
            parse(damaged)
    listener = Listener("a", 7, {})
    assert listener.hear(payload[:-1]) is None
    assert len(listener.problems) == 1
