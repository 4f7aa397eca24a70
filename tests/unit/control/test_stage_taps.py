"""Taps within a chain: put in by one reload, taken out by another, and never twice."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from fws_pipe.chain.spawn import Program, StageReport
from fws_pipe.chain.successor import Outcome, decided
from fws_pipe.chain.tap_stage import KEY_VARIABLE
from fws_pipe.control.stage_taps import StageTaps, TapRefusedError, label_of, stage_labels, wait_taken_out
from tests.harness import PATIENCE_S

ONE, TWO, SINK = (Program(label, [label]) for label in ('stage 1 "one"', 'stage 2 "two"', "sink"))


class FakeChain:
    """Runs what it is told to."""

    name = ""

    def __init__(self, problem: str = "") -> None:
        self.programs: Sequence[Program] = [ONE, TWO, SINK]
        self.reloads = 0
        self._problem = problem

    def reload(self, programs: Sequence[Program]) -> Outcome:
        self.reloads += 1
        if self._problem:
            return decided(self._problem)
        self.programs = programs
        return decided()

    def reports(self) -> list[list[StageReport]]:
        return []

    @property
    def labels(self) -> list[str]:
        return [program.label for program in self.programs]


def keys_of(chain: FakeChain) -> list[str]:
    return [program.environment[KEY_VARIABLE] for program in chain.programs if program.label == "tap"]


def test_one_reload_puts_all_taps_in_and_another_takes_them_out() -> None:
    async def main() -> None:
        chain, taps = FakeChain(), StageTaps(lambda: "control")
        got: list[tuple[str, bytes, float]] = []
        receivers = {
            label: lambda frames, time, label=label: got.append((label, frames, time)) for label in chain.labels[:2]
        }
        async with taps.tapped(chain, receivers):
            assert (chain.reloads, chain.labels) == (1, [ONE.label, "tap", TWO.label, "tap", "sink"])
            for number, key in enumerate(keys_of(chain)):
                receiver = taps.of(key)
                assert receiver is not None
                receiver(b"frames", float(number))
            keys = keys_of(chain)
        assert got == [(ONE.label, b"frames", 0.0), (TWO.label, b"frames", 1.0)]
        assert (chain.reloads, chain.labels) == (2, [ONE.label, TWO.label, "sink"])
        assert [taps.of(key) for key in (*keys, None, 5)] == [None] * 4

    trio.run(main)


def test_two_sets_of_taps_come_and_go_without_a_mixup() -> None:
    async def main() -> None:
        chain, taps = FakeChain(), StageTaps(lambda: "control")
        async with taps.tapped(chain, {ONE.label: print}):
            async with taps.tapped(chain, dict.fromkeys(stage_labels(chain), print)):
                assert chain.labels == [ONE.label, "tap", "tap", TWO.label, "tap", "sink"]
                assert stage_labels(chain) == [ONE.label, TWO.label]
                assert label_of(chain, "tap") is None
            assert chain.labels == [ONE.label, "tap", TWO.label, "sink"]
        assert chain.labels == [ONE.label, TWO.label, "sink"]

    trio.run(main)


def test_taps_that_another_reload_has_taken_out_are_over_and_cause_no_further_reload() -> None:
    async def main() -> None:
        chain, taps = FakeChain(), StageTaps(lambda: "control")
        async with taps.tapped(chain, {ONE.label: print, TWO.label: print}) as programs:
            chain.reload([ONE, TWO, SINK])
            with trio.fail_after(PATIENCE_S):
                await wait_taken_out(chain, programs)
        assert chain.reloads == 2

    trio.run(main)


def test_a_chain_that_does_not_serve_with_taps_goes_on_without() -> None:
    async def main() -> None:
        chain, taps = FakeChain("no"), StageTaps(lambda: "control")
        with pytest.raises(TapRefusedError, match="no"):
            async with taps.tapped(chain, {ONE.label: print}):
                raise AssertionError("it must not come so far")
        assert (chain.reloads, chain.labels) == (1, [ONE.label, TWO.label, "sink"])

    trio.run(main)
