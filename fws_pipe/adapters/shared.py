"""The main loop of an adapter that runs one program for all clients.

Reads: frames on stdin, and the program's lines. Writes: frames on stdout, and lines to the program. A `Translator`
turns one into the other.

The adapter reads no more frames while the program has yet to read more than 256 KiB (BACKLOG_BYTES), or to answer more
than 1 MiB: the rest waits in the pipe, and back-pressure reaches the client. At the end of its input the adapter ends
the program's input, and gives the program as long as it needs. A server that stops sends SIGTERM after 2 s, which is
passed on to the program, and SIGKILL one second later.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NoReturn, Protocol

from fws_pipe.adapters.arguments import PTY, STDBUF, Option, Words
from fws_pipe.adapters.command import Command, command_of
from fws_pipe.adapters.complaints import Complaints
from fws_pipe.adapters.guard import Guard
from fws_pipe.adapters.lines import LINE_LIMIT_BYTES
from fws_pipe.adapters.loop import READABLE, Loop
from fws_pipe.adapters.program import Program
from fws_pipe.adapters.start import die_of, run_adapter
from fws_pipe.chain.buffering import cure_for
from fws_pipe.errors import FrameError, ProgramError, SystemRefusedError
from fws_pipe.pipes.blocks import STDIN, BlockWriter, ReadBuffer, input_source, say
from fws_pipe.pipes.event_faults import EventFaults
from fws_pipe.pipes.line_cutter import LineCutter
from fws_pipe.protocol.codec import Frame, FrameDecoder, type_of
from fws_pipe.protocol.outgoing import Outgoing
from fws_pipe.system.signals import ending_of

UNANSWERED_BYTES = 1024 * 1024
"""No more frames are read while the program's answer to more than this is missing."""

SILENCE_S = 1.0
"""The log tells of a program that has written nothing for this long: most such programs buffer their lines."""


class Translator(Protocol):
    """Turns frames into the program's lines, and its lines into frames. Never waits."""

    @property
    def handles(self) -> Collection[str]:
        """The types of events whose fields it reads."""

    @property
    def promise(self) -> str:
        """For the log: what is promised of an event if the program dies; empty: as much as of any filter's."""

    @property
    def unanswered(self) -> int:
        """Bytes that are kept until the program has answered."""

    def take(self, frame: Frame, handled: str) -> None:
        """Take a frame from stdin; `handled` is its type if that is in `handles` and no field is wrong, else empty."""

    def end(self) -> None:
        """Note the end of stdin."""

    def take_lines(self, lines: list[bytes]) -> None:
        """Take lines that the program has written. Raises ProgramError for one after which it can't go on."""

    def note_dropped(self, count: int) -> None:
        """Note that `count` lines over the limit were dropped. Raises ProgramError if it can't go on without them."""

    def lines(self) -> bytes:
        """Take the lines that the program is to read now."""

    def missing(self) -> str:
        """For the log: what the program has not answered yet; empty: nothing."""


class Cutter(Protocol):
    """Cuts the program's output into lines, or into messages with headers."""

    dropped: int
    """Lines or messages that were left out, since they were over the limit."""

    def feed(self, block: bytes) -> list[bytes]:
        """Take the next block; returns the lines that end in it. Raises ProgramError for an invalid header."""

    def finish(self) -> list[bytes]:
        """The last line, if it lacks a newline."""


def take_frame(translator: Translator, faults: EventFaults, frame: Frame) -> None:
    """Give a translator a frame."""
    kind = type_of(frame) or ""
    is_handled = kind in translator.handles and faults.is_sound(frame, kind)
    translator.take(frame, kind if is_handled else "")


class Shared:
    """Runs one program for all clients.

    `name` is the filter's; `tell` logs complaints about the program; `make` makes the translator from the decoder of
    stdin and the queue of outgoing frames.
    """

    def __init__(
        self,
        name: str,
        tell: Callable[[str], None],
        loop: Loop,
        guard: Guard,
        command: Command,
        cutter: Cutter,
        make: Callable[[FrameDecoder, Outgoing], Translator],
    ) -> None:
        self._name = name
        self._tell = tell
        self._loop = loop
        self._guard = guard
        self._command = command
        self._buffer = ReadBuffer()
        self._decoder = FrameDecoder(input_source())
        self._output = BlockWriter()
        self._out = Outgoing(self._decoder, self._output.add)
        self._translator = make(self._decoder, self._out)
        self._cutter = cutter
        self._faults = EventFaults()
        self._was_asked = self._has_answered = False
        self._is_reading = False
        self._is_at_end = False
        """Whether stdin has ended."""
        self._failure: FrameError | None = None
        self._is_terminated = False
        self._status: int | None = None

    def run(self) -> None:
        """Run until both stdin and the program have ended. Raises FwsError, OutputClosedError."""
        self._program = Program(
            self._loop, self._guard, self._command,
            on_output=self._take_output, on_end=self._note_end, on_room=self._read_on,
        )  # fmt: skip
        if self._translator.promise:
            say(f"{self._name}: {self._command.name}: {self._translator.promise}")
        try:
            self._loop.on_signal(signal.SIGTERM, self._terminate)
            self._loop.run(self._flush)
            self._flush()
        finally:
            self._program.kill()
        self._judge()

    def _flush(self) -> None:
        """Write all that waits. Frames go first, so that a tick has left before the program can fail on new lines."""
        self._output.add(self._out.pop_all())
        self._output.flush()
        lines = self._translator.lines()
        if lines:
            self._program.write(lines)
            if not self._was_asked:
                self._was_asked = True
                self._loop.call_later(SILENCE_S, self._check_silence)
        if self._is_at_end:
            self._program.end_input()
        else:
            self._read_on()

    def _read_on(self) -> None:
        """Read frames, unless the program is behind."""
        must_wait = self._program.is_full or self._translator.unanswered > UNANSWERED_BYTES
        if must_wait == self._is_reading:
            self._is_reading = not must_wait
            if must_wait:
                self._loop.unwatch(STDIN)
            else:
                self._loop.watch(STDIN, READABLE, self._read_frames)

    def _read_frames(self) -> None:
        try:
            block = self._buffer.read(STDIN)
        except BlockingIOError:
            return  # another process shares the descriptor, has made it non-blocking, and has read first
        except OSError as error:
            raise SystemRefusedError(f"can't read from {self._decoder.source}: {error.strerror}") from None
        try:
            if block:
                self._decoder.feed(block)
                for frame in self._decoder.frames():
                    take_frame(self._translator, self._faults, frame)
                return
            self._decoder.finish()
        except FrameError as error:
            self._failure = error  # raised once the program has answered the frames before it
        self._end_input()

    def _end_input(self) -> None:
        self._is_at_end = True
        self._loop.unwatch(STDIN)
        self._translator.end()

    def _take_output(self, block: bytes) -> None:
        self._has_answered = True
        dropped = self._cutter.dropped
        self._translator.take_lines(self._cutter.feed(block))
        if self._cutter.dropped != dropped:
            self._translator.note_dropped(self._cutter.dropped - dropped)

    def _check_silence(self) -> None:
        if not self._has_answered:
            # A terminal is the stdout of a pipeline's last program alone.
            option = STDBUF if self._command.is_pipeline else PTY
            cure = f"{cure_for(self._command.text, 'line')}, or try {self._name} {option.flag}"
            self._tell(f"it has read lines, and has written none for {SILENCE_S:g} s; if it should have: {cure}")

    def _note_end(self, status: int) -> None:
        self._translator.take_lines(self._cutter.finish())
        self._status = status
        self._loop.stop()

    def _terminate(self) -> None:
        self._is_terminated = True
        self._program.terminate()

    def _judge(self) -> None:
        """Raise the failure, if any, once the program has ended."""
        if self._is_terminated:
            die_of(signal.SIGTERM)
        if self._failure is not None:
            raise self._failure
        missing = self._translator.missing()
        if missing or not self._is_at_end:
            assert self._status is not None
            end = f"{self._command.name} {ending_of(self._status)}"
            raise ProgramError(f"{end}, with {missing}" if missing else end)


Make = Callable[[Words, Callable[[str], None], FrameDecoder, Outgoing], Translator]
"""Makes a translator from the command line, the complaint function, the decoder of stdin and the outgoing frames."""


def _line_cutter(words: Words) -> Cutter:
    return LineCutter(LINE_LIMIT_BYTES)


def run_shared(
    name: str, summary: str, options: Sequence[Option], make: Make, cutter: Callable[[Words], Cutter] = _line_cutter
) -> NoReturn:
    """Run a filter that runs one command for all clients, and exit."""

    def main(words: Words) -> None:
        command = command_of(words.command, has_terminal=words.has(PTY), is_line_buffered=words.has(STDBUF))
        guard = Guard()
        complaints = Complaints(f"{name}: {command.name}")
        try:
            with Loop() as loop:
                translator = partial(make, words, complaints.tell)
                Shared(name, complaints.tell, loop, guard, command, cutter(words), translator).run()
        finally:
            guard.close()
            complaints.finish()

    run_adapter(name, summary, [*options, PTY, STDBUF], main)
