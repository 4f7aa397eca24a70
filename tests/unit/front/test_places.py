"""How many may come in."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.front.handshake import FULL
from fws_pipe.front.places import SILENCE_S, Lobby, Places

hosts = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "unix"])


@given(st.integers(0, 4), st.integers(0, 3), st.lists(st.tuples(st.booleans(), hosts), max_size=40))
def test_no_more_than_the_limits_and_every_place_comes_back(
    in_all: int, per_address: int, steps: list[tuple[bool, str]]
) -> None:
    places = Places(in_all, per_address)
    inside: list[str] = []
    for comes, host in steps:
        if not comes and host in inside:
            inside.remove(host)
            places.give_back(host)
            continue
        refusal = places.refusal_for(host)
        same = sum(1 for other in inside if network_of(other) == network_of(host))
        is_full = 0 < in_all <= len(inside)
        is_crowded = 0 < per_address <= same and host != "unix"
        if refusal is None:
            assert not is_full
            assert not is_crowded
            places.take(host)
            inside.append(host)
        elif refusal is FULL:
            assert is_full
        else:
            assert refusal.status == 429
            assert str(per_address) in refusal.text
            assert is_crowded


class Newcomer:
    """A connection that leaves the lobby when it is ended."""

    def __init__(self, lobby: Lobby, *, is_silent: bool = True) -> None:
        self.is_silent = is_silent
        self.is_gone = False
        self._lobby = lobby
        lobby.enter(self)

    def abort(self) -> None:
        self.is_gone = True
        self._lobby.leave(self)


def network_of(host: str) -> str:
    return host.rpartition("::")[0] or host


def test_the_lobby_waits_for_room_and_for_the_last_to_leave() -> None:
    async def main() -> None:
        lobby = Lobby(2)
        assert lobby.room(64) == 2
        first, second = Newcomer(lobby, is_silent=False), Newcomer(lobby, is_silent=False)
        assert lobby.room(64) == 0
        done: list[str] = []

        async def wait_room() -> None:
            await lobby.wait_room()
            done.append("room")

        async def wait_empty() -> None:
            await lobby.wait_empty()
            done.append("empty")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_room)
            nursery.start_soon(wait_empty)
            await trio.testing.wait_all_tasks_blocked()
            assert done == []
            first.abort()
            await trio.testing.wait_all_tasks_blocked()
            assert done == ["room"]
            second.abort()
        assert done == ["room", "empty"]
        assert (lobby.pauses, lobby.turned_out) == (1, 0)

    trio.run(main)


def test_a_lobby_without_a_limit() -> None:
    async def main() -> None:
        lobby = Lobby(0)
        for _ in range(100):
            Newcomer(lobby)
        assert lobby.room(64) == 64
        await trio.sleep(SILENCE_S)
        await lobby.wait_room()
        assert lobby.turned_out == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_who_says_nothing_makes_room_the_oldest_first_and_nobody_else_does() -> None:
    async def main() -> None:
        lobby = Lobby(4)
        talks = Newcomer(lobby, is_silent=False)
        oldest = Newcomer(lobby)
        await trio.sleep(SILENCE_S / 2)
        speaks_soon, youngest = Newcomer(lobby), Newcomer(lobby)
        begin = trio.current_time()
        await lobby.wait_room()
        assert trio.current_time() - begin == pytest.approx(SILENCE_S / 2)
        assert oldest.is_gone
        assert not youngest.is_gone
        another = Newcomer(lobby)
        speaks_soon.is_silent = False
        await trio.sleep(2 * SILENCE_S)
        assert not youngest.is_gone  # nobody waits
        begin = trio.current_time()
        await lobby.wait_room()
        assert youngest.is_gone
        Newcomer(lobby, is_silent=False)
        await lobby.wait_room()
        assert another.is_gone
        assert trio.current_time() == begin
        Newcomer(lobby, is_silent=False)
        with trio.move_on_after(100 * SILENCE_S) as patience:
            await lobby.wait_room()
        assert patience.cancelled_caught
        assert not talks.is_gone
        assert not speaks_soon.is_gone
        assert lobby.turned_out == 3

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
