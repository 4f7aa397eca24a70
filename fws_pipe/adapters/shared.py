"""The main loop of an adapter that runs one program for all clients.

Reads: frames on stdin, lines of the program. Writes: frames on stdout, lines to the program. What they mean is a
`Translator`'s business.

No more frames are read while more than 256 KiB (BACKLOG_BYTES) wait for the program to read, or 1 MiB for its answers:
all else waits in the pipe, and so for the client. At the end of input the program gets its own, and as long as it
needs; a server that ends sends SIGTERM after 2 s, which the program gets, and SIGKILL after one more.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn, Protocol

from fws_pipe.adapters.arguments import PTY, STDBUF, Option, Words
from fws_pipe.adapters.command import Command, command_of
from fws_pipe.adapters.complaints import Complaints
from fws_pipe.adapters.guard import Guard
from fws_pipe.adapters.lines import LineCutter
from fws_pipe.adapters.loop import READABLE, Loop
from fws_pipe.adapters.program import Program, describe_status
from fws_pipe.adapters.start import die_of, run_adapter
from fws_pipe.chain.buffering import cure_for
from fws_pipe.errors import FrameError, ProgramError, SystemRefusedError
from fws_pipe.pipes.blocks import STDIN, BlockWriter, ReadBuffer, input_source, say
from fws_pipe.protocol.codec import Frame, FrameDecoder
from fws_pipe.protocol.outgoing import Outgoing

UNANSWERED_BYTES = 1024 * 1024
"""How much may wait for a program's answers before no more frames are read."""

SILENCE_S = 1.0
"""How long a program may write nothing at all before that is told: most that do hold their lines back."""


class Translator(Protocol):
    """Says what frames are to the program, and what its lines are in frames. Never waits."""

    @property
    def promise(self) -> str:
        """What is promised of an event when the program dies, where that is less than of any filter's."""

    @property
    def unanswered(self) -> int:
        """How many bytes are kept until the program has answered."""

    def take(self, frame: Frame) -> None:
        """A frame has come."""

    def end(self) -> None:
        """No more frames come."""

    def take_lines(self, lines: list[bytes]) -> None:
        """The program has written these lines. Raises ProgramError for what can't be mended."""

    def note_dropped(self, count: int) -> None:
        """So many lines over the limit were left out. Raises ProgramError where that can't be mended."""

    def lines(self) -> bytes:
        """What the program is to read now."""

    def missing(self) -> str:
        """What the program has still to answer, for people; empty: nothing."""


class Cutter(Protocol):
    """Cuts what the program writes into lines, or into other messages."""

    dropped: int
    """How many were left out, for being too long."""

    def feed(self, block: bytes) -> list[bytes]:
        """Take the next block; returns those that end in it. Raises ProgramError for what can't be cut."""

    def finish(self) -> list[bytes]:
        """The last one, if it is whole without an end."""


class Shared:
    """One program, and the way in and out of it.

    `name` is the filter's; `tell` complains of the program; `make` gets the decoder of stdin and what goes out.
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
        self._was_asked = self._has_answered = False
        self._is_reading = False
        self._is_at_end = False
        """Whether stdin has come to its end."""
        self._failure: FrameError | None = None
        self._is_terminated = False
        self._status: int | None = None

    def run(self) -> None:
        """Run until both ends have come. Raises FwsError for what has gone wrong, OutputClosedError."""
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
        """Write what there is, frames first: a tick is on its way before what it covers may be lost."""
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
        """Read frames, unless the program has enough to do."""
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
            return  # whoever shares the descriptor has made it non-blocking, and reads as well
        except OSError as error:
            raise SystemRefusedError(f"can't read from {self._decoder.source}: {error.strerror}") from None
        try:
            if block:
                self._decoder.feed(block)
                for frame in self._decoder.frames():
                    self._translator.take(frame)
                return
            self._decoder.finish()
        except FrameError as error:
            self._failure = error  # told when the program has answered what came before it
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
            cure = f"{cure_for(self._command.name)}, or try {self._name} --pty"
            self._tell(f"it has been given lines, and has written none for {SILENCE_S:g} s; if it should: {cure}")

    def _note_end(self, status: int) -> None:
        self._translator.take_lines(self._cutter.finish())
        self._status = status
        self._loop.stop()

    def _terminate(self) -> None:
        self._is_terminated = True
        self._program.terminate()

    def _judge(self) -> None:
        """The program has ended: may it?"""
        if self._is_terminated:
            die_of(signal.SIGTERM)
        if self._failure is not None:
            raise self._failure
        missing = self._translator.missing()
        if missing or not self._is_at_end:
            assert self._status is not None
            end = f"{self._command.name} {describe_status(self._status)}"
            raise ProgramError(f"{end}, with {missing}" if missing else end)


Make = Callable[[Words, Callable[[str], None], FrameDecoder, Outgoing], Translator]
"""Makes a translator: of what was asked for, what complains about the program, the decoder of stdin, what goes out."""


def _line_cutter(words: Words) -> Cutter:
    return LineCutter()


def run_shared(
    name: str, summary: str, options: Sequence[Option], make: Make, cutter: Callable[[Words], Cutter] = _line_cutter
) -> NoReturn:
    """Be a filter that runs one command for all clients, and leave nothing of it behind."""

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
