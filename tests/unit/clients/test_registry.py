"""Who gets what: receivers, groups, and those who have left or are too slow."""

from __future__ import annotations

import pytest

from fws_pipe.clients.registry import Client, Clients
from fws_pipe.websocket.outbox import Outbox


class Wire:
    """Records what is posted."""

    def __init__(self) -> None:
        self.outbox = Outbox(10**6)
        self.posted: list[bytes] = []
        self.own: list[bytes] = []
        self.flushed = 0
        self.closed: list[tuple[int, str]] = []
        self.has_room = True

    @property
    def is_closing(self) -> bool:
        return bool(self.closed)

    def post(self, frame: bytes, weight: int = 0) -> bool:
        if self.has_room and not self.closed:
            self.posted.append(frame)
            return True
        return False

    def post_behind(self, frame: bytes, weight: int = 0, *, is_own: bool) -> bool:
        if is_own and not self.closed:
            self.own.append(frame)
            return True
        return self.post(frame)

    def write(self, frame: bytes, weight: int = 0) -> bool:
        is_taken = self.post(frame)
        self.flush()
        return is_taken

    def flush(self) -> None:
        self.flushed += 1

    def begin_close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))

    fail = begin_close


@pytest.fixture
def wires() -> dict[str, Wire]:
    return {name: Wire() for name in "abc"}


@pytest.fixture
def clients(wires: dict[str, Wire]) -> Clients:
    made = Clients()
    for name, wire in wires.items():
        client = Client(name, wire, 10**6)  # type: ignore[arg-type]
        made.add(client)
        made.open(client)
    return made


def test_a_client_before_the_gate_gets_only_what_is_for_itself(clients: Clients) -> None:
    wire = Wire()
    newcomer = Client("d", wire, 10**6)  # type: ignore[arg-type]
    clients.add(newcomer)
    clients.send({"type": "send", "to": "*", "data": "all"})
    clients.deliver()
    assert wire.posted == []
    clients.send({"type": "send", "to": "d", "data": "you"})
    clients.deliver()
    assert len(wire.posted) == 1
    clients.close({"type": "close", "to": "*"})
    assert newcomer.verdict is None
    clients.close({"type": "close", "to": "d", "reason": "no"})
    assert newcomer.verdict is not None
    assert newcomer.verdict.refusal is not None
    assert newcomer.verdict.refusal.status == 403
    clients.remove(newcomer)
    clients.send({"type": "send", "to": "*", "data": "all"})
    clients.deliver()


def test_each_change_is_told(clients: Clients) -> None:
    told: list[str] = []
    clients.follow(lambda client: told.append(f"{client.id} {sorted(client.groups)}"))
    clients.join("a", "x")
    clients.join("a", "x")
    clients.leave("a", "y")
    clients.leave("a", "x")
    client = clients.get("b")
    assert client is not None
    clients.remove(client)
    assert told == ["a ['x']", "a []", "b []"]


@pytest.mark.parametrize(
    ("action", "receivers"),
    [
        ({"to": "a"}, "a"),
        ({"to": ["a", "c"]}, "ac"),
        ({"to": "*"}, "abc"),
        ({"to": "*", "except": "b"}, "ac"),
        ({"to": "*", "except": ["a", "b", "nobody"]}, "c"),
        ({"to": ["a", "b"], "except": "a"}, "b"),
        ({"group": "tea"}, "ab"),
        ({"group": "tea", "except": "a"}, "b"),
        ({"group": "nobody's"}, ""),
        ({"to": []}, ""),
    ],
)
def test_receivers(clients: Clients, wires: dict[str, Wire], action: dict[str, object], receivers: str) -> None:
    clients.join("a", "tea")
    clients.join("b", "tea")
    clients.send({"type": "send", "data": "x", **action})
    clients.deliver()
    clients.flush()
    assert "".join(name for name, wire in wires.items() if wire.posted == [b"\x81\x01x"]) == receivers
    assert "".join(name for name, wire in wires.items() if wire.flushed == 1) == receivers
    clients.flush()
    assert sum(wire.flushed for wire in wires.values()) == len(receivers)


def test_one_action_with_many_messages_is_as_many_actions(clients: Clients, wires: dict[str, Wire]) -> None:
    clients.send({"type": "send", "to": "a", "data": ["x", b"y"]})
    clients.send({"type": "send", "to": "a", "data": "z"})
    clients.send({"type": "send", "to": "b", "data": []})
    clients.flush()
    assert wires["a"].posted == [b"\x81\x01x\x82\x01y\x81\x01z"]
    assert wires["b"].posted == []


def test_what_alone_is_sent_is_written_without_being_queued(clients: Clients, wires: dict[str, Wire]) -> None:
    clients.send({"type": "send", "to": "*", "data": "x"})
    clients.flush()
    assert [wire.flushed for wire in wires.values()] == [1, 1, 1]
    clients.send({"type": "send", "to": "a", "data": "x"})
    clients.send({"type": "send", "to": "b", "data": "y"})
    clients.send({"type": "send", "to": "a", "data": "z"})
    clients.flush()
    assert [wire.flushed for wire in wires.values()] == [2, 2, 1]
    assert wires["a"].posted == [b"\x81\x01x", b"\x81\x01x", b"\x81\x01z"]


def test_groups_end_with_their_members(clients: Clients, wires: dict[str, Wire]) -> None:
    clients.join("a", "tea")
    clients.join("a", "milk")
    clients.leave("a", "milk")
    clients.leave("a", "milk")
    clients.leave("nobody", "tea")
    [client] = [client for client in clients if client.id == "a"]
    assert client.groups == {"tea"}
    clients.remove(client)
    clients.send({"type": "send", "group": "tea", "data": "x"})
    clients.deliver()
    assert not wires["a"].posted
    assert clients._groups == {}
    assert client.groups == {"tea"}


def test_what_goes_to_those_who_have_left_is_dropped_and_counted(clients: Clients, wires: dict[str, Wire]) -> None:
    wires["b"].begin_close(1000, "")
    clients.send({"type": "send", "to": ["gone", "a", "b"], "data": "x"})
    clients.deliver()
    clients.join("gone", "tea")
    clients.close({"type": "close", "to": "gone"})
    assert clients.counters == {"gone": 4}
    assert wires["a"].posted


def test_a_client_whose_outbox_is_full_is_closed_once(clients: Clients, wires: dict[str, Wire]) -> None:
    wires["b"].has_room = False
    for _ in range(3):
        clients.send({"type": "send", "to": "*", "data": "x"})
        clients.deliver()
    assert [code for code, _ in wires["b"].closed] == [1013]
    assert clients.counters == {"slow": 1, "gone": 2}
    assert len(wires["a"].posted) == len(wires["c"].posted) == 3


def test_close_actions(clients: Clients, wires: dict[str, Wire]) -> None:
    clients.close({"type": "close", "to": "a"})
    clients.close({"type": "close", "to": ["b"], "code": 4000, "reason": "bye"})
    assert (wires["a"].closed, wires["b"].closed, wires["c"].closed) == ([(1000, "")], [(4000, "bye")], [])
    clients.close({"type": "close", "to": "*", "code": 4001})
    assert wires["c"].closed == [(4001, "")]


def test_replies_to_a_clients_own_messages_are_queued_however_far_it_is_behind(wires: dict[str, Wire]) -> None:
    here: Clients = Clients(owners_of=lambda seqs: [here.get("a" if seq in range(10) else "b") for seq in seqs])
    for name, wire in wires.items():
        client = Client(name, wire, 10**6)  # type: ignore[arg-type]
        here.add(client)
        here.open(client)
    wires["a"].has_room = False
    here.send({"type": "send", "to": "a", "data": ["1", "2"], "seq": [1, 2]})
    here.send({"type": "send", "to": "*", "data": "3", "seq": 3})
    here.deliver()
    assert wires["a"].own == [b"\x81\x011\x81\x012", b"\x81\x013"]
    assert not wires["a"].closed
    here.send({"type": "send", "to": "a", "data": ["4", "5", "6"], "seq": [4, 11, 5]})
    here.flush()
    assert wires["a"].own == [b"\x81\x011\x81\x012", b"\x81\x013", b"\x81\x014"]
    assert [code for code, _ in wires["a"].closed] == [1013]
    assert wires["b"].posted == wires["c"].posted == [b"\x81\x013"]


@pytest.mark.parametrize("seq", [{}, {"seq": 11}, {"seq": "1"}])
def test_what_the_client_has_not_caused_is_others(wires: dict[str, Wire], seq: dict[str, object]) -> None:
    here: Clients = Clients(owners_of=lambda seqs: [here.get("a") if seq in range(10) else None for seq in seqs])
    client = Client("a", wires["a"], 10**6)  # type: ignore[arg-type]
    here.add(client)
    here.open(client)
    wires["a"].has_room = False
    here.send({"type": "send", "to": "a", "data": "x", **seq})
    here.deliver()
    assert [code for code, _ in wires["a"].closed] == [1013]


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
