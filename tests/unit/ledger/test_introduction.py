"""What a new chain must hear of the clients first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.ledger.introduction import Departures, news
from fws_pipe.ledger.journal import frames_of
from fws_pipe.protocol.codec import encode
from tests.unit.ledger.test_feed import make_client

SNAPSHOTS = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 2))


def opening(client_id: str, version: int) -> bytes:
    return encode({"type": "open", "id": client_id, "groups": [str(version)], "replay": True})


@given(SNAPSHOTS, SNAPSHOTS)
def test_a_chain_that_is_told_the_news_knows_what_is_so_now(now: dict[str, int], before: dict[str, int]) -> None:
    snapshot, known = ({name: opening(name, number) for name, number in told.items()} for told in (now, before))
    knows = dict(known)
    for client_id, frame in news(snapshot, known, seq=3, time=0.0):
        (event,) = (event for event, _ in frames_of([frame]))
        assert event["id"] == client_id
        if event["type"] == "open":
            assert client_id not in knows, "a client that has changed goes first"
            knows[client_id] = frame
        else:
            assert event["replay"]
            del knows[client_id]
    assert knows == snapshot


def test_departures_are_forgotten_in_order() -> None:
    departures = Departures()
    first, second, third = (make_client(name) for name in ("a", "b", "c"))
    for seq, client in enumerate((first, second, third), start=5):
        departures.add(client, seq)
    departures.discard(second)
    departures.discard(second)
    assert [first in departures, second in departures, departures.get("c")] == [True, False, third]
    departures.forget_until(6)
    assert list(departures) == [third]
    departures.forget_until(7)
    assert list(departures) == []
    assert departures.get("c") is None
