"""The supervisor: when a chain is started, restarted, replaced and ended, with shell scripts as its stages."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from fws_pipe.chain.spawn import Program
from fws_pipe.chain.supervisor import Supervisor
from fws_pipe.errors import FwsError, StageError, SystemRefusedError
from tests.harness import PATIENCE_S
from tests.unit.chain.exchange import (
    FIRST_TICK,
    KNOWN,
    PASS_ALL,
    FakeExchange,
    Supervised,
    frame,
    passing,
    script,
    supervise,
    surroundings_in,
)


def in_the_first_run(folder: Path, text: str) -> str:
    """A script that runs this text in the first run, and passes on everything in all others."""
    mark = folder / "has_run"
    return f"[ -e {mark} ] && {PASS_ALL}; : >{mark}; {text}"


def failure_of(folder: Path, program: Program) -> FwsError:
    """What the supervisor raises when this is the chain."""

    async def main() -> FwsError:
        with trio.fail_after(PATIENCE_S), surroundings_in(folder) as (surroundings, log):
            with pytest.raises(FwsError) as caught:
                await Supervisor([program], surroundings, FakeExchange(), log).run()
            return caught.value

    return trio.run(main)


def test_a_chain_serves_once_its_first_tick_is_back_and_then_gets_events(tmp_path: Path) -> None:
    async def scenario(it: Supervised) -> None:
        await it.supervisor.serving.wait()
        it.exchange.send("a")
        await it.exchange.wait_history("serves", "a")
        assert [(stage.name, stage.state) for stage in it.supervisor.report()] == [("stage", "up"), ("stage", "up")]

    ended = supervise(tmp_path, [script(PASS_ALL), script(PASS_ALL)], scenario)
    assert ended.exchange.history == ["serves", "a"]
    assert [stage.state for stage in ended.supervisor.report()] == ["stopped", "stopped"]
    assert not ended.supervisor.was_cut_off


def test_a_chain_that_dies_before_it_serves_is_not_started_again(tmp_path: Path) -> None:
    failure = failure_of(tmp_path, script("echo no such database >&2; exit 3", "stage 1"))
    assert type(failure) is StageError
    assert "the chain could not start: stage 1 exited with status 3; its last words: no such database" in str(failure)
    assert failure.lines == ["the chain could not start: stage 1 exited with status 3"], "the log has the last words"


def test_a_chain_that_the_system_can_not_start_is_the_systems_refusal(tmp_path: Path) -> None:
    failure = failure_of(tmp_path, Program("stage 1", [str(tmp_path / "missing")]))
    assert type(failure) is SystemRefusedError
    assert "missing: No such file or directory" in str(failure)


def test_the_next_run_is_prepared_when_the_last_action_of_the_dead_one_has_been_executed(tmp_path: Path) -> None:
    """The second stage holds what it has read until the first one has died."""
    dies = in_the_first_run(tmp_path, f"{passing(FIRST_TICK, frame('a'))}; exit 3")
    (tmp_path / "second").mkdir()
    held = tmp_path / "second" / "held"
    holds = in_the_first_run(tmp_path / "second", f"{passing(FIRST_TICK)}; cat >{held}; cat {held}")

    async def scenario(it: Supervised) -> None:
        await it.supervisor.serving.wait()
        it.exchange.send("a")
        await it.exchange.wait_history("serves", "a", "died", "serves")
        it.exchange.send("b")
        await it.exchange.wait_history("serves", "a", "died", "serves", "b")
        assert [stage.restarts for stage in it.supervisor.report()] == [1, 1]

    ended = supervise(tmp_path, [script(dies, "first"), script(holds, "second")], scenario)
    assert "first exited with status 3; the chain starts again\n" in ended.logged
    assert "this is the consequence" in ended.logged
    assert ended.exchange.changes == [False]


def test_broken_frames_end_a_run(tmp_path: Path) -> None:
    """The chain lives on, and ends at the end of its input: it was not given that, and took until SIGTERM, 2 s."""
    breaks = in_the_first_run(tmp_path, f"{passing(FIRST_TICK, frame('a'))}; printf garbage; exec cat >/dev/null")

    async def scenario(it: Supervised) -> None:
        await it.supervisor.serving.wait()
        it.exchange.send("a")
        await it.exchange.wait_history("serves", "a", "died", "serves")

    ended = supervise(tmp_path, [script(breaks)], scenario)
    assert "broken frame from stage" in ended.logged
    assert "SIG" not in ended.logged


def test_a_chain_that_hangs_is_killed_and_started_again(tmp_path: Path) -> None:
    hangs = in_the_first_run(tmp_path, f"trap '' TERM; {passing(FIRST_TICK)}; while :; do sleep 1000; done")

    async def scenario(it: Supervised) -> None:
        await it.supervisor.serving.wait()
        it.exchange.stalled.set()
        await it.exchange.wait_history("serves", "died", "serves")

    ended = supervise(tmp_path, [script(hangs)], scenario)
    assert "the chain hangs: it has returned no tick for too long" in ended.logged
    assert "SIGKILL for stage" in ended.logged
    assert "SIGTERM" not in ended.logged, "a chain that hangs gets no time"


def test_a_successor_takes_over_behind_what_the_old_chain_has_got(tmp_path: Path) -> None:
    held = tmp_path / "held"
    old = script(f"{passing(FIRST_TICK)}; cat >{held}; cat {held}", "old")
    new = script(PASS_ALL, "new")

    async def scenario(it: Supervised) -> None:
        await it.supervisor.serving.wait()
        it.exchange.send("a")
        await it.exchange.wait_written()
        assert await it.supervisor.reload([new]).wait() == ""
        await it.exchange.wait_history("serves", "a", "replaced", "serves")
        it.exchange.send("b")
        await it.exchange.wait_history("serves", "a", "replaced", "serves", "b")

    ended = supervise(tmp_path, [old], scenario)
    assert ended.supervisor.programs == [new]
    assert ended.exchange.known == [{}, KNOWN], "the next run leaves out what the introduction has said"
    assert ended.exchange.changes == [True]
    assert "the chain is replaced" in ended.logged


def test_a_successor_that_fails_leaves_the_old_chain(tmp_path: Path) -> None:
    old = script(PASS_ALL, "old")

    async def scenario(it: Supervised) -> None:
        await it.supervisor.serving.wait()
        assert await it.supervisor.reload([script("exit 3", "new")]).wait() == "new exited with status 3"
        it.exchange.send("a")
        await it.exchange.wait_history("serves", "a")

    ended = supervise(tmp_path, [old], scenario)
    assert ended.supervisor.programs == [old]
    assert "the new chain does not serve, so the old one goes on: new exited with status 3" in ended.logged


def test_stop_lets_the_chain_finish_what_it_has_got(tmp_path: Path) -> None:
    held = tmp_path / "held"

    async def scenario(it: Supervised) -> None:
        await it.supervisor.serving.wait()
        it.exchange.send("a")
        await it.exchange.wait_written()
        it.supervisor.stop(PATIENCE_S)

    ended = supervise(tmp_path, [script(f"{passing(FIRST_TICK)}; cat >{held}; cat {held}")], scenario)
    assert ended.exchange.history == ["serves", "a"]
    assert not ended.supervisor.was_cut_off
    assert "SIG" not in ended.logged


def test_hurry_kills_a_chain_that_does_not_end(tmp_path: Path) -> None:
    told = tmp_path / "told"
    told.write_bytes(frame("at the end of input"))
    stays = f"trap '' TERM; cat; cat {told}; while :; do sleep 1000; done"

    async def scenario(it: Supervised) -> None:
        await it.supervisor.serving.wait()
        it.supervisor.stop(1000 * PATIENCE_S)
        await it.exchange.wait_history("serves", "at the end of input")
        it.supervisor.hurry()

    ended = supervise(tmp_path, [script(stays)], scenario)
    assert ended.supervisor.was_cut_off
    assert "SIGKILL for stage" in ended.logged
    assert "SIGTERM" not in ended.logged
