"""Cuts blocks of bytes into lines; a line over the limit is left out, and only its length is told. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class TooLong(NamedTuple):
    """Stands for a line that was left out."""

    size: int
    """In bytes, without the newline."""


Line = str | bytes | TooLong
"""A line without its newline: bytes where it isn't UTF-8."""


class LineSplitter:
    """Cuts a stream of bytes at each newline. It keeps at most `limit` bytes of a line whose end has not come."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        """Bytes of the line at hand so far, with those that are not kept."""

    def feed(self, block: bytes) -> Iterator[Line]:
        """Yield each line that ends in this block of the stream. To be exhausted before the next call."""
        first, *rest = block.split(b"\n")
        self._add(first)
        for piece in rest:
            yield self._take()
            self._add(piece)

    def finish(self) -> Iterator[Line]:
        """The stream has ended: yield the last line, unless it is empty. The next stream may follow."""
        if self._size:
            yield self._take()

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            self._parts.clear()
        elif piece:
            self._parts.append(piece)

    def _take(self) -> Line:
        raw, size = b"".join(self._parts), self._size
        self._parts, self._size = [], 0
        if size > self._limit:
            return TooLong(size)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw
