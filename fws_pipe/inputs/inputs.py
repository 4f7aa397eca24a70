"""Runs all inputs of a server: they begin when the chain serves, and end when the server stops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import trio

from fws_pipe.chain.spawn import StageReport, wait_for_any
from fws_pipe.inputs.line_feed import LineFeed


class Input(Protocol):
    """Reads lines from a source outside."""

    lines: LineFeed

    async def run(self) -> None:
        """Read until the end, or until `stop`."""

    def stop(self) -> None:
        """Stop reading, and let `run` return."""

    def hurry(self) -> None:
        """Kill the processes that still run."""

    def report(self) -> list[StageReport]:
        """The state of each process."""


class Inputs:
    """Runs inputs beside a chain (`app.backend.Backend`), which begin to read once `chain_serves` is set."""

    was_cut_off = False
    """Always False: no event is written to an input."""

    def __init__(self, inputs: Sequence[Input], chain_serves: trio.Event) -> None:
        self._inputs = inputs
        self._chain_serves = chain_serves
        self._stopping = trio.Event()
        self.serving = trio.Event()
        self.serving.set()  # the server waits for none of them

    @property
    def silences(self) -> list[str]:
        """None: it has no chain."""
        return []

    async def run(self) -> None:
        """Run all inputs until they have ended."""
        await wait_for_any(self._chain_serves.wait, self._stopping.wait)
        if not self._stopping.is_set():
            async with trio.open_nursery() as nursery:
                for one in self._inputs:
                    nursery.start_soon(one.run)

    async def wait_taken_in(self) -> None:
        """Wait until the lines that have been read are in the feed."""
        for one in self._inputs:
            await one.lines.wait_idle()

    def reports(self) -> list[list[StageReport]]:
        """The state of each process, in a list for each input."""
        return [one.report() for one in self._inputs]

    def expect_stop(self) -> None:
        """Stop reading: the server drains."""
        self._stopping.set()
        for one in self._inputs:
            one.stop()

    def stop(self, grace_s: float) -> None:
        """Stop reading: the server ends without a drain."""
        self.expect_stop()

    def hurry(self) -> None:
        """Stop reading, and kill the processes that still run."""
        self.expect_stop()
        for one in self._inputs:
            one.hurry()
