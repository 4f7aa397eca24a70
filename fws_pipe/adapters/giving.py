"""How events are given to a program, and so what is promised of them when it dies. No I/O.

At most once: a tick goes on ahead of the events that it covers. What the program makes of an event leaves behind that
tick in the same pipe, so once anything of it has been carried out the event counts as done, and no later program gets
it again. What the program was at work on when it died is lost.

Exactly: the program says after each event that it is done with it, and frames behind the event wait for that, ticks
too. What it makes of an event gets the event's `seq`. So it is replayed as through any filter, and nothing is carried
out twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from fws_pipe.adapters.arguments import Option, Words
from fws_pipe.adapters.pending import Pending
from fws_pipe.protocol.actions import ACTION_TYPES
from fws_pipe.protocol.codec import Frame, FrameDecoder, encode, type_of
from fws_pipe.protocol.events import TICK
from fws_pipe.protocol.outgoing import Outgoing
from fws_pipe.wording import counted

HELD_BYTES = 16 * 1024 * 1024
"""How much may wait for a tick: more than any batch of the front has, so only what comes without ticks gets there."""


class Giving(Protocol):
    """Takes what the program is to read, and what it has written."""

    promise: str
    """What is promised of an event when the program dies, for people."""

    @property
    def unanswered(self) -> int:
        """How many bytes are kept until the program has answered."""

    def pass_on(self, frame: Frame) -> None:
        """The frame that the decoder has at hand passes on, in its turn."""

    def give(self, frame: Frame, line: bytes) -> None:
        """The program is to read this line about a frame."""

    def end(self) -> None:
        """No more frames come."""

    def write(self, frame: Frame) -> None:
        """The program has made this frame. Raises TypeError or ValueError when it has no msgpack form."""

    def acknowledge(self) -> None:
        """The program says that it is done with the oldest event that it has not said this of."""

    def lines(self) -> bytes:
        """What the program is to read now."""

    def missing(self) -> str:
        """What the program has still to acknowledge, for people; empty: nothing."""


ACK = Option("--ack", "the program says when it is done with an event, so that none is lost when it dies")


def giving_of(words: Words, tell: Callable[[str], None], decoder: FrameDecoder, out: Outgoing) -> Giving:
    """How events are given, as was asked for."""
    return Exactly(tell, decoder, out) if words.has(ACK) else AtMostOnce(out)


class AtMostOnce:
    """Gives an event when a tick that covers it has passed; at once where no ticks come at all."""

    def __init__(self, out: Outgoing) -> None:
        self.promise = (
            "it gets each event at most once: what it is at work on when it dies is lost; --ack makes it exact"
        )
        self._out = out
        self._lines: list[bytes] = []
        self._held: deque[tuple[int, bytes]] = deque()
        """Lines that wait for a tick, with the number of the event."""
        self._held_size = 0
        self._tick: int | None = None
        """The last tick that has passed."""

    @property
    def unanswered(self) -> int:
        """Always none: what is held waits for the front."""
        return 0

    def pass_on(self, frame: Frame) -> None:
        """It passes; a tick lets go what it covers."""
        self._out.pass_on()
        seq = frame.get("seq")
        if type_of(frame) == TICK and type(seq) is int:
            self._tick = seq
            while self._held and self._held[0][0] <= seq:
                self._let_go()

    def give(self, frame: Frame, line: bytes) -> None:
        """Give it, or hold it until its tick."""
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
        """Give all that is held: no tick will come."""
        while self._held:
            self._let_go()

    def _let_go(self) -> None:
        _, line = self._held.popleft()
        self._held_size -= len(line)
        self._lines.append(line)

    def write(self, frame: Frame) -> None:
        """It goes out."""
        self._out.add(encode(frame))

    def acknowledge(self) -> None:
        """No-op."""

    def lines(self) -> bytes:
        """What has been let go."""
        lines, self._lines = self._lines, []
        return b"".join(lines)

    def missing(self) -> str:
        """Always nothing: whether an event is being worked on is not known."""
        return ""


class Exactly:
    """Gives each event at once, and keeps what stands behind it until it is acknowledged. `tell` complains."""

    def __init__(self, tell: Callable[[str], None], decoder: FrameDecoder, out: Outgoing) -> None:
        self.promise = "what it has not acknowledged when it dies comes again (--ack)"
        self._tell = tell
        self._out = out
        self._pending: Pending[object] = Pending(decoder, out)
        """The numbers of the events that are not acknowledged."""
        self._lines: list[bytes] = []

    @property
    def unanswered(self) -> int:
        """How many bytes wait for acknowledgements."""
        return self._pending.size

    def pass_on(self, frame: Frame) -> None:
        """It passes when all before it is acknowledged."""
        self._pending.pass_on()

    def give(self, frame: Frame, line: bytes) -> None:
        """Give it."""
        self._lines.append(line)
        self._pending.ask(frame.get("seq"), len(line))

    def end(self) -> None:
        """No-op: the acknowledgements come all the same."""

    def write(self, frame: Frame) -> None:
        """It goes out, an action as one that the oldest event has caused."""
        seq = self._pending.oldest
        if type(seq) is int and "seq" not in frame and type_of(frame) in ACTION_TYPES:
            frame["seq"] = seq
        self._out.add(encode(frame))

    def acknowledge(self) -> None:
        """Let pass what stands behind the oldest event."""
        if self._pending:
            self._pending.settle()
        else:
            self._tell("it acknowledges an event that it has not got: expected one acknowledgement for each")

    def lines(self) -> bytes:
        """What has been given since the last call."""
        lines, self._lines = self._lines, []
        return b"".join(lines)

    def missing(self) -> str:
        """How many events are not acknowledged."""
        return f"{counted(len(self._pending), 'event')} not acknowledged" if self._pending else ""
