"""What a message is on a program's stdin, and on its stdout. No I/O.

TextLines    a message is a line; text both ways
RawBytes     a message is its bytes, with nothing between two of them; each block that is read is a binary message
Netstrings   "5:hello," (cr.yp.to/proto/netstrings.txt): messages keep their boundaries, whatever is in them
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from fws_pipe.adapters.lines import LINE_LIMIT_BYTES, LineCutter, escape, unescape, without_return

Message = str | bytes


class NoSuchMessageError(Exception):
    """A message that this form can't carry; the text says why, to the client that has sent it."""


class BrokenOutputError(Exception):
    """What a program has written is not in this form, and where the next message begins is unknown.

    `before` are the messages that end before that.
    """

    def __init__(self, problem: str, before: Sequence[Message] = ()) -> None:
        super().__init__(problem)
        self.before = list(before)


class MessageForm(Protocol):
    """One program's messages, in both directions."""

    def to_input(self, message: Message) -> bytes:
        """What the program reads of a message. Raises NoSuchMessageError."""

    def from_output(self, block: bytes) -> list[Message]:
        """The messages that end in the next block that it has written. Raises BrokenOutputError."""

    def finish(self) -> list[Message]:
        """What is left at the end of its output. Raises BrokenOutputError."""

    def complaint(self) -> str:
        """What was wrong with its output since the last call, if anything; empty: nothing."""


def _bytes_of(message: Message) -> bytes:
    return message if isinstance(message, bytes) else message.encode(errors="replace")


class TextLines:
    """`newline`: what becomes of a newline within a message, `keep`, `escape` (as %0A, in lines.py) or `reject`."""

    def __init__(self, newline: str = "keep") -> None:
        self._newline = newline
        self._cutter = LineCutter()
        self._dropped = 0
        self._mended = 0

    def to_input(self, message: Message) -> bytes:
        """A line; with `keep` as many as the message has."""
        line = _bytes_of(message)
        if self._newline == "escape":
            line = escape(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        elif self._newline == "reject" and b"\n" in line:
            raise NoSuchMessageError("a message may have one line only")
        return line + b"\n"

    def from_output(self, block: bytes) -> list[Message]:
        """A message for each line, without LF or CR LF; what is not UTF-8 becomes U+FFFD."""
        return [self._text_of(line) for line in self._cutter.feed(block)]

    def finish(self) -> list[Message]:
        """The last line, if it has no newline."""
        return [self._text_of(line) for line in self._cutter.finish()]

    def _text_of(self, line: bytes) -> str:
        line = without_return(line)
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self._mended += 1
            text = line.decode(errors="replace")
        return unescape(text) if self._newline == "escape" else text

    def complaint(self) -> str:
        """Lines that were too long, or not UTF-8."""
        dropped, self._dropped = self._cutter.dropped - self._dropped, self._cutter.dropped
        mended, self._mended = self._mended, 0
        parts = []
        if dropped:
            parts.append(f"a line over {LINE_LIMIT_BYTES} bytes is dropped")
        if mended:
            parts.append("what it writes is not UTF-8; a text message has to be, so U+FFFD replaces it (see --binary)")
        return "; ".join(parts)


class RawBytes:
    """Both ways as the bytes come."""

    def to_input(self, message: Message) -> bytes:
        """Its bytes."""
        return _bytes_of(message)

    def from_output(self, block: bytes) -> list[Message]:
        """One message."""
        return [block]

    def finish(self) -> list[Message]:
        """Nothing is left."""
        return []

    def complaint(self) -> str:
        """Nothing can be wrong."""
        return ""


_HEAD = re.compile(rb"(0|[1-9][0-9]{0,8}):")
_BEGUN_HEAD = re.compile(rb"0|[1-9][0-9]{0,8}")
_LONGEST_HEAD = 10


def _shown(data: bytes | bytearray) -> str:
    return repr(bytes(data))


class Netstrings:
    """`is_binary`: what the program writes goes out as binary messages; otherwise as text, as far as it is UTF-8."""

    def __init__(self, *, is_binary: bool = False) -> None:
        self._is_binary = is_binary
        self._rest = bytearray()
        self._needed = 1
        """How many bytes there must be before it is worth to look again."""

    def to_input(self, message: Message) -> bytes:
        """A netstring."""
        data = _bytes_of(message)
        return b"%d:%s," % (len(data), data)

    def from_output(self, block: bytes) -> list[Message]:
        """A message for each netstring that is whole now."""
        self._rest += block
        messages: list[Message] = []
        try:
            self._cut(messages)
        except BrokenOutputError as error:
            raise BrokenOutputError(str(error), messages) from None
        return messages

    def _cut(self, messages: list[Message]) -> None:
        """Add the messages that are whole. Raises BrokenOutputError."""
        position = 0
        while len(self._rest) - position >= self._needed:
            bounds = self._bounds_at(position)
            begin, end = bounds or (0, len(self._rest) + 1)
            if end > len(self._rest):
                self._needed = end - position
                break
            if self._rest[end - 1 : end] != b",":
                raise BrokenOutputError(f"it has written {_shown(self._rest[end - 1 : end])} for a netstring's comma")
            messages.append(self._message_of(bytes(self._rest[begin : end - 1])))
            position, self._needed = end, 1
        del self._rest[:position]

    def _bounds_at(self, position: int) -> tuple[int, int] | None:
        """Where the data begins and the netstring ends; None while its length is not whole."""
        head = self._rest[position : position + _LONGEST_HEAD]
        found = _HEAD.match(head)
        if found is None:
            if _BEGUN_HEAD.fullmatch(head):
                return None
            raise BrokenOutputError(f"it has written what is no netstring: {_shown(head)}")
        size = int(found[1])
        if size > LINE_LIMIT_BYTES:
            raise BrokenOutputError(f"it has written a netstring of {size} bytes; {LINE_LIMIT_BYTES} are the limit")
        begin = position + found.end()
        return begin, begin + size + 1

    def _message_of(self, data: bytes) -> Message:
        if not self._is_binary:
            try:
                return data.decode()
            except UnicodeDecodeError:
                pass  # a text message can't carry it
        return data

    def finish(self) -> list[Message]:
        """Nothing may be left."""
        if self._rest:
            raise BrokenOutputError("it has ended within a netstring")
        return []

    def complaint(self) -> str:
        """Nothing can be wrong that can be mended."""
        return ""
