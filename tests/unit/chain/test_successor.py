"""The successor: it shows that it serves before it takes over, and leaves nothing behind where it does not."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from fws_pipe.broker import STANDBY_VARIABLE
from fws_pipe.chain.spawn import Program
from fws_pipe.chain.successor import Successor
from tests.harness import PATIENCE_S
from tests.unit.chain.exchange import FIRST_TICK, KNOWN, PASS_ALL, FakeExchange, passing, script, surroundings_in

SWALLOW_ALL = "exec cat >/dev/null"


def run(folder: Path, scenario: Callable[[Successor], Awaitable[None]], introducer: FakeExchange | None = None) -> str:
    """Run a scenario beside a successor; returns what was logged."""

    async def main() -> None:
        with trio.fail_after(PATIENCE_S), surroundings_in(folder) as (surroundings, log):
            successor = Successor(surroundings, introducer or FakeExchange(), log)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(successor.run)
                await scenario(successor)
                nursery.cancel_scope.cancel()

    trio.run(main)
    return (folder / "log").read_text()


async def take_over(successor: Successor) -> list[Program]:
    """Claim the chain that is ready, and end it; returns its programs."""
    claimed = await successor.claim()
    assert claimed is not None
    programs, chain = claimed
    assert chain.known == KNOWN
    assert chain.tail.early == FIRST_TICK, "what has been read waits for the take-over"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chain.watch)
        assert not chain.failed.is_set(), "it runs on"
        chain.end_input()
        await chain.wait_gone()
    chain.bury()
    return list(programs)


@pytest.mark.parametrize("returns_ticks", [True, False])
def test_a_chain_that_returns_its_tick_waits_to_be_claimed(tmp_path: Path, returns_ticks: bool) -> None:
    """Its last program knows that it stands by, unless no tick might tell it when it has taken over."""
    standby = "1" if returns_ticks else ""
    introducer = FakeExchange()
    introducer.returns_ticks = returns_ticks
    programs = [script(PASS_ALL, "new"), script(f'[ "${STANDBY_VARIABLE}" = "{standby}" ] && {PASS_ALL}', "sink")]

    async def scenario(successor: Successor) -> None:
        assert await successor.claim() is None
        outcome = successor.ask_for(programs)
        await successor.wait_ready()
        assert successor.differs_from([script(PASS_ALL, "old")])
        assert not successor.differs_from(programs)
        assert await take_over(successor) == programs
        assert await outcome.wait() == ""
        assert await successor.claim() is None

    run(tmp_path, scenario, introducer)


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        (script("exit 3", "new"), "new exited with status 3"),
        (script(f"printf garbage; {SWALLOW_ALL}", "new"), "frame from new"),
        (Program("new", ["/nowhere/missing"]), "it can't be started: No such file or directory"),
    ],
)
def test_one_that_does_not_serve_is_dropped_and_the_next_one_gets_its_turn(
    tmp_path: Path, program: Program, problem: str
) -> None:
    async def scenario(successor: Successor) -> None:
        assert problem in await successor.ask_for([program]).wait()
        assert await successor.claim() is None
        successor.ask_for([script(PASS_ALL)])
        await successor.wait_ready()
        await take_over(successor)

    assert "the new chain does not serve, so the old one goes on: " in run(tmp_path, scenario)


@pytest.mark.parametrize("is_starting", [True, False])
def test_one_that_has_not_shown_yet_that_it_serves_is_given_up_for_a_newer_one(
    tmp_path: Path, is_starting: bool
) -> None:
    """While its processes were being started it was not given up, but had 10 s for its tick."""
    introducer = FakeExchange()
    newest = script(PASS_ALL, "newest")

    async def scenario(successor: Successor) -> None:
        first = successor.ask_for([script(SWALLOW_ALL)])
        if is_starting:
            for _ in range(2):  # by the second one the first has been asked for its processes, in a thread
                await trio.lowlevel.checkpoint()
        else:
            await introducer.introduced.wait()
        second = successor.ask_for([script("exit 3")])
        successor.ask_for([newest])
        assert await first.wait() == await second.wait() == "a newer one has been asked for"
        await successor.wait_ready()
        assert await take_over(successor) == [newest]

    run(tmp_path, scenario, introducer)


def test_one_that_stands_ready_takes_over_before_a_newer_one(tmp_path: Path) -> None:
    ready, newer = script(PASS_ALL, "ready"), script(PASS_ALL, "newer")

    async def scenario(successor: Successor) -> None:
        successor.ask_for([ready])
        await successor.wait_ready()
        successor.ask_for([newer])
        assert await take_over(successor) == [ready]
        await successor.wait_ready()
        assert await take_over(successor) == [newer]

    run(tmp_path, scenario)


def test_one_that_dies_while_it_stands_ready_is_told_and_dropped(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    opener = os.open(gate, os.O_RDWR)

    async def scenario(successor: Successor) -> None:
        outcome = successor.ask_for([script(f"{passing(FIRST_TICK)}; read word <{gate}; exit 5", "new")])
        await successor.wait_ready()
        os.write(opener, b"\n")
        assert await outcome.wait() == "the new chain ended before it took over: new exited with status 5"
        assert await successor.claim() is None

    try:
        assert "the new chain ended before it took over" in run(tmp_path, scenario)
    finally:
        os.close(opener)
