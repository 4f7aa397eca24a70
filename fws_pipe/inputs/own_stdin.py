"""The server's own stdin as an input: a pipe, a file or a terminal, which others may share.

No flag of it is changed. A read that may wait is made in a thread, once there is something to read where the kernel can
tell (epoll(7) knows no regular files): so the end of the server loses nothing that it has begun to read.
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
"""How often to look whether the terminal is ours to read again."""


class OwnStdin:
    """Reads the server's stdin to its end (`inputs.Input`)."""

    def __init__(self, lines: LineFeed, log: Log) -> None:
        self.lines = lines
        self._log = log
        self._buffer = ReadBuffer()
        self._reading = trio.CancelScope()
        """Encloses a read that may wait."""
        self._is_stopped = False
        self._has_ended = False
        self._is_pollable = True
        self._has_told_of_background = False

    def stop(self) -> None:
        """Read no further."""
        self._is_stopped = True
        self._reading.cancel()

    def report(self) -> list[StageReport]:
        """Whether it is being read."""
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
        """The next block; nothing at the end, when reading fails, or after `stop`."""
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
            except PermissionError:  # a file, or /dev/null: it never makes anybody wait
                self._is_pollable = False

    async def _wait_foreground(self) -> None:
        """Wait while reading would fail: SIGTTIN is ignored (system/signals.py), so it would stop nobody."""
        while _is_in_background():
            if not self._has_told_of_background:
                self._has_told_of_background = True
                self._log.always(
                    "--stdin: the terminal belongs to another job, so nothing is read until this one is in the "
                    "foreground (fg); in the background let stdin be a pipe or a file"
                )
            await trio.sleep(_FOREGROUND_CHECK_S)


def _is_in_background() -> bool:
    """Whether stdin is our terminal and another process group is in the foreground there (termios(3))."""
    try:
        return os.tcgetpgrp(STDIN) != os.getpgrp()
    except OSError:
        return False
