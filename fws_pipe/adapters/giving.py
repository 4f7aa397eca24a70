"""Two ways to give events to a program, which decide what is promised of an event when the program dies. No I/O.

At most once: the program gets an event only after the tick that covers it has passed on. The program's answers follow
that tick in the pipe, so once any of them is executed the event counts as done, and no later program gets it again. The
events that a program is working on when it dies are lost.

Exactly: the program acknowledges each event, and the frames behind the event, ticks included, wait for that. The
program's answers get the event's `seq`. So an event is replayed as through any filter, and no action is executed twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from fws_pipe.adapters.arguments import Option, Words
from fws_pipe.adapters.lines import LINE_LIMIT_BYTES
from fws_pipe.adapters.pending import Pending
from fws_pipe.protocol.actions import ACTION_TYPES
from fws_pipe.protocol.codec import Frame, FrameDecoder, encode, type_of
from fws_pipe.protocol.events import TICK
from fws_pipe.protocol.outgoing import Outgoing
from fws_pipe.wording import counted

HELD_BYTES = 16 * 1024 * 1024
"""The most that waits for a tick: more than any batch of the front, so only input without ticks gets there."""


class Giving(Protocol):
    """Decides when the program gets a line, and when frames pass on."""

    @property
    def promise(self) -> str:
        """For the log: what is promised of an event if the program dies."""

    @property
    def unanswered(self) -> int:
        """Bytes that are kept until the program has acknowledged."""

    def pass_on(self, frame: Frame) -> None:
        """Pass on the frame that the decoder has at hand, in its turn."""

    def give(self, frame: Frame, line: bytes) -> None:
        """Let the program read this line about a frame."""

    def end(self) -> None:
        """Note the end of stdin."""

    def write(self, frame: Frame) -> None:
        """Send out a frame that the program has made. Raises TypeError or ValueError if it has no msgpack form."""

    def acknowledge(self) -> None:
        """Note that the program has finished its oldest unacknowledged event."""

    def lines(self) -> bytes:
        """Take the lines that the program is to read now."""

    def missing(self) -> str:
        """For the log: what the program has not acknowledged yet; empty: nothing."""


class GivingTranslator:
    """The part of a translator (`shared.Translator`) that does not depend on the form of the program's lines.

    `tell` logs complaints about the program.
    """

    def __init__(self, giving: Giving, tell: Callable[[str], None]) -> None:
        self._giving = giving
        self._tell = tell

    @property
    def promise(self) -> str:
        """For the log: what is promised of an event if the program dies."""
        return self._giving.promise

    @property
    def unanswered(self) -> int:
        """Bytes that are kept until the program has acknowledged."""
        return self._giving.unanswered

    def end(self) -> None:
        """Note the end of stdin."""
        self._giving.end()

    def note_dropped(self, count: int) -> None:
        """Complain of `count` dropped lines over the limit."""
        self._tell(f"{counted(count, 'line')} over the limit of {LINE_LIMIT_BYTES} bytes; dropped")

    def lines(self) -> bytes:
        """Take the lines that the program is to read now."""
        return self._giving.lines()

    def missing(self) -> str:
        """For the log: what the program has not acknowledged yet; empty: nothing."""
        return self._giving.missing()


ACK = Option("--ack", "the program acknowledges each event, so that none is lost when the program dies")


def giving_of(words: Words, tell: Callable[[str], None], decoder: FrameDecoder, out: Outgoing) -> Giving:
    """The way to give events that the command line asks for."""
    return Exactly(tell, decoder, out) if words.has(ACK) else AtMostOnce(out)


class AtMostOnce:
    """Gives an event once a tick that covers it has passed on; at once if the input has no ticks."""

    promise = "it gets each event at most once, and loses those it is working on when it dies; --ack loses none"

    def __init__(self, out: Outgoing) -> None:
        self._out = out
        self._lines: list[bytes] = []
        self._held: deque[tuple[int, bytes]] = deque()
        """The number of the event, and the line, while they wait for a tick."""
        self._held_size = 0
        self._tick: int | None = None
        """The number of the last tick that has passed on."""

    @property
    def unanswered(self) -> int:
        """Always 0: held lines wait for the front, not for the program."""
        return 0

    def pass_on(self, frame: Frame) -> None:
        """Pass on a frame; behind a tick give the lines that it covers."""
        self._out.pass_on()
        seq = frame.get("seq")
        if type_of(frame) == TICK and type(seq) is int:
            self._tick = seq
            while self._held and self._held[0][0] <= seq:
                self._let_go()

    def give(self, frame: Frame, line: bytes) -> None:
        """Give a line, or hold it until its tick."""
        seq = frame.get("seq")
        number = seq if type(seq) is int and self._tick is not None else 0
        if not self._held and number <= (self._tick or 0):
            self._lines.append(line)
            return
        self._held.append((number, line))
        self._held_size += len(line)
        if self._held_size > HELD_BYTES:
            self.end()

    def end(self) -> None:
        """Give all held lines: no tick will come."""
        while self._held:
            self._let_go()

    def _let_go(self) -> None:
        _, line = self._held.popleft()
        self._held_size -= len(line)
        self._lines.append(line)

    def write(self, frame: Frame) -> None:
        """Send out a frame."""
        self._out.add(encode(frame))

    def acknowledge(self) -> None:
        """No-op."""

    def lines(self) -> bytes:
        """Take the lines that the program is to read now."""
        lines, self._lines = self._lines, []
        return b"".join(lines)

    def missing(self) -> str:
        """Always empty: which events the program is working on is unknown."""
        return ""


class Exactly:
    """Gives each event at once, and keeps the frames behind it until it is acknowledged. `tell` logs complaints."""

    promise = "events that it has not acknowledged when it dies come again (--ack)"

    def __init__(self, tell: Callable[[str], None], decoder: FrameDecoder, out: Outgoing) -> None:
        self._tell = tell
        self._out = out
        self._pending: Pending[object] = Pending(decoder, out)
        """The numbers of the unacknowledged events, and the frames behind them."""
        self._lines: list[bytes] = []

    @property
    def unanswered(self) -> int:
        """Bytes that wait for acknowledgements."""
        return self._pending.size

    def pass_on(self, frame: Frame) -> None:
        """Pass on a frame once all events before it are acknowledged."""
        self._pending.pass_on()

    def give(self, frame: Frame, line: bytes) -> None:
        """Give a line."""
        self._lines.append(line)
        self._pending.ask(frame.get("seq"), len(line))

    def end(self) -> None:
        """No-op: the acknowledgements still come."""

    def write(self, frame: Frame) -> None:
        """Send out a frame; an action gets the `seq` of the oldest unacknowledged event."""
        seq = self._pending.oldest
        if type(seq) is int and "seq" not in frame and type_of(frame) in ACTION_TYPES:
            frame["seq"] = seq
        self._out.add(encode(frame))

    def acknowledge(self) -> None:
        """Pass on the frames behind the oldest event."""
        if self._pending:
            self._pending.settle()
        else:
            self._tell("it has acknowledged more events than it has read; expected one acknowledgement for each")

    def lines(self) -> bytes:
        """Take the lines that the program is to read now."""
        lines, self._lines = self._lines, []
        return b"".join(lines)

    def missing(self) -> str:
        """For the log: the number of unacknowledged events; empty: none."""
        return f"{counted(len(self._pending), 'event')} not acknowledged" if self._pending else ""
