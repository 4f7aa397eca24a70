"""Lines for people: the log on stderr, and the stages' text on stdout.

A thread writes them, so that a stopped terminal (Ctrl-S), a pager or a full pipe stops neither the server nor the
reading of what its stages write. The queue before the thread is bounded in bytes; when it is full, new lines are
dropped, counted and reported.
"""

from __future__ import annotations

import copy
import enum
import threading
from collections.abc import Callable

from fws_pipe.pipes.blocks import write_some
from fws_pipe.terminal import one_line
from fws_pipe.wording import counted

QUEUE_LIMIT_BYTES = 8 * 1024 * 1024
_FLUSH_S = 2.0

_WRITE_BYTES = 64 * 1024
"""How much is written at once: as much as a pipe holds, so that the rest is known when the time is up."""


class LineWriter:
    """Writes lines to a descriptor, in order, from a thread of its own: `write` never waits.

    `on_loss(reason)` is called when lines begin to be dropped, `on_recovery(count)` with their number once lines are
    written again without loss. Both may be called from the owner's thread or from the writer's.
    """

    def __init__(self, descriptor: int, on_loss: Callable[[str], None], on_recovery: Callable[[int], None]) -> None:
        self._descriptor = descriptor
        self._on_loss = on_loss
        self._on_recovery = on_recovery
        self._blocks: list[bytes] = []
        self._size = 0
        self._unwritten = memoryview(b"")
        """Bytes that the thread has taken from the queue and not yet written."""
        self._untold = 0
        """Lines dropped since the last recovery."""
        self.dropped = 0
        """Lines dropped in all."""
        self._ended = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, block: bytes) -> None:
        """Queue lines, each with its newline; those that find no room are dropped."""
        with self._changed:
            room = QUEUE_LIMIT_BYTES - self._size
            end = len(block) if len(block) <= room else block.rfind(b"\n", 0, max(room, 0)) + 1
            self._blocks.append(block[:end])
            self._size += end
            if self._thread is None:
                # A daemon: a descriptor without a reader must not keep the process alive.
                self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
                self._thread.start()
            self._changed.notify()
            is_first = end < len(block) and self._count_dropped(block[end:])
        if is_first:
            self._on_loss("its reader is too slow")

    def finish(self, timeout_s: float) -> None:
        """Write what is queued, for `timeout_s` seconds at most; `waiting` then tells how many lines are left."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    @property
    def waiting(self) -> int:
        """How many lines are not written yet."""
        with self._changed:
            return _count_lines(b"".join([self._unwritten, *self._blocks]))

    def _count_dropped(self, lines: bytes) -> bool:
        """Count lines that are dropped; returns whether they are the first since the last recovery."""
        is_first = not self._untold
        self._untold += _count_lines(lines)
        self.dropped += _count_lines(lines)
        return is_first

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._blocks:
                    if self._ended:
                        return
                    self._changed.wait()
                self._unwritten = memoryview(b"".join(self._blocks))
                self._blocks.clear()
                self._size = 0
                dropped = self.dropped
            self._write_taken()
            with self._changed:
                told, self._untold = (self._untold, 0) if dropped == self.dropped else (0, self._untold)
            if told:
                self._on_recovery(told)

    def _write_taken(self) -> None:
        while self._unwritten:
            try:
                self._unwritten = self._unwritten[write_some(self._descriptor, self._unwritten[:_WRITE_BYTES]) :]
            except OSError as error:
                # The reader has gone (`| head`), or the disk is full. Later lines may succeed.
                with self._changed:
                    is_first = self._count_dropped(bytes(self._unwritten))
                    self._unwritten = memoryview(b"")
                if is_first:
                    self._on_loss(error.strerror or type(error).__name__)


def _count_lines(text: bytes) -> int:
    return text.count(b"\n") + (not text.endswith(b"\n") and bool(text))


class Level(enum.IntEnum):
    """How much is logged: with -q, by default, with -v."""

    WARNING = 0
    INFO = 1
    DEBUG = 2


class Log:
    """The log of one program: lines on a descriptor, in order, without ever waiting for it."""

    def __init__(self, program: str, level: Level = Level.INFO, descriptor: int = 2) -> None:
        self._program = program
        self._part: Callable[[], str] = lambda: ""
        self.level = level
        self._writer = LineWriter(descriptor, lambda reason: None, self._log_loss)

    def of_part(self, name: Callable[[], str]) -> Log:
        """The same log for one part of the program, whose lines begin with `name()` where that isn't empty."""
        log = copy.copy(self)
        log._part = lambda: one_line(f"{name()}: ") if name() else ""
        return log

    def debug(self, text: str) -> None:
        """Log what only -v shows, such as clients that come and go."""
        if self.level >= Level.DEBUG:
            self.always(text)

    def info(self, text: str) -> None:
        """Log what happens to the server as a whole; -q hides it."""
        if self.level >= Level.INFO:
            self.always(text)

    def always(self, text: str) -> None:
        """Log what goes wrong, or what a user waits for, at any level."""
        self._writer.write(one_line(f"{self._program}: {self._part()}{text}").encode() + b"\n")

    def line(self, line: str) -> None:
        """Log one line as it is; it must be printable already, and has no newline."""
        self._writer.write(f"{self._part()}{line}\n".encode())

    def _log_loss(self, count: int) -> None:
        self.always(f"{counted(count, 'line was', 'lines were')} dropped: stderr was too slow")

    def close(self) -> None:
        """Write what is queued, for two seconds at most."""
        self._writer.finish(_FLUSH_S)
