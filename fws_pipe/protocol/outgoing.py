"""What a filter writes: the frames that it passes on, to the letter, and new ones between them. No I/O.

Neighbours that pass on are copied together, as the run of bytes that they came as; where a whole block passes on it is
not copied at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fws_pipe.protocol.codec import Frame, FrameDecoder, encode

_PIECES = 64
"""How many pieces are joined before they go: what has been made of a block need not stay in memory as a whole."""


class Outgoing:
    """In order, what goes out. `spill` gets it when there is much of it, the owner by `take` when a block is over."""

    __slots__ = ("_decoder", "_end", "_pieces", "_spill", "_start")

    def __init__(self, decoder: FrameDecoder, spill: Callable[[bytes], object]) -> None:
        self._decoder = decoder
        self._spill = spill
        self._pieces: list[bytes] = []
        self._start = self._end = 0
        """The run that passes on and has not been copied, in bytes of the stream that comes in."""

    def pass_on(self) -> None:
        """The frame at hand passes on, to the letter."""
        decoder = self._decoder
        if decoder.start != self._end:
            if self._start != self._end:
                self._end_run()
            self._start = decoder.start
        self._end = decoder.offset

    def add(self, piece: bytes) -> None:
        """A new frame follows, or several."""
        if self._start != self._end:
            self._end_run()
        self._pieces.append(piece)
        if len(self._pieces) >= _PIECES:
            self._spill(self.take())

    def add_all(self, frames: Iterable[Frame]) -> None:
        """New frames follow. Raises TypeError or ValueError when a value has no msgpack form."""
        for frame in frames:
            self.add(encode(frame))

    def take(self) -> bytes:
        """What there is, and has not been taken. To be called before the decoder gets its next block."""
        if self._start != self._end:
            self._end_run()
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    def _end_run(self) -> None:
        self._pieces.append(self._decoder.between(self._start, self._end))
        self._start = self._end
