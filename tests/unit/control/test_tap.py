"""A tap copies what passes, in order, for as long as its reader keeps up."""

from __future__ import annotations

import trio

from fws_pipe.control.tap import TAP_LIMIT_BYTES, Tap, tapped
from fws_pipe.ledger.feed import Taps, copy_to


class Place:
    taps: Taps = ()


def test_each_tap_gets_a_copy_and_none_is_left_behind() -> None:
    async def scenario() -> None:
        place, other = Place(), Place()
        with tapped([place, other]) as one:
            with tapped([place]) as two:
                copy_to(place.taps, b"a")
                copy_to(other.taps, b"b")
                assert await two.take() == b"a"
            copy_to(place.taps, b"c")
            assert await one.take() == b"abc"
        assert place.taps == other.taps == ()

    trio.run(scenario)


def test_a_reader_that_stalls_is_cut_off_and_takes_no_more_memory() -> None:
    async def scenario() -> None:
        tap = Tap()
        for _ in range(3 * TAP_LIMIT_BYTES // 1000):
            tap.put(b"x" * 1000)
        assert tap.cut_off.is_set()
        assert len(await tap.take()) <= TAP_LIMIT_BYTES

    trio.run(scenario)


def test_a_reader_that_keeps_up_gets_a_block_of_any_size() -> None:
    async def scenario() -> None:
        tap = Tap()
        tap.put(b"x" * (2 * TAP_LIMIT_BYTES))
        assert len(await tap.take()) == 2 * TAP_LIMIT_BYTES
        assert not tap.cut_off.is_set()

    trio.run(scenario)
