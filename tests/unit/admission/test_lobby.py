"""The lobby: which connections wait, and which make room for them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.admission.lobby import GRACE_S, AddressShares, Lobby
from tests.strategies import hosts


class Newcomer:
    """A connection that leaves the lobby when it is ended."""

    def __init__(self, lobby: Lobby, host: str | None = None, *, is_silent: bool = True) -> None:
        self.remote = (host or "proxy", 4711)
        self.is_silent = is_silent
        self.has_unread = False
        self.is_gone = False
        self.response = b""
        self._lobby = lobby
        lobby.enter(self, host)

    def dismiss(self, response: bytes) -> None:
        self.response = response
        self.leave()

    def leave(self) -> None:
        self.is_gone = True
        self._lobby.leave(self)


def talkers(lobby: Lobby, count: int, host: str | None) -> list[Newcomer]:
    """Newcomers that have begun to say something."""
    return [Newcomer(lobby, host, is_silent=False) for _ in range(count)]


async def nobody_is_turned_out(lobby: Lobby) -> bool:
    """However long others wait."""
    with trio.move_on_after(100 * GRACE_S) as patience:
        await lobby.wait_room()
    return patience.cancelled_caught


def run_on_a_fake_clock(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(10_000 * GRACE_S):  # of the fake clock
            await main()

    trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))


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
            first.leave()
            await trio.testing.wait_all_tasks_blocked()
            assert done == ["room"]
            second.leave()
        assert done == ["room", "empty"]
        assert (lobby.pauses, lobby.silent_turned_out) == (1, 0)

    trio.run(main)


def test_a_lobby_without_a_limit() -> None:
    async def main() -> None:
        lobby = Lobby(0)
        for _ in range(100):
            Newcomer(lobby)
        assert lobby.room(64) == 64
        await trio.sleep(GRACE_S)
        await lobby.wait_room()
        assert lobby.silent_turned_out == 0

    run_on_a_fake_clock(main)


def test_who_says_nothing_makes_room_the_oldest_first_and_nobody_else_does() -> None:
    async def main() -> None:
        lobby = Lobby(4)
        talks = Newcomer(lobby, is_silent=False)
        oldest = Newcomer(lobby)
        await trio.sleep(GRACE_S / 2)
        speaks_soon, youngest = Newcomer(lobby), Newcomer(lobby)
        begin = trio.current_time()
        await lobby.wait_room()
        assert trio.current_time() - begin == pytest.approx(GRACE_S / 2)
        assert oldest.is_gone
        assert not youngest.is_gone
        another = Newcomer(lobby)
        speaks_soon.is_silent = False
        await trio.sleep(2 * GRACE_S)
        assert not youngest.is_gone  # nobody waits
        begin = trio.current_time()
        await lobby.wait_room()
        assert youngest.is_gone
        Newcomer(lobby, is_silent=False)
        await lobby.wait_room()
        assert another.is_gone
        assert trio.current_time() == begin
        Newcomer(lobby, is_silent=False)
        assert await nobody_is_turned_out(lobby)
        assert not talks.is_gone
        assert not speaks_soon.is_gone
        assert lobby.silent_turned_out == 3

    run_on_a_fake_clock(main)


def test_the_oldest_newcomers_of_the_greediest_address_make_room_one_for_each_that_waits() -> None:
    async def main() -> None:
        told: list[tuple[tuple[str, int], str]] = []
        lobby = Lobby(8, lambda remote, reason: told.append((remote, reason)))
        greedy = talkers(lobby, 6, "192.0.2.1")
        others = talkers(lobby, 2, "192.0.2.2")
        begin = trio.current_time()
        await lobby.wait_room()
        assert trio.current_time() - begin == pytest.approx(GRACE_S)
        for expected in range(1, 5):
            await lobby.wait_room()
            assert [newcomer.is_gone for newcomer in greedy] == [True] * expected + [False] * (6 - expected)
            others += talkers(lobby, 1, f"198.51.100.{expected}")
        assert trio.current_time() - begin == pytest.approx(GRACE_S)  # the rest of them had had their time, too
        assert not any(newcomer.is_gone for newcomer in others)
        assert greedy[0].response.startswith(b"HTTP/1.1 408 ")
        assert (lobby.crowded_out, lobby.silent_turned_out) == (4, 0)
        assert [remote for remote, _ in told] == [("192.0.2.1", 4711)] * 4

    run_on_a_fake_clock(main)


def test_two_addresses_that_share_the_lobby_both_give_way() -> None:
    async def main() -> None:
        lobby = Lobby(8)
        crowd = talkers(lobby, 4, "192.0.2.1") + talkers(lobby, 4, "192.0.2.2")
        await trio.sleep(GRACE_S)
        for number in range(6):
            await lobby.wait_room()
            Newcomer(lobby, f"198.51.100.{number}", is_silent=False)
        assert Counter(newcomer.remote[0] for newcomer in crowd if not newcomer.is_gone) == {
            "192.0.2.1": 1,
            "192.0.2.2": 1,
        }
        assert await nobody_is_turned_out(lobby)  # no address has more than one

    run_on_a_fake_clock(main)


def test_a_network_of_ipv6_is_one_address() -> None:
    async def main() -> None:
        lobby = Lobby(3)
        alone = Newcomer(lobby, "2001:db8:0:1::1", is_silent=False)
        greedy = [Newcomer(lobby, f"2001:db8::{number}", is_silent=False) for number in (1, 2)]
        await lobby.wait_room()
        assert [newcomer.is_gone for newcomer in (alone, *greedy)] == [False, True, False]

    run_on_a_fake_clock(main)


def test_newcomers_that_wait_for_the_server_are_served_however_long_it_takes() -> None:
    async def main() -> None:
        lobby = Lobby(4)
        crowd = talkers(lobby, 4, "192.0.2.1")
        for newcomer in crowd:
            newcomer.has_unread = True
        assert await nobody_is_turned_out(lobby)
        crowd[2].has_unread = False
        begin = trio.current_time()
        await lobby.wait_room()
        assert trio.current_time() - begin <= GRACE_S
        assert [newcomer.is_gone for newcomer in crowd] == [False, False, True, False]

    run_on_a_fake_clock(main)


def test_a_crowd_that_makes_progress_is_served_in_order() -> None:
    """Ten thousand clients of one address reconnect, each for less than the time that it has."""

    async def main() -> None:
        lobby = Lobby(100)
        inside: deque[Newcomer] = deque()

        async def serve() -> None:
            while True:
                await trio.sleep(GRACE_S / 150)
                inside.popleft().leave()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            for _ in range(10_000):
                await lobby.wait_room()
                inside.extend(talkers(lobby, 1, "192.0.2.1"))
            nursery.cancel_scope.cancel()
        assert (lobby.crowded_out, lobby.silent_turned_out) == (0, 0)
        assert lobby.pauses > 9000

    run_on_a_fake_clock(main)


def test_behind_a_proxy_no_address_is_greedy_before_it_is_known() -> None:
    async def main() -> None:
        lobby = Lobby(4)
        behind = talkers(lobby, 4, None)
        assert await nobody_is_turned_out(lobby)
        told = trio.Event()

        async def tell() -> None:
            await trio.sleep(GRACE_S)
            for newcomer in behind[1:]:
                lobby.recognise(newcomer, "192.0.2.1")
            told.set()

        begin = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            await lobby.wait_room()
        assert trio.current_time() - begin == pytest.approx(2 * GRACE_S)
        assert [newcomer.is_gone for newcomer in behind] == [False, True, False, False]
        lobby.recognise(behind[1], "192.0.2.1")  # gone meanwhile
        assert lobby.room(64) == 1
        for newcomer in (behind[0], *behind[2:]):
            newcomer.leave()
        await lobby.wait_empty()

    run_on_a_fake_clock(main)


@given(st.lists(st.tuples(st.booleans(), hosts, st.integers(0, 10)), max_size=60))
def test_the_largest_share_is_always_known(steps: list[tuple[bool, str, int]]) -> None:
    async def main() -> None:
        lobby, shares = Lobby(0), AddressShares()
        inside: list[tuple[str, Newcomer]] = []
        for since, (comes, group, which) in enumerate(steps):
            if comes or not inside:
                inside.append((group, Newcomer(lobby)))
                shares.add(*inside[-1], float(since))
            else:
                shares.remove(*inside.pop(which % len(inside)))
            sizes = Counter(group for group, _ in inside)
            assert shares.largest == max(sizes.values(), default=0)
            if inside:
                oldest, _ = shares.oldest_of_largest()
                [its_group] = [group for group, newcomer in inside if newcomer is oldest]
                assert sizes[its_group] == shares.largest
                assert oldest is next(newcomer for group, newcomer in inside if group == its_group)

    trio.run(main)
