"""Text of stages on the server's stdout, written to `$FWS_STDOUT_FD` or with `print` in a filter.

    stage 1 --pipe--> StdoutCopier --.
    stage 2 --pipe--> StdoutCopier --+--> LineWriter (queue, thread) --> the real stdout

Each stage has a pipe of its own, which is always read, and a thread writes to the real stdout. So a slow reader of
stdout (Ctrl-S, a pager, a full disk) never holds up a stage, in whatever language it is written, and lines of several
stages don't mix. The queue is bounded; lines that find no room are dropped, counted and reported.

Nothing is escaped here: the text is the user's own, perhaps with colours or binary data on purpose. The shipped
filters, which write text of clients, escape it themselves.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import AsyncIterator, Callable

import trio

from fws_pipe.log import LineWriter, Log
from fws_pipe.pipes.blocks import STDOUT
from fws_pipe.pipes.ends import PipeReader
from fws_pipe.wording import counted

LINE_LIMIT_BYTES = 4 * 1024 * 1024
"""A longer line is passed on in pieces of this size, between which other lines may come. An escaped message of 1 MiB
fits.
"""

_PART_S = 1.0
"""How long to wait for the rest of a line before passing on its beginning: a prompt or a progress bar has no end."""

_GATHER_S = 0.005
"""The pause between small reads, in which lines gather in the pipe: each read takes time from the clients."""

_MUCH_BYTES = 32 * 1024
"""After a block of this size there is no pause: it is half of what the pipe holds."""


_SILENT_WAIT_S = 1.0
"""How long the server waits for stdout's reader at its end before it says so."""


class ServerStdout:
    """The server's stdout as its stages see it: a pipe for each stage, all under one descriptor number."""

    def __init__(self, number: int, log: Log, descriptor: int = STDOUT) -> None:
        """`number` is the descriptor number that stages inherit, `descriptor` the real stdout."""
        self.number = number
        self._log = log
        self._lock = trio.Lock()
        self._writer = LineWriter(
            descriptor,
            lambda reason: log.always(f"lines for stdout are dropped: {reason}"),
            lambda count: log.notice(f"stdout takes lines again; {counted(count, 'line was', 'lines were')} dropped"),
        )

    @contextlib.asynccontextmanager
    async def lent(self, write_end: int) -> AsyncIterator[None]:
        """Within the block, descriptor `number` is this pipe: a process that is started there inherits it."""
        async with self._lock:
            os.dup2(write_end, self.number, inheritable=False)
            try:
                yield
            finally:
                # The pipe must not stay open here: its reader waits for its end.
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.number, inheritable=False)
                os.close(null)

    def copier_for(self, reader: PipeReader) -> StdoutCopier:
        """The task that copies one stage's pipe to stdout."""
        return StdoutCopier(reader, self._writer.write)

    async def finish(self, timeout_s: float, hurry: trio.Event) -> int:
        """Write what is queued, for `timeout_s` seconds or until `hurry` is set. Returns the lines dropped in all."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._log_waiting, timeout_s)
            nursery.start_soon(_cancel_when, hurry, nursery.cancel_scope)
            await trio.to_thread.run_sync(self._writer.finish, timeout_s, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()
        if waiting := self._writer.waiting:
            self._log.always(f"{counted(waiting, 'line')} for stdout could not be written: its reader is too slow")
        return self._writer.dropped + waiting

    async def _log_waiting(self, timeout_s: float) -> None:
        await trio.sleep(_SILENT_WAIT_S)
        self._log.info(f"waiting up to {timeout_s:.0f} s for the reader of stdout")


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


class StdoutCopier:
    """Reads one stage's pipe to its end, and passes on whole lines, unchanged."""

    def __init__(self, reader: PipeReader, write: Callable[[bytes], None]) -> None:
        self._reader = reader
        self._write = write
        self._parts: list[bytes] = []
        """The beginning of a line whose end has not arrived."""
        self._part_until = math.inf
        """When to stop waiting for that end (trio's clock)."""
        self._size = 0

    async def run(self) -> None:
        """Copy until the stage, and each process that inherited its pipe, has closed it."""
        try:
            while (block := await self._next_block()) != b"":
                if block is None:
                    self._pass_on(b"")
                    continue
                self._feed(block)
                if len(block) < _MUCH_BYTES:
                    await trio.sleep(_GATHER_S)
        finally:
            self._pass_on(b"")

    async def _next_block(self) -> bytes | None:
        """The next block, empty at the end of input; None: the end of a line did not arrive in time."""
        if not self._parts:
            self._part_until = math.inf
        elif self._part_until == math.inf:
            self._part_until = trio.current_time() + _PART_S
        with trio.move_on_at(self._part_until):
            return await self._reader.read()
        return None

    def _feed(self, block: bytes) -> None:
        end = block.rfind(b"\n") + 1
        if end:
            self._pass_on(block[:end])
        if end < len(block):
            self._parts.append(block[end:])
            self._size += len(block) - end
        if self._size >= LINE_LIMIT_BYTES:
            self._pass_on(b"")

    def _pass_on(self, end: bytes) -> None:
        """Pass on the beginning of a line that is held, and `end` behind it."""
        if self._parts or end:
            self._write(b"".join([*self._parts, end]))
        self._parts, self._size = [], 0
