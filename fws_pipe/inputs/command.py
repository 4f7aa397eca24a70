"""A command whose output is an input (--source). It runs in a process group of its own, and again whenever it ends.

Its stdin is empty, its stderr goes to the log, and its output is read to the end before it is started again. After a
run that has written something it starts again in a second; after runs without output the delay doubles, up to 30 s.
"""

from __future__ import annotations

import signal

import trio

from fws_pipe.chain.spawn import LADDER, Program, RunningChain, StageReport, Surroundings, start_chain, wait_for_any
from fws_pipe.inputs.line_feed import LineFeed
from fws_pipe.log import Log

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0

_SIGTERM_S = 2.0
"""The time that a command has to end after SIGTERM, when the server stops."""

_LAST_READ_S = 1.0
"""The time limit for reading after the command has ended, if a process that has left its group keeps the pipe open."""


class CommandInput:
    """Runs a command for ever and reads its lines (`inputs.Input`)."""

    def __init__(self, program: Program, surroundings: Surroundings, lines: LineFeed, log: Log) -> None:
        self.lines = lines
        self._program = program
        self._surroundings = surroundings
        self._log = log
        self._stopping = trio.Event()
        self._hurry = trio.Event()
        self._reading = trio.CancelScope()
        """Cancels a read that waits."""
        self._delay_s = FIRST_DELAY_S
        self._running: RunningChain | None = None
        self._restarts = 0

    def report(self) -> list[StageReport]:
        """The state of the command's process."""
        state = "draining" if self._stopping.is_set() else "up" if self._running else "down"
        if self._running is None:
            return [StageReport(self._program.label, None, state, self._restarts)]
        return [report._replace(input=None) for report in self._running.report(state, self._restarts)]

    def stop(self) -> None:
        """Stop reading, and end the command."""
        self._stopping.set()
        self._reading.cancel()

    def hurry(self) -> None:
        """Kill the command."""
        self._hurry.set()

    async def run(self) -> None:
        """Run until `stop`."""
        while not self._stopping.is_set():
            failure, has_written = await self._run_once()
            if not self._stopping.is_set():
                self._restarts += 1
                self._delay_s = FIRST_DELAY_S if has_written else self._delay_s
                self._log.always(f"{failure}; it starts again in {self._delay_s:.0f} s")
                with trio.move_on_after(self._delay_s):
                    await self._stopping.wait()
                self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)

    async def _run_once(self) -> tuple[str, bool]:
        """Run the command once. Returns how it ended, for the log, and whether it had written anything."""
        try:
            running = await start_chain([self._program], self._surroundings, self._log)
        except OSError as error:
            return f"can't start {self._program.label}: {error.strerror or error}", False
        self._running = running
        try:
            running.end_input()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(running.watch)
                async with trio.open_nursery() as ending:
                    ending.start_soon(self._end_when_stopping, running)
                    ending.start_soon(self._end_reading_after, running)
                    has_written = await self._read_all(running)
                    if not self._stopping.is_set():
                        await running.wait_gone()
                        ending.cancel_scope.cancel()
                failure = str(await running.epitaph())
                nursery.cancel_scope.cancel()
            return failure, has_written
        finally:
            self._running = None
            running.bury()

    async def _read_all(self, running: RunningChain) -> bool:
        """Read to the end, or until `stop`. Returns whether the command has written anything."""
        has_written = False
        while block := await self._read(running):
            has_written = True
            await self.lines.put(block)
        if not self._stopping.is_set():
            await self.lines.finish()
        return has_written

    async def _read(self, running: RunningChain) -> bytes:
        with trio.CancelScope() as self._reading:
            if self._stopping.is_set():
                return b""
            self._limit_reading_of(running)
            return await running.tail.read()
        return b""

    async def _end_reading_after(self, running: RunningChain) -> None:
        await running.wait_gone()
        self._limit_reading_of(running)

    def _limit_reading_of(self, running: RunningChain) -> None:
        if running.is_gone:
            self._reading.deadline = trio.current_time() + _LAST_READ_S

    async def _end_when_stopping(self, running: RunningChain) -> None:
        await self._stopping.wait()
        running.signal_all(signal.SIGTERM)
        with trio.move_on_after(_SIGTERM_S):
            await wait_for_any(running.wait_gone, self._hurry.wait)
        await running.climb_down(LADDER[-1:], self._hurry, self._program.label)
