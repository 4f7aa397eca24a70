"""What the service manager is told of reloads."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import trio
import trio.testing

from fws_pipe.app.reloads import Reloads
from fws_pipe.chain.successor import Outcome, decided

Said = list[str]


def run_with(outcomes: list[Outcome], script: Callable[[Reloads, Said], Any]) -> Said:
    """Run a script beside a `Reloads` whose reloads have these outcomes; returns what the manager was told."""
    said: Said = []
    notifier = SimpleNamespace(
        reloading=lambda: said.append("reloading"), ready=lambda status: said.append(f"ready: {status}")
    )
    waiting = iter(outcomes)
    reloads = Reloads(lambda why: next(waiting), cast("Any", notifier))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reloads.tell_ends)
            await script(reloads, said)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(main)
    return said


def test_the_end_is_told_when_the_new_chain_serves() -> None:
    outcome = Outcome()

    async def script(reloads: Reloads, said: Said) -> None:
        assert reloads("SIGHUP") is outcome
        await trio.testing.wait_all_tasks_blocked()
        assert said == ["reloading"]
        outcome.decide()

    assert run_with([outcome], script) == ["reloading", "ready: "]


def test_a_refused_reload_has_ended_too_and_says_why() -> None:
    async def script(reloads: Reloads, said: Said) -> None:
        reloads("SIGHUP")

    assert run_with([decided("no\nsuch filter")], script) == [
        "reloading",
        "ready: the last reload was refused: no\\nsuch filter",
    ]


def test_of_reloads_that_overlap_the_last_one_is_the_end() -> None:
    """The first is given up for the second; that it is decided then must not pass for the second one's end."""
    first, second = Outcome(), Outcome()

    async def script(reloads: Reloads, said: Said) -> None:
        reloads("SIGHUP")
        await trio.testing.wait_all_tasks_blocked()
        reloads("SIGHUP")
        first.decide("a newer one has been asked for")
        await trio.testing.wait_all_tasks_blocked()
        assert said == ["reloading", "reloading"]
        second.decide()

    assert run_with([first, second], script) == ["reloading", "reloading", "ready: "]
