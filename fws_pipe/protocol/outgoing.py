"""A filter's output: the frames that it passes on, byte for byte, and new frames between them. No I/O.

Adjacent frames that pass on are copied as one run of bytes; a whole block that passes on isn't copied at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fws_pipe.protocol.codec import Frame, FrameDecoder, encode

_PIECES = 64
"""How many pieces are collected before they are written: the output of one block may be too large for memory."""


class Outgoing:
    """Collects output in order. `spill` is called with the bytes when there are many; `pop_all` returns the rest."""

    __slots__ = ("_decoder", "_end", "_pieces", "_spill", "_start")

    def __init__(self, decoder: FrameDecoder, spill: Callable[[bytes], object]) -> None:
        self._decoder = decoder
        self._spill = spill
        self._pieces: list[bytes] = []
        self._start = self._end = 0
        """The run that passes on and isn't copied yet, as two offsets in the incoming stream."""

    def pass_on(self) -> None:
        """Pass on the frame that the decoder has just yielded, byte for byte."""
        decoder = self._decoder
        if decoder.start != self._end:
            if self._start != self._end:
                self._end_run()
            self._start = decoder.start
        self._end = decoder.offset

    def add(self, piece: bytes) -> None:
        """Append the bytes of one or more new frames."""
        if self._start != self._end:
            self._end_run()
        self._pieces.append(piece)
        if len(self._pieces) >= _PIECES:
            self._spill(self.pop_all())

    def add_all(self, frames: Iterable[Frame]) -> None:
        """Append new frames. Raises TypeError or ValueError when a value has no msgpack form."""
        for frame in frames:
            self.add(encode(frame))

    def pop_all(self) -> bytes:
        """The output so far, which this forgets. Call it before the decoder gets its next block."""
        if self._start != self._end:
            self._end_run()
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    def _end_run(self) -> None:
        self._pieces.append(self._decoder.between(self._start, self._end))
        self._start = self._end
