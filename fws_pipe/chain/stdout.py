"""What stages write for people on the server's stdout: `$FWS_STDOUT_FD`, and `print` in a filter.

Each stage gets a pipe of its own for it, which is always drained; a thread writes what came through to the real stdout.
So no reader of that (Ctrl-S, a pager, a full disk) can hold up a stage, in whatever language it is written, and the
lines of several stages stay whole. What finds no room is dropped, counted and told.

Nothing is escaped here: this is what the user's own program writes, colours and binary data on purpose. The shipped
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

LINE_LIMIT_BYTES = 4 * 1024 * 1024
"""A longer line is passed on in pieces of this size, and may be torn: a message of 1 MiB fits, escaped."""

_PART_S = 1.0
"""How long the rest of a line is waited for; then what there is of it is passed on: a prompt, a progress bar."""

_GATHER_S = 0.005
"""How long lines gather in the pipe before they are read: each read takes time from the clients."""

_MUCH_BYTES = 32 * 1024
"""What is read without a pause: half of what the pipe holds."""


_SILENT_WAIT_S = 1.0
"""How long the end may wait for stdout's reader before it says so."""


class ServerStdout:
    """The server's stdout, as its stages see it: a pipe for each, all under one number."""

    def __init__(self, number: int, log: Log, descriptor: int = STDOUT) -> None:
        """`number` is a descriptor of ours that stands for it; `descriptor` is the real one."""
        self.number = number
        self._log = log
        self._lock = trio.Lock()
        self._writer = LineWriter(
            descriptor,
            lambda reason: log.always(f"lines for stdout are dropped: {reason}"),
            lambda count: log.always(f"stdout takes lines again; {count} were dropped"),
        )

    @contextlib.asynccontextmanager
    async def lent(self, write_end: int) -> AsyncIterator[None]:
        """While a process is started this pipe has the number under which the process inherits it."""
        async with self._lock:
            os.dup2(write_end, self.number, inheritable=False)
            try:
                yield
            finally:
                # Not the pipe, whose reader waits for its end.
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.number, inheritable=False)
                os.close(null)

    def relay(self, reader: PipeReader) -> StdoutRelay:
        """What drains one stage's pipe."""
        return StdoutRelay(reader, self._writer.write)

    async def finish(self, timeout_s: float, hurry: trio.Event) -> int:
        """Write what has come, for so many seconds at most; returns how many lines were dropped in all."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_of_waiting, timeout_s)
            nursery.start_soon(_cancel_when, hurry, nursery.cancel_scope)
            await trio.to_thread.run_sync(self._writer.finish, timeout_s, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()
        if waiting := self._writer.waiting:
            self._log.always(f"the last {waiting} lines for stdout are lost: its reader is too slow")
        return self._writer.dropped + waiting

    async def _tell_of_waiting(self, timeout_s: float) -> None:
        await trio.sleep(_SILENT_WAIT_S)
        self._log.info(f"waiting up to {timeout_s:.0f} s for the reader of stdout")


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


class StdoutRelay:
    """Drains one stage's pipe, and passes on whole lines as they were written."""

    def __init__(self, reader: PipeReader, write: Callable[[bytes], None]) -> None:
        self._reader = reader
        self._write = write
        self._parts: list[bytes] = []
        """Of a line that is not whole."""
        self._part_until = math.inf
        """When the rest of it is waited for no longer (trio's clock)."""
        self._size = 0

    async def run(self) -> None:
        """Relay until the stage, and all that has inherited its pipe, have closed it."""
        try:
            while (block := await self._next_block()) != b"":
                if block is None:
                    self._pass_on(b"")
                    continue
                self._take(block)
                if len(block) < _MUCH_BYTES:
                    await trio.sleep(_GATHER_S)
        finally:
            self._pass_on(b"")

    async def _next_block(self) -> bytes | None:
        """The next block, nothing at the end; None when the rest of a line does not come."""
        if not self._parts:
            self._part_until = math.inf
        elif self._part_until == math.inf:
            self._part_until = trio.current_time() + _PART_S
        with trio.move_on_at(self._part_until):
            return await self._reader.read()
        return None

    def _take(self, block: bytes) -> None:
        end = block.rfind(b"\n") + 1
        if end:
            self._pass_on(block[:end])
        if end < len(block):
            self._parts.append(block[end:])
            self._size += len(block) - end
        if self._size >= LINE_LIMIT_BYTES:
            self._pass_on(b"")

    def _pass_on(self, end: bytes) -> None:
        """Pass on what there is of a line, and what follows."""
        if self._parts or end:
            self._write(b"".join([*self._parts, end]))
        self._parts, self._size = [], 0
