"""What servers pass each other: the same action on the other side, gaps counted, nonsense ignored."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fws_pipe.broker.relay import MalformedRelayError, Relayed, RelayReceiver, RelaySender
from fws_pipe.protocol.codec import encode

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


@settings(max_examples=50)
@given(repeats=st.lists(st.integers(0, 9), max_size=20))
def test_what_is_published_again_arrives_once(repeats: list[int]) -> None:
    """A Redis that dies between delivering and confirming gets the last publishes of a run a second time."""
    receiver, sender = RelayReceiver("z"), RelaySender("a")
    messages = [sender.wrap({**SEND, "data": str(number)}) for number in range(10)]
    heard = []
    for number in range(10):
        for again in (number, *(other for other in repeats if other <= number)):
            if relayed := receiver.unwrap(messages[again]):
                heard.append((relayed.action["data"], relayed.missed))
    assert heard == [(str(number), 0) for number in range(10)]


@pytest.mark.parametrize(
    "relay",
    [
        {"type": "relay"},
        {"type": "relay", "origin": "a", "run": "r", "number": 1, "action": {"type": "send", "to": 5, "data": "x"}},
        {"type": "relay", "origin": "a", "run": "r", "number": 1, "action": {"type": "unknown"}},
        {"type": "relay", "origin": "a", "run": "r", "number": True, "action": SEND},
        {"type": "relay", "origin": 1, "run": "r", "number": 1, "action": SEND},
        *({"type": "relay", "origin": "a", "run": "r", "number": 1, "action": action} for action in OTHER_ACTIONS),
        {"type": "relay", "origin": "a", "run": "r", "number": 2**64 - 1, "action": SEND},
        {"type": "relay", "origin": "a", "run": "r", "number": -(2**63), "action": SEND},
        ["relay"],
        5,
    ],
)
def test_what_is_no_relayed_action_is_refused(relay: object) -> None:
    with pytest.raises(MalformedRelayError):
        RelayReceiver("b").unwrap(msgpack.packb(relay))


def check_answer(message: bytes) -> None:
    """Nothing else is raised, whoever may have published it, and what it gives fits into frames."""
    receiver = RelayReceiver("b")
    try:
        for relayed in (receiver.unwrap(message), receiver.unwrap(message)):
            assert relayed is None or (encode(relayed.action) and encode({"missed": relayed.missed}))
    except MalformedRelayError:
        pass


@given(st.binary())
def test_any_bytes_are_refused_or_an_action(message: bytes) -> None:
    check_answer(message)


VALUES = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary() | st.booleans() | st.floats(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=50)
@given(
    st.integers(-(2**63), 2**64 - 1), st.dictionaries(st.sampled_from(["to", "group", "except", "data", "x"]), VALUES)
)
def test_any_number_and_any_fields_are_refused_or_an_action(number: int, fields: dict[str, object]) -> None:
    relay = {"type": "relay", "origin": "a", "run": "r", "number": number, "action": {**SEND, **fields}}
    check_answer(msgpack.packb(relay))
