"""What a chain's death means for the next one: who or what is blamed, and what is written again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.clients.client import Client
from fws_pipe.ledger.blame import DEATHS_ALONE, DEATHS_IN_COMPANY
from fws_pipe.ledger.journal import Journal, frames_of
from fws_pipe.ledger.recovery import Finding, Recovery
from fws_pipe.protocol.codec import Frame, encode
from tests.unit.ledger.test_feed import make_client, opening

TICK = 100


def message(seq: int, client_id: str = "a") -> Frame:
    return {"type": "message", "id": client_id, "data": "x", "seq": seq, "time": 0.0}


class Book:
    """A journal, what recovers it, and the clients that there are."""

    def __init__(self, *clients: Client) -> None:
        self.journal: Journal[Client] = Journal()
        self.clients = {client.id: client for client in clients}
        self.recovery = Recovery(self.journal, lambda client_id: self.clients.get(str(client_id)))

    def write(self, *events: Frame, tick: int = TICK) -> None:
        """A batch goes to the chain."""
        batch = b"".join(map(encode, [*events, {"type": "tick", "seq": tick, "time": 0.0}]))
        self.journal.add(batch, tick, len(events), [])

    def replay(self) -> list[int]:
        """The next chain gets what it may have at once: the numbers of these events."""
        seqs = []
        while (batch := self.journal.next_to_write()) is not None:
            seqs += [kept.event["seq"] for kept in frames_of([batch]) if kept.event["type"] != "tick"]
        return seqs


def known(client_id: str) -> Client:
    """A client of which a chain has been told."""
    client = make_client(client_id)
    client.open_event = encode({**opening(client), "seq": 1, "time": 0.0})
    return client


def test_the_death_of_an_idle_chain_is_nobodys_fault() -> None:
    book = Book(known("a"))
    for _ in range(10):
        assert book.recovery.after_death(is_introduced=True) == (None, False)
    assert book.recovery.last_chance == 0


def test_after_one_death_all_is_written_again_and_after_another_one_at_a_time() -> None:
    book = Book(known("a"))
    book.write(message(2), message(3))
    assert book.recovery.after_death(is_introduced=True) == (None, False)
    assert book.replay() == [2, 3]
    assert book.recovery.after_death(is_introduced=True) == (None, True)
    assert book.replay() == [2]
    book.journal.acknowledge(2)
    assert book.replay() == [3]


def test_what_gives_way_to_another_chain_has_not_died() -> None:
    book = Book(known("a"))
    book.write(message(2))
    for _ in range(10):
        book.recovery.after_replacement()
        assert book.replay() == [2]
    assert book.recovery.after_death(is_introduced=True).culprit is None


@given(st.integers(1, 5))
def test_an_event_that_kills_is_found_within_so_many_deaths_and_left_out(count: int) -> None:
    """The first of some events kills each chain that reads it."""
    book = Book(known("a"))
    book.write(*(message(seq) for seq in range(2, 2 + count)))
    for _ in range(DEATHS_IN_COMPANY + DEATHS_ALONE):
        finding = book.recovery.after_death(is_introduced=True)
        if finding.culprit is not None:
            break
        assert 2 in book.replay()
    assert finding.culprit is not None
    assert finding.culprit.kept.event["seq"] == 2
    assert finding.culprit.barred is None
    [(told, _)] = frames_of([finding.culprit.opening])
    assert (told["id"], told["replay"]) == ("a", True)
    assert book.recovery.last_chance == 0
    assert 2 not in book.replay()


def test_the_third_time_alone_is_the_last_chance() -> None:
    book = Book(known("a"))
    book.write(message(2))
    chances = []
    for _ in range(DEATHS_ALONE):
        chances.append(book.recovery.last_chance)
        finding = book.recovery.after_death(is_introduced=True)
        book.replay()
    assert chances == [0, 0, 2]
    assert finding.culprit is not None


@pytest.mark.parametrize("is_known", [False, True])
def test_a_client_whose_open_kills_is_barred_and_one_that_nobody_knows_is_only_skipped(is_known: bool) -> None:
    client = known("a")
    book = Book(*([client] if is_known else []))
    book.write({**opening(client), "seq": 2, "time": 0.0})
    for _ in range(DEATHS_ALONE):
        finding = book.recovery.after_death(is_introduced=True)
        book.replay()
    assert finding.culprit is not None
    assert finding.culprit.barred is (client if is_known else None)
    assert finding.culprit.opening == b""


def test_an_event_without_a_client_is_skipped_without_an_opening() -> None:
    book = Book(known("a"))
    book.write({"type": "consumer", "channel": "c", "data": "x", "seq": 2, "time": 0.0})
    for _ in range(DEATHS_ALONE):
        finding = book.recovery.after_death(is_introduced=True)
        book.replay()
    assert finding.culprit is not None
    assert (finding.culprit.barred, finding.culprit.opening) == (None, b"")


def die_of(book: Book, client_id: str) -> Finding:
    """A chain dies while it hears of a client, before it gets events."""
    book.recovery.introductions.at_hand = client_id
    return book.recovery.after_death(is_introduced=False)


def test_a_chain_that_dies_of_an_introduction_costs_no_event_and_in_the_end_one_client() -> None:
    client = known("a")
    book = Book(client, known("b"))
    book.write(message(2, "b"))
    book.recovery.after_replacement()
    assert book.recovery.after_death(is_introduced=False) == (None, False)
    assert book.recovery.introductions.is_careful
    for _ in range(DEATHS_ALONE - 1):
        assert die_of(book, "a").culprit is None
    assert book.recovery.introductions.is_last_chance("a")
    finding = die_of(book, "a")
    assert finding.culprit is not None
    assert finding.culprit.barred is client
    assert finding.culprit.kept.event["replay"]
    assert book.replay() == [2]


def test_a_client_that_has_gone_before_it_is_blamed_is_forgotten_about() -> None:
    book = Book(known("a"))
    book.recovery.after_death(is_introduced=False)
    book.clients.clear()
    for _ in range(DEATHS_ALONE):
        assert die_of(book, "a") == (None, False)


def test_an_introduction_that_is_outlived_ends_the_suspicion() -> None:
    book = Book(known("a"))
    for _ in range(5):
        book.recovery.after_death(is_introduced=False)
        assert die_of(book, "a").culprit is None
        assert book.recovery.after_death(is_introduced=True).culprit is None
        assert not book.recovery.introductions.is_careful
