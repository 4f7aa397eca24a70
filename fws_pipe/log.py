"""Lines for people: the log on stderr, and the stages' text on stdout.

A thread writes them, so that a stopped terminal (Ctrl-S), a pager or a full pipe stops neither the server nor the
reading of what its stages write. The queue before the thread is bounded in bytes; when it is full, new lines are
dropped, counted and reported.
"""

from __future__ import annotations

import copy
import enum
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fws_pipe.log_form import Field, LogFormat, as_logfmt, entry_of, structured
from fws_pipe.pipes.blocks import write_some
from fws_pipe.terminal import one_line
from fws_pipe.wording import counted

QUEUE_LIMIT_BYTES = 8 * 1024 * 1024

TAIL_BYTES = 64 * 1024
"""How much of the log is kept in memory, to be shown."""

_LONGEST_KEPT = 4096
"""How many characters of a line are kept."""

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
    """How grave a line is, and up to which level a subject logs: NOTICE with -q, INFO by default, DEBUG with -v."""

    ERROR = 0
    """The server ends."""
    WARNING = 1
    """Something goes wrong."""
    NOTICE = 2
    """Something that users wait for has happened, such as the start or a reload."""
    INFO = 3
    DEBUG = 4


class Subject(enum.StrEnum):
    """What a line is about."""

    SERVER = "server"
    """The start, the end, signals and reloads."""
    FRONT = "front"
    """Clients that come, go or are refused."""
    CHAIN = "chain"
    """The life of the chain, and its actions."""
    STAGE = "stage"
    """What stages write on their stderr."""
    REDIS = "redis"
    """The source, and the server's name in Redis."""
    INPUT = "input"
    """--stdin and --source."""
    CONTROL = "control"
    """The control socket."""
    ACCESS = "access"
    """A line for each connection."""


@dataclass(frozen=True)
class LogSettings:
    """How a program logs; `levels` are those of subjects for which `level` doesn't count."""

    level: Level = Level.INFO
    levels: Mapping[Subject, Level] = field(default_factory=dict)
    form: LogFormat = LogFormat.TEXT

    def level_of(self, subject: Subject) -> Level:
        """Up to which level a subject logs. Access lines must be asked for: -v alone shows none."""
        by_default = min(self.level, Level.NOTICE) if subject is Subject.ACCESS else self.level
        return self.levels.get(subject, by_default)


class Tail:
    """The last lines of a log, numbered from 1 on. Any thread may use it."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._size = 0
        self._last = 0
        self._changed = threading.Lock()

    def add(self, line: str) -> None:
        """Keep a line, and forget the first ones when more than TAIL_BYTES would be kept; a long line is cut."""
        kept = line if len(line) <= _LONGEST_KEPT else line[:_LONGEST_KEPT] + "..."
        with self._changed:
            self._lines.append(kept)
            self._size += _size_of(kept)
            self._last += 1
            while self._size > TAIL_BYTES:
                self._size -= _size_of(self._lines.popleft())

    def after(self, number: int) -> tuple[int, list[str]]:
        """The number of the last line, and the kept lines behind that number; all if no line has it yet."""
        with self._changed:
            count = self._last - number if number <= self._last else len(self._lines)
            return self._last, list(self._lines)[max(len(self._lines) - count, 0) :]


def _size_of(line: str) -> int:
    return len(line.encode(errors="backslashreplace")) + 1


class _Output:
    """What all parts of a program's log share."""

    def __init__(
        self, program: str, settings: LogSettings, descriptor: int, on_recovery: Callable[[int], None]
    ) -> None:
        self.program = program
        self.settings = settings
        self.writer = LineWriter(descriptor, lambda reason: None, on_recovery)
        self.tail = Tail()


class Log:
    """The log of one program: lines on a descriptor, in order, without ever waiting for it.

    Fields, given by name, are for programs that read the log: a line of text has only its message.
    """

    def __init__(self, program: str, level: Level = Level.INFO, descriptor: int = 2) -> None:
        self._part: Callable[[], str] = lambda: ""
        self._subject = Subject.SERVER
        self._output = _Output(program, LogSettings(level), descriptor, self._log_loss)

    def configure(self, settings: LogSettings) -> None:
        """Log like this from now on, and so do all parts of this log."""
        self._output.settings = settings

    def about(self, subject: Subject) -> Log:
        """The same log for lines about this subject."""
        log = copy.copy(self)
        log._subject = subject
        return log

    def of_part(self, name: Callable[[], str]) -> Log:
        """The same log for one route, which lines name as `name()` where that isn't empty."""
        log = copy.copy(self)
        log._part = name
        return log

    @property
    def form(self) -> LogFormat:
        """The form of its lines."""
        return self._output.settings.form

    @property
    def tail(self) -> Tail:
        """Its last lines, whatever has become of them on the descriptor."""
        return self._output.tail

    def shows(self, level: Level) -> bool:
        """Whether lines of this level are written."""
        return level <= self._output.settings.level_of(self._subject)

    def debug(self, text: str, **fields: Field) -> None:
        """Log what only -v shows, such as clients that come and go."""
        self._log(Level.DEBUG, text, fields)

    def info(self, text: str, **fields: Field) -> None:
        """Log what happens to the server as a whole; -q hides it."""
        self._log(Level.INFO, text, fields)

    def notice(self, text: str, **fields: Field) -> None:
        """Log what a user waits for, also with -q."""
        self._log(Level.NOTICE, text, fields)

    def always(self, text: str, **fields: Field) -> None:
        """Log what goes wrong, also with -q."""
        self._log(Level.WARNING, text, fields)

    def access(self, message: str, fields: Mapping[str, Field]) -> None:
        """Log a line whose fields are shown in every form."""
        shown = f"{message} {as_logfmt(fields)}" if self.form is LogFormat.TEXT else message
        self._log(Level.INFO, shown, fields)

    def error(self, lines: Sequence[str]) -> None:
        """Log why the program ends. In text, lines behind the first one stand as they are: they point into it."""
        if self.form is not LogFormat.TEXT:
            self._log(Level.ERROR, "\n".join(lines), {})
        else:
            self._write(f"{self._output.program}: " + "\n".join(lines))

    def stage_line(self, stage: str, pid: int, line: str) -> None:
        """Log a line that a stage has written; in text it must be printable already."""
        if not self.shows(Level.NOTICE):
            return
        if self.form is LogFormat.TEXT:
            part = self._part()
            self._write(one_line(f"{part}: {stage}: " if part else f"{stage}: ") + line)
        else:
            self._write(self._structured(Level.NOTICE, line, {"stage": stage, "pid": pid}))

    def _log(self, level: Level, text: str, fields: Mapping[str, Field]) -> None:
        if not self.shows(level):
            return
        if self.form is LogFormat.TEXT:
            part = self._part()
            self._write(
                one_line(f"{self._output.program}: {part}: {text}" if part else f"{self._output.program}: {text}")
            )
        else:
            self._write(self._structured(level, text, fields))

    def _structured(self, level: Level, message: str, fields: Mapping[str, Field]) -> str:
        where: dict[str, Field] = {"route": self._part() or None}
        entry = entry_of(time.time(), level.name.lower(), self._subject, message, {**where, **fields})
        return structured(self.form, entry)

    def _write(self, line: str) -> None:
        self._output.tail.add(line)
        self._output.writer.write(line.encode(errors="backslashreplace") + b"\n")

    def _log_loss(self, count: int) -> None:
        self.always(f"{counted(count, 'line was', 'lines were')} dropped: stderr was too slow")

    def close(self) -> None:
        """Write what is queued, for two seconds at most."""
        self._output.writer.finish(_FLUSH_S)
