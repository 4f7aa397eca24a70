"""Cuts blocks of bytes into lines of bounded length. No I/O."""

from __future__ import annotations


class LineCutter:
    """Cuts a stream of bytes into lines, without their newlines.

    A line over the limit is dropped as a whole and counted in `dropped`, or, with `is_splitting`, returned in pieces.
    """

    def __init__(self, limit_bytes: int, *, is_splitting: bool = False) -> None:
        self._limit = limit_bytes
        self._is_splitting = is_splitting
        self._parts: list[bytes] = []
        """The beginning of a line whose end has not arrived."""
        self._size = 0
        self._is_skipping = False
        """Whether that line is over the limit already, and dropped."""
        self.dropped = 0
        """Lines dropped so far."""

    def feed(self, block: bytes) -> list[bytes]:
        """Take the next block; returns the lines that end in it."""
        lines = block.split(b"\n")
        rest = lines.pop()
        if lines and (self._parts or self._is_skipping):
            lines[:1] = self._end_line(lines[0])
        if len(block) > self._limit:
            lines = [piece for line in lines for piece in self._bounded(line)]
        if rest:
            lines += self._begin_line(rest)
        return lines

    def finish(self) -> list[bytes]:
        """The last line, if it has no newline. Another stream may follow."""
        return self._end_line(b"") if self._parts or self._is_skipping else []

    def _begin_line(self, piece: bytes) -> list[bytes]:
        """Keep the beginning of a line, or more of it; returns the pieces that have reached the limit."""
        if self._is_skipping:
            return []
        self._parts.append(piece)
        self._size += len(piece)
        if self._size <= self._limit:
            return []
        if not self._is_splitting:
            self._forget()
            self._is_skipping = True
            self.dropped += 1  # counted now, since the line may have no end
            return []
        *full, rest = self._bounded(self._forget())
        self._parts, self._size = [rest], len(rest)
        return full

    def _end_line(self, piece: bytes) -> list[bytes]:
        if self._is_skipping:
            self._is_skipping = False
            return []
        self._parts.append(piece)
        return self._bounded(self._forget())

    def _forget(self) -> bytes:
        line = b"".join(self._parts)
        self._parts, self._size = [], 0
        return line

    def _bounded(self, line: bytes) -> list[bytes]:
        """The line, unless it is over the limit; then its pieces, or nothing."""
        if len(line) <= self._limit:
            return [line]
        if self._is_splitting:
            return [line[start : start + self._limit] for start in range(0, len(line), self._limit)]
        self.dropped += 1
        return []
