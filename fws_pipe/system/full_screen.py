"""The whole terminal for one program: an alternate screen that is given back however the program ends.

    enter -> draw ... wait (a key, another size, the time) ... -> leave: at the end, at an error, at a signal

SIGTERM, SIGHUP and SIGINT end the program, with the terminal as it was, by that signal. SIGTSTP (Ctrl-Z) gives the
terminal back for as long as the program is stopped. The sequences are those of xterm (ctlseqs), which all of today's
terminals know.
"""

from __future__ import annotations

import os
import select
import signal
import termios
from collections.abc import Sequence
from types import FrameType, TracebackType

_ENTER = b"\x1b[?1049h\x1b[?25l\x1b[?7l"
"""The alternate screen, no cursor, no line that goes on in the next one."""

_LEAVE = b"\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME = b"\x1b[H"
_CLEAR_REST_OF_LINE = b"\x1b[K"
_CLEAR_BELOW = b"\x1b[J"

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class EndedBySignal(BaseException):
    """A signal asks the program to end. It must not be caught by what catches errors."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class FullScreen:
    """The terminal on `output`, and the keys of `keyboard` where that is a terminal as well.

    A context manager. Signals raise EndedBySignal in the block; the end of the block then ends the process by it.
    """

    def __init__(self, keyboard: int, output: int) -> None:
        self._keyboard = keyboard if os.isatty(keyboard) else None
        self._saved = None if self._keyboard is None else termios.tcgetattr(self._keyboard)
        self._output = output
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)

    def __enter__(self) -> FullScreen:
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _end)
        signal.signal(signal.SIGTSTP, self._stop)
        signal.signal(signal.SIGWINCH, _note)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, (*_ENDING, signal.SIGTSTP))  # nothing may come between
        self._give_back()
        if isinstance(error, EndedBySignal):
            signal.signal(error.number, signal.SIG_DFL)
            os.kill(os.getpid(), error.number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_ENDING, signal.SIGTSTP))

    def _take(self) -> None:
        if self._keyboard is not None:
            silent = termios.tcgetattr(self._keyboard)
            silent[3] &= ~(termios.ICANON | termios.ECHO)
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, silent)
        self._write(_ENTER)

    def _give_back(self) -> None:
        try:
            self._write(_LEAVE)
            if self._keyboard is not None and self._saved is not None:
                termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._saved)
        except (OSError, termios.error):
            pass  # the terminal has gone

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Stop as SIGTSTP does, with the terminal as it was; and go on with ours."""
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTSTP,))  # here it stops, and here it goes on
        signal.signal(signal.SIGTSTP, self._stop)
        self._take()

    @property
    def size(self) -> os.terminal_size:
        """Columns and lines; 80 and 24 where the terminal doesn't tell."""
        size = os.get_terminal_size(self._output)
        return os.terminal_size((size.columns or 80, size.lines or 24))

    def draw(self, lines: Sequence[bytes]) -> None:
        """Show these lines, each of at most the width, and no more than the height."""
        self._write(_HOME + b"\r\n".join(line + _CLEAR_REST_OF_LINE for line in lines) + _CLEAR_BELOW)

    def wait(self, seconds: float) -> bytes | None:
        """Wait for a key, for so long at most. Returns what was typed; b"" where the size may have changed or the
        program has been stopped meanwhile; None when the time is up.
        """
        keyboard = [] if self._keyboard is None else [self._keyboard]
        ready, _, _ = select.select([self._wake_read, *keyboard], [], [], seconds)
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
            return b""
        return self._typed() if ready else None

    def _typed(self) -> bytes:
        assert self._keyboard is not None
        typed = os.read(self._keyboard, 4096)
        if not typed:  # the terminal has gone
            raise EndedBySignal(signal.SIGHUP)
        return typed

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._output, rest) :]


def _end(number: int, frame: FrameType | None) -> None:
    raise EndedBySignal(number)


def _note(number: int, frame: FrameType | None) -> None:
    """The wakeup descriptor tells of it: without a handler it would not."""
