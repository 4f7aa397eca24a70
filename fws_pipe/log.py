"""The server's own words, and its stages', on stderr.

A thread of its own writes: a terminal that is held or a full pipe behind stderr must not stop the server, nor the
draining of the stages' stderr. The queue before it is bounded in bytes; when it is full new lines are dropped and
counted, and the count is told as soon as there is room.
"""

from __future__ import annotations

import enum
import os
import select
import threading
from collections import deque

QUEUE_LIMIT_BYTES = 8 * 1024 * 1024
_FLUSH_S = 2.0


class Level(enum.IntEnum):
    """How much is told: -q, the default, -v."""

    WARNING = 0
    INFO = 1
    DEBUG = 2


class Log:
    """Lines to a descriptor, in order, without ever waiting for it."""

    def __init__(self, program: str, level: Level = Level.INFO, descriptor: int = 2) -> None:
        self._program = program
        self.level = level
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._ended = False
        self._changed = threading.Condition()
        self._writer: threading.Thread | None = None

    def debug(self, text: str) -> None:
        """Tell what only -v shows: clients that come and go."""
        if self.level >= Level.DEBUG:
            self.always(text)

    def info(self, text: str) -> None:
        """Tell what happens to the server as a whole; -q keeps it quiet."""
        if self.level >= Level.INFO:
            self.always(text)

    def always(self, text: str) -> None:
        """Tell what goes wrong, or what somebody waits for."""
        self.line(f"{self._program}: {text}".encode(errors="backslashreplace"))

    def line(self, line: bytes) -> None:
        """Pass on one line, without its newline."""
        with self._changed:
            if self._size + len(line) > QUEUE_LIMIT_BYTES:
                self._dropped += 1
                return
            self._lines.append(line)
            self._size += len(line)
            if self._writer is None:
                # A daemon: a stderr that nobody reads must not keep the process alive.
                self._writer = threading.Thread(target=self._write, name="log", daemon=True)
                self._writer.start()
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, for two seconds at most."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._writer is not None:
            self._writer.join(_FLUSH_S)

    def _write(self) -> None:
        while True:
            with self._changed:
                while not self._lines:
                    if self._ended:
                        return
                    self._changed.wait()
                block = b"".join(line + b"\n" for line in self._lines)
                self._lines.clear()
                self._size = 0
                if self._dropped:
                    block += f"{self._program}: {self._dropped} lines were dropped: stderr is too slow\n".encode()
                    self._dropped = 0
            if not self._write_all(block):
                return

    def _write_all(self, block: bytes) -> bool:
        rest = memoryview(block)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                # Somebody who shares stderr with us has made it non-blocking.
                select.select([], [self._descriptor], [])
            except OSError:
                # Nobody is there to be told. The lines that follow pile up to the limit and are dropped.
                return False
        return True
