"""Inputs begin when the chain serves, and end when the server stops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from fws_pipe.chain.spawn import StageReport
from fws_pipe.counters import Counters
from fws_pipe.inputs.inputs import Inputs
from fws_pipe.inputs.line_feed import LineFeed


class Reads:
    """An input that reads until it is stopped."""

    def __init__(self) -> None:
        self.lines = LineFeed("c", list, 100, Counters(), print)
        self.told: list[str] = []
        self._stopped = trio.Event()

    async def run(self) -> None:
        self.told.append("run")
        await self._stopped.wait()

    def stop(self) -> None:
        self.told.append("stop")
        self._stopped.set()

    def hurry(self) -> None:
        self.told.append("hurry")

    def report(self) -> list[StageReport]:
        return [StageReport(f"reads {id(self)}", None, "up", 0)]


def run(scenario: Callable[[Inputs, list[Reads], trio.Event, trio.Nursery], Awaitable[None]]) -> None:
    async def main() -> None:
        serves = trio.Event()
        reading = [Reads(), Reads()]
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                await scenario(Inputs(reading, serves), reading, serves, nursery)

    trio.run(main)


def test_nothing_is_read_before_the_chain_serves() -> None:
    async def scenario(inputs: Inputs, reading: list[Reads], serves: trio.Event, nursery: trio.Nursery) -> None:
        assert inputs.serving.is_set()
        nursery.start_soon(inputs.run)
        await trio.testing.wait_all_tasks_blocked()
        assert [each.told for each in reading] == [[], []]
        serves.set()
        await trio.testing.wait_all_tasks_blocked()
        assert [each.told for each in reading] == [["run"], ["run"]]
        await inputs.wait_taken_in()
        assert len(inputs.reports()) == 2
        inputs.expect_stop()
        assert [each.told for each in reading] == [["run", "stop"], ["run", "stop"]]

    run(scenario)


def test_a_server_that_stops_before_it_serves_reads_nothing() -> None:
    async def scenario(inputs: Inputs, reading: list[Reads], serves: trio.Event, nursery: trio.Nursery) -> None:
        nursery.start_soon(inputs.run)
        await trio.testing.wait_all_tasks_blocked()
        inputs.stop(1.0)
        inputs.hurry()
        assert [each.told for each in reading] == [["stop", "stop", "hurry"]] * 2

    run(scenario)
