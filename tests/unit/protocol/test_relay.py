"""What servers pass each other: the same action on the other side, gaps counted, nonsense ignored."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.protocol.relay import Relayed, RelayReceiver, RelaySender

SEND = {"type": "send", "to": "*", "except": "a-1", "data": "hello"}

OTHER_ACTIONS: list[dict[str, object]] = [
    {"type": "accept", "id": "b-1"},
    {"type": "close", "to": "*"},
    {"type": "join", "id": "b-1", "group": "admins"},
    {"type": "publish", "channel": "c", "data": "x"},
]
"""Right ones, but not for servers to pass each other."""


def test_an_action_arrives_without_what_was_for_the_sender_alone() -> None:
    message = RelaySender("a").wrap({**SEND, "everywhere": True, "seq": 7})
    assert RelayReceiver("b").unwrap(message) == Relayed(SEND, 0)


def test_our_own_are_not_carried_out_twice() -> None:
    assert RelayReceiver("a").unwrap(RelaySender("a").wrap(SEND)) is None


def test_gaps_are_counted_for_each_server_and_run() -> None:
    receiver = RelayReceiver("z")
    first, second = RelaySender("a"), RelaySender("b")
    messages = [first.wrap(SEND) for _ in range(5)]
    missed = [receiver.unwrap(message) for message in (messages[1], second.wrap(SEND), messages[4])]
    # What came before the first that is heard is nobody's loss: this server may be new.
    assert [relayed and relayed.missed for relayed in missed] == [0, 0, 2]
    again = RelaySender("a")
    again.wrap(SEND)
    relayed = receiver.unwrap(again.wrap(SEND))
    assert relayed is not None
    assert relayed.missed == 0


@pytest.mark.parametrize(
    "relay",
    [
        {"type": "relay"},
        {"type": "relay", "origin": "a", "run": "r", "number": 1, "action": {"type": "send", "to": 5, "data": "x"}},
        {"type": "relay", "origin": "a", "run": "r", "number": 1, "action": {"type": "unknown"}},
        {"type": "relay", "origin": "a", "run": "r", "number": True, "action": SEND},
        {"type": "relay", "origin": 1, "run": "r", "number": 1, "action": SEND},
        *({"type": "relay", "origin": "a", "run": "r", "number": 1, "action": action} for action in OTHER_ACTIONS),
        ["relay"],
        5,
    ],
)
def test_what_is_no_relayed_action_is_ignored(relay: object) -> None:
    assert RelayReceiver("b").unwrap(msgpack.packb(relay)) is None


@given(st.binary())
def test_any_bytes_are_ignored_or_an_action(message: bytes) -> None:
    """Nothing is raised, whoever may have published it."""
    relayed = RelayReceiver("b").unwrap(message)
    assert relayed is None or relayed.action["type"]
