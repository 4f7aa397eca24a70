"""json: to_json, the program and from_json in one process; ticks pass round the program. No I/O.

The program reads each frame but ticks as a line of JSON, and what it writes takes their place. With acknowledgements it
writes `{"type":"tick"}` behind what it makes of each line.
"""

from __future__ import annotations

from collections.abc import Callable

from fws_pipe.adapters.arguments import Words
from fws_pipe.adapters.giving import Giving, giving_of
from fws_pipe.adapters.lines import LINE_LIMIT_BYTES
from fws_pipe.protocol.codec import Frame, FrameDecoder, describe, type_of
from fws_pipe.protocol.events import TICK
from fws_pipe.protocol.json_form import JsonFormError, from_json, is_blank, to_json
from fws_pipe.protocol.outgoing import Outgoing
from fws_pipe.wording import counted


class JsonProgram:
    """`tell` complains of lines that are not JSON."""

    def __init__(self, giving: Giving, tell: Callable[[str], None], decoder: FrameDecoder) -> None:
        self._giving = giving
        self._tell = tell
        self._decoder = decoder

    @property
    def promise(self) -> str:
        """What is promised of an event when the program dies."""
        return self._giving.promise

    @property
    def unanswered(self) -> int:
        """How many bytes are kept until the program has acknowledged."""
        return self._giving.unanswered

    def take(self, frame: Frame) -> None:
        """A frame has come."""
        if frame.get("type") == TICK:
            self._giving.pass_on(frame)
        else:
            self._giving.give(frame, to_json(frame, self._decoder.raw()))

    def end(self) -> None:
        """No more frames come."""
        self._giving.end()

    def take_lines(self, lines: list[bytes]) -> None:
        """The program has written these: frames, blank lines, and what is neither."""
        for line in lines:
            if is_blank(line):
                continue
            try:
                frame = from_json(line)
            except JsonFormError as error:
                self._tell(f"{error}: {describe(line)}; dropped")
                continue
            if type_of(frame) == TICK:
                self._giving.acknowledge()
            else:
                self._giving.write(frame)

    def note_dropped(self, count: int) -> None:
        """So many lines over the limit were left out."""
        self._tell(f"{counted(count, 'line')} over the limit of {LINE_LIMIT_BYTES} bytes; dropped")

    def lines(self) -> bytes:
        """What the program is to read now."""
        return self._giving.lines()

    def missing(self) -> str:
        """What the program has still to acknowledge."""
        return self._giving.missing()


def make(words: Words, tell: Callable[[str], None], decoder: FrameDecoder, out: Outgoing) -> JsonProgram:
    """For the filter json."""
    return JsonProgram(giving_of(words, tell, decoder, out), tell, decoder)
