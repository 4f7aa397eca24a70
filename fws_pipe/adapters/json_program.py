"""json: frames as lines of JSON, and lines of JSON as frames. No I/O.

The program reads each frame as a line of JSON, and the frames that it writes take their place; only ticks bypass it.
With acknowledgements it writes `{"type":"tick"}` behind its answers to each line.
"""

from __future__ import annotations

from collections.abc import Callable

from fws_pipe.adapters.arguments import Words
from fws_pipe.adapters.giving import Giving, GivingTranslator, giving_of
from fws_pipe.protocol.codec import Frame, FrameDecoder, describe, type_of
from fws_pipe.protocol.events import TICK
from fws_pipe.protocol.json_form import JsonFormError, from_json, is_blank, to_json
from fws_pipe.protocol.outgoing import Outgoing


class JsonProgram(GivingTranslator):
    """The translator of json."""

    handles: tuple[str, ...] = ()
    """None: the program decides on every frame, as between to_json and from_json."""

    def __init__(self, giving: Giving, tell: Callable[[str], None], decoder: FrameDecoder) -> None:
        super().__init__(giving, tell)
        self._decoder = decoder

    def take(self, frame: Frame, handled: str) -> None:
        """Take a frame from stdin."""
        if frame.get("type") == TICK:
            self._giving.pass_on(frame)
        else:
            self._giving.give(frame, to_json(frame, self._decoder.raw()))

    def take_lines(self, lines: list[bytes]) -> None:
        """Take lines of the program: frames, blank lines, and lines that are dropped with a complaint."""
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


def make(words: Words, tell: Callable[[str], None], decoder: FrameDecoder, out: Outgoing) -> JsonProgram:
    """Make the translator of the filter json."""
    return JsonProgram(giving_of(words, tell, decoder, out), tell, decoder)
