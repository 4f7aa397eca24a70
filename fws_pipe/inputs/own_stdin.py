"""The server's own stdin as an input: a pipe, a file or a terminal, which other processes may share.

Its flags stay as they are, so a read may block and runs in a thread. It starts once there is something to read, where
the kernel can tell (epoll(7) refuses regular files): so a server that ends leaves no read behind that would take data.
"""

from __future__ import annotations

import os

import trio

from fws_pipe.chain.spawn import StageReport
from fws_pipe.inputs.line_feed import LineFeed
from fws_pipe.log import Log
from fws_pipe.pipes.blocks import STDIN, ReadBuffer

CHANNEL = "stdin"

_FOREGROUND_CHECK_S = 1.0
"""The interval of checks whether the server is in the terminal's foreground again."""


class OwnStdin:
    """Reads the server's stdin to its end (`inputs.Input`)."""

    def __init__(self, lines: LineFeed, log: Log) -> None:
        self.lines = lines
        self._log = log
        self._buffer = ReadBuffer()
        self._reading = trio.CancelScope()
        """Cancels a read that waits."""
        self._is_stopped = False
        self._has_ended = False
        self._is_pollable = True
        self._has_told_of_background = False

    def stop(self) -> None:
        """Stop reading."""
        self._is_stopped = True
        self._reading.cancel()

    def report(self) -> list[StageReport]:
        """Whether stdin is being read."""
        return [StageReport("stdin", os.getpid(), "ended" if self._has_ended else "up", 0)]

    def hurry(self) -> None:
        """No-op: there is no process to end."""

    async def run(self) -> None:
        """Read until the end, or until `stop`. The server goes on without it."""
        if os.isatty(STDIN):
            self._log.info("stdin is a terminal: each line that is typed is an event, Ctrl-D ends them")
        while block := await self._read():
            await self.lines.put(block)
        self._has_ended = True
        if not self._is_stopped:
            await self.lines.finish()
            self._log.debug("stdin has ended; the server goes on")

    async def _read(self) -> bytes:
        """Wait for the next block; empty at the end, when reading fails, and after `stop`."""
        with trio.CancelScope() as self._reading:
            while not self._is_stopped:
                await self._wait_foreground()
                try:
                    await self._wait_readable()
                    return await trio.to_thread.run_sync(self._buffer.read_waiting, STDIN, abandon_on_cancel=True)
                except OSError as error:
                    if not _is_in_background():
                        self._log.always(f"can't read from stdin: {error.strerror}; the server goes on without it")
                        return b""
        return b""

    async def _wait_readable(self) -> None:
        if self._is_pollable:
            try:
                await trio.lowlevel.wait_readable(STDIN)
            except PermissionError:  # a file, or /dev/null: reading it never blocks
                self._is_pollable = False

    async def _wait_foreground(self) -> None:
        """Wait while reading would fail; SIGTTIN doesn't stop the server, which ignores it (system/signals.py)."""
        while _is_in_background():
            if not self._has_told_of_background:
                self._has_told_of_background = True
                self._log.always(
                    "--stdin: nothing is read from the terminal until the server is in the foreground (fg); for a "
                    "server in the background make stdin a pipe or a file"
                )
            await trio.sleep(_FOREGROUND_CHECK_S)


def _is_in_background() -> bool:
    """Whether stdin is our terminal and another process group is in the foreground there (termios(3))."""
    try:
        return os.tcgetpgrp(STDIN) != os.getpgrp()
    except OSError:
        return False
