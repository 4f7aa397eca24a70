"""One run of a command: a child in a process group of its own, its pipes, and its end.

Reads: what the program writes, block by block. Writes: what it is to read, as far as it reads; the rest waits here, and
the owner stops making more of it (`is_full`). Never: waits.

The way to the end is a ladder: end of its input, SIGTERM after 1 s, SIGKILL after 3 s, each for the whole group. When
the program itself has exited, what it has started gets 1 s to close the output, and then SIGKILL.
"""

from __future__ import annotations

import contextlib
import os
import signal
import termios
from collections import deque
from collections.abc import Callable

from fws_pipe.adapters.command import Command, start_error
from fws_pipe.adapters.guard import Guard
from fws_pipe.adapters.lines import LineCutter
from fws_pipe.adapters.loop import READABLE, WRITABLE, Deadline, Loop
from fws_pipe.pipes.blocks import ReadBuffer
from fws_pipe.system.signals import name_of

BACKLOG_BYTES = 256 * 1024
"""How much may wait for a program, beside what its pipe holds, before its owner stops making more."""

TERM_S = 1.0
KILL_S = 3.0
"""When the signals of the ladder come, in seconds after the end of input."""

LEFTOVERS_S = 1.0
"""How long processes that a program has started may outlive it, if they hold its output."""

_LAST_READS = 4
"""How many blocks are read of an output that does not end: more than its pipe holds."""

_ERRORS_BYTES = 8 * 1024
_ERRORS_PAUSE_S = 0.05
"""How much of a program's stderr is read at once, and how long it then waits: 160 KiB a second. Each line is one of the
server's log, in which others stand as well.
"""

_STDERR_PIPE_BYTES = 64 * 1024
"""What the pipe of stderr holds when the program has ended."""

STDERR_LINE_BYTES = 8 * 1024
"""A longer line on stderr is passed on in pieces of this size."""

_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
"""What Python ignores or an adapter handles; a program gets the default (execve(2))."""

_buffer = ReadBuffer(64 * 1024)


class Program:
    """One run of a command, started when it is made. Owns the process, its group and our ends of its pipes.

    `on_output(block)` gets what it writes. `on_end(status)` is called once, when it has exited, its output has come to
    its end and nothing of its group is left; the status is minus the signal that has killed it. `on_room()` is called
    when all that waited has been written. `on_error_line(line)` gets each line of its stderr, in pieces where it is
    long; without it stderr is ours. One that closes its output is ended, unless it `may_close_output`.

    Raises UsageError or SystemRefusedError when the command can't be started.
    """

    def __init__(
        self,
        loop: Loop,
        guard: Guard,
        command: Command,
        *,
        on_output: Callable[[bytes], None],
        on_end: Callable[[int], None],
        on_room: Callable[[], None],
        on_error_line: Callable[[bytes], None] | None = None,
        may_close_output: bool = False,
    ) -> None:
        self._loop = loop
        self._guard = guard
        self._on_output = on_output
        self._on_end = on_end
        self._on_room = on_room
        self._on_error_line = on_error_line
        self._may_close_output = may_close_output
        self._error_lines = LineCutter(STDERR_LINE_BYTES, is_splitting=True)
        self._backlog: deque[memoryview] = deque()
        self._backlog_size = 0
        self._is_input_ending = False
        self._is_held = False
        self._status: int | None = None
        self._deadlines: list[Deadline] = []
        self._errors_pause: Deadline | None = None
        """After it stderr is read again."""
        self._is_ending = False
        self._is_over = False
        self._start(command)

    def _start(self, command: Command) -> None:
        try:
            self._spawn(command)
        except OSError as error:  # of the command, or of pipes: there are no descriptors left
            raise start_error(command, error) from None
        self._guard.add(self.pid)
        self._loop.on_exit(self.pid, self._exited)
        self._watch_output()
        self._watch_errors()

    def _spawn(self, command: Command) -> None:
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as childs_ends:
            child_in, self._input = _pipe(childs_ends, undo, child_reads=True)
            self._output, child_out = _terminal(childs_ends, undo) if command.has_terminal else _pipe(undo, childs_ends)
            actions = [(os.POSIX_SPAWN_DUP2, child_in, 0), (os.POSIX_SPAWN_DUP2, child_out, 1)]
            self._errors = -1
            if self._on_error_line is not None:
                self._errors, child_errors = _pipe(undo, childs_ends)
                actions.append((os.POSIX_SPAWN_DUP2, child_errors, 2))
            self.pid = os.posix_spawnp(
                command.argv[0], command.argv, command.environment,
                file_actions=actions, setpgroup=0, setsigmask=(), setsigdef=_SIGNALS,
            )  # fmt: skip
            undo.pop_all()

    # What it reads.

    @property
    def is_full(self) -> bool:
        """Whether more waits than BACKLOG_BYTES: make no more for it until `on_room`."""
        return self._backlog_size > BACKLOG_BYTES

    @property
    def backlog(self) -> int:
        """How many bytes wait that its pipe has not taken."""
        return self._backlog_size

    @property
    def is_reading(self) -> bool:
        """Whether it can still be written to: it has not closed its input, and we have not ended it."""
        return self._input >= 0 and not self._is_input_ending

    def write(self, data: bytes) -> None:
        """Write this, now or when there is room. What comes after the end of its input is thrown away."""
        if not self.is_reading or not data:
            return
        rest = memoryview(data)
        if not self._backlog:
            rest = rest[self._write_some(rest) :]
            if not rest or self._input < 0:
                return
            self._loop.watch(self._input, WRITABLE, self._write_backlog)
        self._backlog.append(rest)
        self._backlog_size += len(rest)

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._input, data)
        except BlockingIOError:
            return 0
        except OSError:  # it has closed its input: what it doesn't read is its own business
            self._close_input()
            return 0

    def _write_backlog(self) -> None:
        while self._backlog:
            count = self._write_some(self._backlog[0])
            if self._input < 0:
                self._on_room()
                return
            self._backlog_size -= count
            if count < len(self._backlog[0]):
                self._backlog[0] = self._backlog[0][count:]
                return
            self._backlog.popleft()
        self._loop.unwatch(self._input)
        if self._is_input_ending:
            self._close_input()
        self._on_room()

    def end_input(self) -> None:
        """Let it see the end of its input, behind what waits. Idempotent."""
        self._is_input_ending = True
        if not self._backlog:
            self._close_input()

    def _close_input(self) -> None:
        if self._input >= 0:
            self._loop.unwatch(self._input)
            os.close(self._input)
            self._input = -1
        self._backlog.clear()
        self._backlog_size = 0

    # What it writes.

    def hold_output(self) -> None:
        """Read no more of what it writes, until `resume_output`: its pipes fill, and it waits. Idempotent."""
        if not self._is_held:
            self._loop.unwatch(self._output)
            self._loop.unwatch(self._errors)
        self._is_held = True

    def resume_output(self) -> None:
        """Read again what it writes. Idempotent."""
        if not self._is_held:
            return
        self._is_held = False
        if self._output >= 0:
            self._watch_output()
        self._watch_errors()

    @property
    def has_exited(self) -> bool:
        """Whether all that it may still write is in its pipes."""
        return self._status is not None

    def _watch_output(self) -> None:
        os.set_blocking(self._output, False)
        self._loop.watch(self._output, READABLE, self._read_output)

    def _read_output(self) -> None:
        try:
            block = _buffer.read(self._output)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the terminal open any more (pty(7))
            block = b""
        if block:
            self._on_output(block)
        else:
            self._close_output()

    def _close_output(self) -> None:
        if self._output >= 0:
            self._loop.unwatch(self._output)
            os.close(self._output)
            self._output = -1
        if self._status is None:
            if not self._may_close_output:
                self.end()  # nothing can come of it any more
        else:
            self._finish()

    def _watch_errors(self) -> None:
        if self._errors >= 0 and not self._is_held:
            os.set_blocking(self._errors, False)
            self._loop.unwatch(self._errors)  # a pause may end after a hold has
            self._loop.watch(self._errors, READABLE, self._read_some_errors)

    def _read_some_errors(self) -> None:
        """Read some of stderr, and no more for a while: a flood of it is the program's own business."""
        self._loop.unwatch(self._errors)
        self._errors_pause = self._loop.call_later(_ERRORS_PAUSE_S, self._watch_errors)
        self._read_errors(_ERRORS_BYTES)

    def _read_errors(self, limit: int) -> None:
        try:
            block = _buffer.read(self._errors, limit)
        except BlockingIOError:
            return
        if block:
            self._pass_on_errors(self._error_lines.feed(block))
        else:
            self._close_errors()

    def _close_errors(self) -> None:
        if self._errors >= 0:
            self._loop.unwatch(self._errors)
            os.close(self._errors)
            self._errors = -1
            self._pass_on_errors(self._error_lines.finish())

    def _pass_on_errors(self, lines: list[bytes]) -> None:
        assert self._on_error_line is not None
        for line in lines:
            self._on_error_line(line)

    # Its end.

    def end(self) -> None:
        """Begin the ladder: end of input now, SIGTERM and SIGKILL later unless it has ended. Idempotent."""
        if self._is_ending or self._is_over:
            return
        self._is_ending = True
        self.end_input()
        self._signal_later(TERM_S, signal.SIGTERM)
        self._signal_later(KILL_S, signal.SIGKILL)

    def terminate(self) -> None:
        """Begin the ladder at SIGTERM: there is little time."""
        self._is_ending = True
        self._close_input()
        self._signal_group(signal.SIGTERM)
        self._signal_later(TERM_S, signal.SIGKILL)

    def kill(self) -> None:
        """End it at once, with its group; `on_end` is not called. Idempotent."""
        if self._is_over:
            return
        self._signal_group(signal.SIGKILL)
        if self._status is None:
            self._loop.forget_child(self.pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
        self._release()

    def _signal_later(self, delay_s: float, number: signal.Signals) -> None:
        self._deadlines.append(self._loop.call_later(delay_s, lambda: self._signal_group(number)))

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is empty, or runs as another user
            os.killpg(self.pid, number)

    def _exited(self, status: int) -> None:
        self._status = status
        if self._is_held:
            self.resume_output()  # its last words are bounded by its pipe
        if self._output < 0:
            self._finish()
        else:
            self._deadlines.append(self._loop.call_later(LEFTOVERS_S, self._cut_off))

    def _cut_off(self) -> None:
        """Kill what it has started and left behind, and read what that has written before."""
        self._signal_group(signal.SIGKILL)
        for _ in range(_LAST_READS):
            if self._output >= 0:
                self._read_output()
        self._close_output()

    def _finish(self) -> None:
        if self._is_over:
            return
        assert self._status is not None
        self._signal_group(signal.SIGKILL)  # what it has started and has not ended with it
        if self._errors >= 0:
            self._read_errors(_STDERR_PIPE_BYTES)
        self._release()
        self._on_end(self._status)

    def _release(self) -> None:
        self._is_over = True
        for deadline in (*self._deadlines, self._errors_pause):
            if deadline is not None:
                deadline.cancel()
        self._guard.discard(self.pid)
        self._close_input()
        if self._output >= 0:
            self._loop.unwatch(self._output)
            os.close(self._output)
            self._output = -1
        self._close_errors()


def describe_status(status: int) -> str:
    """How a program has ended: "ended with status 1", "was killed by SIGKILL"."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was killed by {name_of(-status)}"


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack, *, child_reads: bool = False) -> tuple[int, int]:
    """A pipe, read end first, each end closed by the stack of its owner; ours is non-blocking if it is written."""
    read_end, write_end = os.pipe()
    reader.callback(os.close, read_end)
    writer.callback(os.close, write_end)
    if child_reads:
        os.set_blocking(write_end, False)
    return read_end, write_end


def _terminal(childs_ends: contextlib.ExitStack, undo: contextlib.ExitStack) -> tuple[int, int]:
    """A pseudo-terminal, our end first, that passes on each byte as it is (termios(3))."""
    ours, child_end = os.openpty()
    undo.callback(os.close, ours)
    childs_ends.callback(os.close, child_end)
    attributes = termios.tcgetattr(child_end)
    attributes[1] &= ~termios.OPOST
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(child_end, termios.TCSANOW, attributes)
    return ours, child_end
