"""A translator between frames and a program's lines, without a program."""

from __future__ import annotations

from collections.abc import Callable

from fws_pipe.adapters.arguments import Option, Words, parse_words
from fws_pipe.adapters.shared import Translator, take_frame
from fws_pipe.pipes.event_faults import EventFaults
from fws_pipe.protocol.codec import Frame, FrameDecoder, encode
from fws_pipe.protocol.outgoing import Outgoing

Make = Callable[[Words, Callable[[str], None], FrameDecoder, Outgoing], Translator]


class Conversation:
    """`told` are its complaints."""

    def __init__(self, make: Make, options: list[Option], *words: str) -> None:
        self.told: list[str] = []
        self._decoder = FrameDecoder()
        self._written = FrameDecoder()
        self._faults = EventFaults()
        self._out = Outgoing(self._decoder, self._written.feed)
        self.translator = make(parse_words(options, words), self.told.append, self._decoder, self._out)

    def give(self, *frames: Frame) -> bytes:
        """Give it frames; returns what the program gets to read."""
        self._decoder.feed(b"".join(map(encode, frames)))
        for frame in self._decoder.frames():
            take_frame(self.translator, self._faults, frame)
        self._written.feed(self._out.pop_all())
        return self.translator.lines()

    def answer(self, *lines: bytes) -> list[Frame]:
        """The program writes these lines; returns what has come out since the last time."""
        self.translator.take_lines(list(lines))
        return self.frames()

    def frames(self) -> list[Frame]:
        """What has come out since the last time."""
        self._written.feed(self._out.pop_all())
        return list(self._written.frames())


TICK: Frame = {"type": "tick", "seq": 3, "time": 1.5}


def message(data: str | bytes, seq: int = 1, client: str = "a-1") -> Frame:
    """A message as the front makes it."""
    return {"type": "message", "seq": seq, "time": 1.0, "id": client, "data": data}


def tick(seq: int) -> Frame:
    """A tick as the front makes it."""
    return {**TICK, "seq": seq}
