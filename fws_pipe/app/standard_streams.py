"""The backend of fws-front: events to stdout, actions from stdin.

Both may be anything, and shared with other programs: a thread reads and a thread writes, and no flag of theirs changes.
"""

from __future__ import annotations

import os

import trio

from fws_pipe.app.stopping import Stopping
from fws_pipe.chain.successor import TICK_TIMEOUT_S
from fws_pipe.errors import GaveUpError
from fws_pipe.ledger.link import Link
from fws_pipe.log import Log
from fws_pipe.pipes.blocks import STDIN, STDOUT, ReadBuffer, write_some

_INTERRUPT_S = 0.5
"""How long after the filters' end a signal that has ended them may reach us."""


class StandardStreams:
    """fws-front's backend: events to stdout, actions from stdin.

    Both may be anything, and shared with others: a thread reads and a thread writes, and no flag of theirs is changed.
    """

    def __init__(self, link: Link, interrupted: Stopping, log: Log) -> None:
        self._link = link
        self._interrupted = interrupted
        self._log = log
        self.serving = trio.Event()
        self._stopping = trio.Event()
        self._grace_s = 0.0
        self.was_cut_off = False
        """Whether the actions had not ended when the time was up."""

    def hurry(self) -> None:
        """There is nothing to hurry: the filters are not ours."""

    def expect_stop(self) -> None:
        """Nor is there anything to get ready."""

    async def wait_taken_in(self) -> None:
        """No-op: it reads no lines."""

    def stop(self, grace_s: float) -> None:
        """End the output, and take what still comes in for so long."""
        self._grace_s = grace_s
        self._stopping.set()

    @property
    def silences(self) -> list[str]:
        """That of what stands behind stdout."""
        return [] if self._link.returns_ticks else ["no tick has come back yet"]

    async def run(self) -> None:
        """Relay until stopped. Raises GaveUpError when either side ends first, FrameError for a broken one."""
        actions_ended = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._announce)
            nursery.start_soon(self._execute_actions, actions_ended)
            async with trio.open_nursery() as writer:
                writer.start_soon(self._write_events)
                await self._stopping.wait()
                writer.cancel_scope.cancel()
            _end_stdout()
            with trio.move_on_after(self._grace_s):
                await actions_ended.wait()
            self.was_cut_off = not actions_ended.is_set()
            nursery.cancel_scope.cancel()

    async def _announce(self) -> None:
        with trio.move_on_after(TICK_TIMEOUT_S):
            await self._link.ready.wait()
        if not self._link.ready.is_set():
            self._link.give_up_on_ticks()
            self._log.always(
                f"no tick has come back within {TICK_TIMEOUT_S:.0f} s: is fws-sink last, and its stdout our stdin?"
            )
        self.serving.set()

    async def _execute_actions(self, ended: trio.Event) -> None:
        await self._link.execute_all(_Stdin(), "stdin")
        ended.set()
        await self._give_up_unless_interrupted("the actions on stdin have ended")

    async def _write_events(self) -> None:
        try:
            await self._link.write_events(_Stdout())
        except OSError as error:
            await self._give_up_unless_interrupted(f"the events can't be written to stdout ({error.strerror})")

    async def _give_up_unless_interrupted(self, problem: str) -> None:
        """One side has ended. An interrupt from the keyboard ends the filters too, and may be noticed after that."""
        with trio.move_on_after(_INTERRUPT_S):
            await self._interrupted.wait()
        if not self._interrupted.is_set():
            raise GaveUpError(f"{problem}: the filters behind this front are gone")
        self._link.close()


class _Stdin:
    """An `Inlet` that other processes may share, so that a thread has to wait for it."""

    descriptor: int | None = None
    early = b""

    def __init__(self) -> None:
        self._buffer = ReadBuffer()

    async def read(self) -> bytes:
        """The next block, or nothing at the end."""
        return await trio.to_thread.run_sync(self._buffer.read_waiting, STDIN, abandon_on_cancel=True)


class _Stdout:
    """An `Outlet` that other processes may share, so that a thread has to wait for it."""

    async def write(self, data: bytes) -> None:
        """Write all of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[await trio.to_thread.run_sync(write_some, STDOUT, rest, abandon_on_cancel=True) :]

    def write_nowait(self, data: bytes) -> int:
        """Nothing is written without waiting."""
        return 0


def _end_stdout() -> None:
    """End our stdout for its reader; descriptor 1 stays taken, so that nothing else gets that number."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
