"""When the service manager's watchdog gets a sign of life."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing

from fws_pipe.app.watchdog import feed_watchdog
from fws_pipe.counters import CHAIN_SECONDS, Histogram
from fws_pipe.front.front import Front
from fws_pipe.ledger.ticks import FIRST, Ticks
from fws_pipe.system.service_manager import Notifier


class Chain:
    """A link's part in this: `works` says whether a tick that is asked for comes back."""

    def __init__(self, *, works: bool) -> None:
        self.works = works
        self.feed = SimpleNamespace(ticks=Ticks(Histogram(CHAIN_SECONDS)))

    def nudge(self) -> None:
        if self.works:
            self.feed.ticks.note_back(FIRST)


def signs_of_life(seconds: float, *chains: Chain, watchdog_s: float = 4.0) -> int:
    """How often the watchdog is told within some seconds."""
    told: list[None] = []
    notifier = cast("Any", SimpleNamespace(watchdog_s=watchdog_s, alive=lambda: told.append(None)))
    front = cast("Front", SimpleNamespace(links=chains))

    async def main() -> None:
        with trio.move_on_after(seconds):
            await feed_watchdog(notifier, front)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return len(told)


def test_a_chain_that_returns_ticks_is_a_sign_of_life() -> None:
    assert signs_of_life(10.5, Chain(works=True)) == 10


def test_a_chain_that_hangs_is_none() -> None:
    assert signs_of_life(10.5, Chain(works=False)) == 0


def test_of_several_chains_one_will_do() -> None:
    assert signs_of_life(10.5, Chain(works=False), Chain(works=True)) == 10


def test_a_chain_that_lets_no_tick_through_is_not_watched() -> None:
    chain = Chain(works=False)
    chain.feed.ticks.give_up()
    assert signs_of_life(10.5, chain) == 10


def test_a_filter_that_waits_for_something_else_is_alive() -> None:
    chain = Chain(works=False)
    chain.nudge = chain.feed.ticks.note_life  # type: ignore[method-assign]
    assert signs_of_life(10.5, chain) == 10


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/x"}])
def test_without_a_watchdog_nothing_is_told(environment: dict[str, str]) -> None:
    assert signs_of_life(10.5, Chain(works=True), watchdog_s=Notifier(environment).watchdog_s) == 0
