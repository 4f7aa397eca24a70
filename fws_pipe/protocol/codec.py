"""Frames: msgpack maps, back to back, with nothing between them (https://msgpack.org). No I/O.

The decoder takes blocks of bytes, cut anywhere, and yields each whole frame as a dict. It keeps the frame's own bytes
as well, so that a filter passes on, byte for byte, what it doesn't understand.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import Any

import msgpack

from fws_pipe.errors import FrameError

Frame = dict[str, Any]

BLOCK_BYTES = 256 * 1024
"""How many bytes a filter reads and writes at once: a quarter of an enlarged pipe, so reader and writer overlap."""

PIPE_BYTES = 1024 * 1024
"""The size of enlarged pipes, where the kernel allows: Linux's limit for users without privileges (pipe(7))."""

FRAME_LIMIT_BYTES = 128 * 1024 * 1024
"""The largest frame: twice the largest --max-message, so that a list of receivers fits beside the data."""

_BLANKS = b"\n\t\r"

_SHOWN = 40
"""How many characters of a value an error message shows."""

# surrogateescape: another program's frame may hold a str that isn't UTF-8, and must pass on unchanged.
_packer = msgpack.Packer(autoreset=True, unicode_errors="surrogateescape")


def pack(value: object) -> bytes:
    """The msgpack form of a value. Raises TypeError or ValueError when it has none."""
    packed: bytes = _packer.pack(value)
    return packed


def unpack(data: bytes) -> Any:
    """The value that `pack` has made these bytes of."""
    return msgpack.unpackb(data, unicode_errors="surrogateescape", strict_map_key=False)


def encode(frame: Frame) -> bytes:
    """Encode one frame. Raises TypeError or ValueError when a value has no msgpack form."""
    packed: bytes = _packer.pack(frame)
    return packed


def decode_frame(raw: bytes) -> Frame:
    """The frame that `encode` has made these bytes of. A FrameDecoder for one frame would take ten times as long."""
    frame: Frame = unpack(raw)
    return frame


class FrameDecoder:
    """Cuts a stream of bytes into frames.

    `feed` takes the next block; iterating yields `(frame, raw)` for each whole frame, and stops where more bytes are
    needed; `finish` is called at the end of input. Broken framing raises FrameError, which names `source` (the program
    that wrote the stream) and the bad frame's offset; after that the decoder can't be used any more.
    """

    def __init__(self, source: str = "stdin", limit: int = FRAME_LIMIT_BYTES) -> None:
        self.source = source
        self._limit = limit
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=limit + BLOCK_BYTES,
            # msgpack derives these from the buffer's size; here a frame is bounded as a whole.
            max_str_len=limit,
            max_bin_len=limit,
            unicode_errors="surrogateescape",
            strict_map_key=False,
        )
        # The bytes that have been fed and not yielded as frames. A list, joined only when a frame is whole: otherwise a
        # frame of many blocks would be copied once for each block.
        self._parts: list[bytes] = []
        self._buffered = 0
        self.offset = 0
        """The end of the current frame, which was yielded last, in bytes from the start of the stream."""
        self.start = 0
        """The begin of the current frame."""
        self._base = 0
        """The offset of `_block` in the stream."""
        self._block: bytes | None = None
        """All parts as one; None until it is needed."""

    def feed(self, block: bytes) -> None:
        """Take the next block of the stream, of any size. Raises FrameError when a frame is over the limit."""
        self._parts.append(block)
        self._buffered += len(block)
        try:
            self._unpacker.feed(block)
        except msgpack.BufferFull:
            raise self._over_limit() from None

    def __iter__(self) -> Iterator[tuple[Frame, bytes]]:
        """Yield each whole frame and its bytes. Raises FrameError where the stream isn't frames."""
        for frame in self.frames():
            yield frame, self.raw()

    def frames(self) -> Iterator[Frame]:
        """Yield each whole frame; `raw` gives the bytes of the one yielded last. Raises FrameError."""
        self._base = self.offset
        self._block = None
        tell, limit = self._unpacker.tell, self._limit
        fed = self.offset + self._buffered
        try:
            for frame in self._unpacker:
                if type(frame) is not dict:
                    raise self._not_a_map(frame)
                self.start = start = self.offset
                self.offset = end = tell()
                if end - start > limit:
                    self.offset = start
                    raise self._over_limit()
                yield frame
                if end == fed:
                    break  # asking the unpacker once more would raise an exception, which costs as much as a frame
        except (msgpack.UnpackException, ValueError, TypeError) as error:
            raise self._error(f"this is not msgpack ({str(error) or type(error).__name__})") from None
        finally:
            # Also when the consumer stops half-way: it must not get the same frames again.
            self._keep_from(self.offset - self._base)
        self._check_limit()

    def raw(self) -> bytes:
        """The bytes of the frame that `frames` has just yielded."""
        return self.between(self.start, self.offset)

    def run_raw(self) -> bytes:
        """The bytes of all frames that the last run of `frames` has yielded."""
        return self.between(self._base, self.offset)

    def between(self, start: int, end: int) -> bytes:
        """The bytes between two offsets of the stream, within the frames that the last run of `frames` has yielded."""
        assert start >= self._base, "these bytes have been forgotten"
        block = self._block
        if block is None:
            block = self._block = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        return block[start - self._base : end - self._base]

    def _keep_from(self, position: int) -> None:
        """Drop the yielded bytes, all before this position in `_block`; `between` still has them until the next run."""
        if position:
            rest = self.between(self._base + position, self._base + self._buffered)
            self._parts = [rest] if rest else []
            self._buffered = len(rest)

    def finish(self) -> None:
        """Say that the stream has ended. Raises FrameError if it ended inside a frame."""
        if self._buffered:
            raise self._error(f"the stream ended inside a frame, after {self._buffered} bytes of it")

    def _check_limit(self) -> None:
        if self._buffered > self._limit:
            raise self._over_limit()

    def _over_limit(self) -> FrameError:
        return self._error(f"the frame is over the limit of {self._limit} bytes")

    def _not_a_map(self, value: object) -> FrameError:
        """The error for a value that is no frame. A letter of a text is an integer, as msgpack reads it."""
        if type(value) is int and 0 <= value < 128 and (chr(value).isprintable() or value in _BLANKS):
            text = f"expected a map, got text that begins with {chr(value)!r}"
            return FrameError(text, self.source, self.offset, is_text=True)
        return self._error(f"expected a map, got {describe(value)}")

    def _error(self, problem: str) -> FrameError:
        return FrameError(problem, self.source, self.offset)


def type_of(frame: Frame) -> str | None:
    """A frame's type; None when it has none, or one that isn't text."""
    kind = frame.get("type")
    return kind if isinstance(kind, str) else None


_shortened = reprlib.Repr()
_shortened.maxlevel = 3


def describe(value: object) -> str:
    """A value for an error message: its type and its first characters, however large or deep it is."""
    text = repr(value[:_SHOWN]) if isinstance(value, (str, bytes)) else _shortened.repr(value)
    return f"{type(value).__name__} {text if len(text) <= _SHOWN else text[: _SHOWN - 3] + '...'}"
