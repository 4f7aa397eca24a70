"""Lines of text: cut from blocks of bytes, and made of what is no single line. No I/O.

A line ends with LF. In a line of fields `%0A`, `%0D`, `%09` and `%25` stand for LF, CR, TAB and the percent sign, with
hexadecimal digits in either case, so that what changes letters or splits fields hurts nothing.
"""

from __future__ import annotations

import re

LINE_LIMIT_BYTES = 16 * 1024 * 1024
"""The longest line that a program may write: what has no end must not fill the memory."""

_ESCAPES = str.maketrans({"%": "%25", "\n": "%0A", "\r": "%0D", "\t": "%09"})
_ESCAPED = re.compile("%(25|0[aA]|0[dD]|09)")


class LineCutter:
    """Cuts a stream of bytes into lines, without their newlines.

    A line over the limit is left out as a whole and counted in `dropped`, or, with `is_splitting`, given in pieces.
    """

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES, *, is_splitting: bool = False) -> None:
        self._limit = limit_bytes
        self._is_splitting = is_splitting
        self._parts: list[bytes] = []
        """The beginning of a line whose end has not come."""
        self._size = 0
        self._is_skipping = False
        """Whether that line is over the limit already, and left out."""
        self.dropped = 0
        """Lines left out so far."""

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
        """The last line, if it has no newline."""
        return self._end_line(b"") if self._parts else []

    def _begin_line(self, piece: bytes) -> list[bytes]:
        """Keep the beginning of a line, or more of it; returns the pieces of it that are full."""
        if self._is_skipping:
            return []
        self._parts.append(piece)
        self._size += len(piece)
        if self._size <= self._limit:
            return []
        if not self._is_splitting:
            self._forget()
            self._is_skipping = True
            self.dropped += 1  # told now: it may have no end
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
        """The line, unless it is over the limit."""
        if len(line) <= self._limit:
            return [line]
        if self._is_splitting:
            return [line[start : start + self._limit] for start in range(0, len(line), self._limit)]
        self.dropped += 1
        return []


def without_return(line: bytes) -> bytes:
    """The line without the CR that a program may end its lines with."""
    return line[:-1] if line.endswith(b"\r") else line


def escape(text: str) -> str:
    """The text as one field of a line."""
    if "%" in text or "\n" in text or "\t" in text or "\r" in text:
        return text.translate(_ESCAPES)
    return text


def unescape(field: str) -> str:
    """The text of a field; a percent sign that begins no escape stands for itself."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), field) if "%" in field else field
