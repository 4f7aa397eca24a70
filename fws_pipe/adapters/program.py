"""One run of a command: a child in a process group of its own, its pipes, and its end.

Reads: the program's output, block by block. Writes: the program's input as fast as it reads; the rest is the backlog,
and the owner adds nothing to it while it `is_full`. Never: blocks.

A program is ended by a ladder: end of its input, SIGTERM after 1 s, SIGKILL after 3 s, each for the whole group. After
the program itself has exited, the processes that it has started get 1 s to close the output, and then SIGKILL.
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
from fws_pipe.adapters.loop import READABLE, WRITABLE, Deadline, Loop
from fws_pipe.pipes.blocks import ReadBuffer
from fws_pipe.pipes.line_cutter import LineCutter

BACKLOG_BYTES = 256 * 1024
"""The size at which the backlog is full; its pipe holds more."""

TERM_S = 1.0
KILL_S = 3.0
"""The times of the ladder's signals, in seconds after the end of input."""

LEFTOVERS_S = 1.0
"""Processes that a program has started may hold its output open for this long after it has exited."""

_LAST_READS = 4
"""The blocks that are read from an output that doesn't end; together they are more than a pipe holds."""

_ERRORS_BYTES = 8 * 1024
_ERRORS_PAUSE_S = 0.05
"""The bytes of a program's stderr that are read at once, and the pause behind them: 160 KiB a second, since each line
becomes a line of the server's log, which others share.
"""

_STDERR_PIPE_BYTES = 64 * 1024
"""The most that stderr's pipe holds when the program has ended."""

STDERR_LINE_BYTES = 8 * 1024
"""Longer lines on stderr are passed on in pieces of this size."""

_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
"""Signals that Python ignores or an adapter handles; the program gets their default action (execve(2))."""

_buffer = ReadBuffer(64 * 1024)


class Program:
    """One run of a command, which the constructor starts. Owns the process, its group and our ends of its pipes.

    `on_output(block)` gets the program's output. `on_end(status)` is called once, when the program has exited, its
    output has ended and its group is empty; the status is the exit status, or minus the signal that has killed the
    program. `on_room()` is called when the backlog has been written. `on_error_line(line)` gets each line of the
    program's stderr, long ones in pieces; without it the program inherits our stderr. A program that closes its output
    is ended, unless it `may_close_output`.

    Raises UsageError or SystemRefusedError if the command can't be started.
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
        """The end of the pause in which stderr isn't read."""
        self._is_ending = False
        self._is_over = False
        self._start(command)

    def _start(self, command: Command) -> None:
        try:
            self._spawn(command)
        except OSError as error:  # the command's fault, or no descriptors are left for the pipes
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

    # The program's input.

    @property
    def is_full(self) -> bool:
        """Whether the backlog exceeds BACKLOG_BYTES: the owner should write no more until `on_room`."""
        return self._backlog_size > BACKLOG_BYTES

    @property
    def backlog(self) -> int:
        """Bytes that the input pipe had no room for."""
        return self._backlog_size

    @property
    def is_reading(self) -> bool:
        """Whether the program's input is open: the program has not closed it, and `end_input` was not called."""
        return self._input >= 0 and not self._is_input_ending

    def write(self, data: bytes) -> None:
        """Write to the program's input, now or when there is room. No-op once the input has ended."""
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
        except OSError:  # the program has closed its input, and needs no more
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
        """End the program's input behind the backlog. Idempotent."""
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

    # The program's output.

    def hold_output(self) -> None:
        """Read no output and no stderr until `resume_output`: the pipes fill, and the program waits. Idempotent."""
        if not self._is_held:
            self._loop.unwatch(self._output)
            self._loop.unwatch(self._errors)
        self._is_held = True

    def resume_output(self) -> None:
        """Read the program's output and stderr again. Idempotent."""
        if not self._is_held:
            return
        self._is_held = False
        if self._output >= 0:
            self._watch_output()
        self._watch_errors()

    @property
    def has_exited(self) -> bool:
        """Whether the program has exited; its last output may still be in its pipes."""
        return self._status is not None

    def _watch_output(self) -> None:
        os.set_blocking(self._output, False)
        self._loop.watch(self._output, READABLE, self._read_output)

    def _read_output(self) -> None:
        try:
            block = _buffer.read(self._output)
        except BlockingIOError:
            return
        except OSError:  # EIO: no process has the terminal open any more (pty(7))
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
                self.end()  # it can't answer any more
        else:
            self._finish()

    def _watch_errors(self) -> None:
        if self._errors >= 0 and not self._is_held:
            os.set_blocking(self._errors, False)
            self._loop.unwatch(self._errors)  # if a pause outlasts a hold, stderr is watched already
            self._loop.watch(self._errors, READABLE, self._read_some_errors)

    def _read_some_errors(self) -> None:
        """Read some of stderr, then pause: a program that floods it waits."""
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

    # The program's end.

    def end(self) -> None:
        """Begin the ladder: end of input now, SIGTERM and SIGKILL later. Idempotent."""
        if self._is_ending or self._is_over:
            return
        self._is_ending = True
        self.end_input()
        self._signal_later(TERM_S, signal.SIGTERM)
        self._signal_later(KILL_S, signal.SIGKILL)

    def terminate(self) -> None:
        """Begin the ladder at SIGTERM, for a server that has little time left."""
        self._is_ending = True
        self._close_input()
        self._signal_group(signal.SIGTERM)
        self._signal_later(TERM_S, signal.SIGKILL)

    def kill(self) -> None:
        """Kill the program and its group, and wait for it; `on_end` is not called. Idempotent."""
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
            self.resume_output()  # the rest of its output is bounded by its pipe
        if self._output < 0:
            self._finish()
        else:
            self._deadlines.append(self._loop.call_later(LEFTOVERS_S, self._cut_off))

    def _cut_off(self) -> None:
        """Kill the processes that the program has left behind, and read what they have written."""
        self._signal_group(signal.SIGKILL)
        for _ in range(_LAST_READS):
            if self._output >= 0:
                self._read_output()
        self._close_output()

    def _finish(self) -> None:
        if self._is_over:
            return
        assert self._status is not None
        self._signal_group(signal.SIGKILL)  # processes that the program has left behind
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


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack, *, child_reads: bool = False) -> tuple[int, int]:
    """A pipe, read end first. Each end is closed by its owner's stack; ours is non-blocking if the child reads."""
    read_end, write_end = os.pipe()
    reader.callback(os.close, read_end)
    writer.callback(os.close, write_end)
    if child_reads:
        os.set_blocking(write_end, False)
    return read_end, write_end


def _terminal(childs_ends: contextlib.ExitStack, undo: contextlib.ExitStack) -> tuple[int, int]:
    """A pseudo-terminal that passes bytes on unchanged (termios(3)); our end first."""
    ours, child_end = os.openpty()
    undo.callback(os.close, ours)
    childs_ends.callback(os.close, child_end)
    attributes = termios.tcgetattr(child_end)
    attributes[1] &= ~termios.OPOST
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(child_end, termios.TCSANOW, attributes)
    return ours, child_end
