"""The forms of a message on a program's stdin and stdout. No I/O.

TextLines    a message is a line of text
RawBytes     messages are bytes with nothing in between; each block that the program writes is a binary message
Netstrings   "5:hello," (https://cr.yp.to/proto/netstrings.txt): messages with any content keep their boundaries
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from fws_pipe.adapters.lines import LINE_LIMIT_BYTES, escape, unescape, without_return
from fws_pipe.pipes.line_cutter import LineCutter

Message = str | bytes


class NoSuchMessageError(Exception):
    """This form can't carry a message. The text tells the client why."""


class BrokenOutputError(Exception):
    """The program's output is not in this form, so that the next message's beginning is unknown.

    `before` has the messages that end before the fault.
    """

    def __init__(self, problem: str, before: Sequence[Message] = ()) -> None:
        super().__init__(problem)
        self.before = list(before)


class MessageForm(Protocol):
    """One program's messages, in both directions."""

    def to_input(self, message: Message) -> bytes:
        """The bytes of a message for the program's stdin. Raises NoSuchMessageError."""

    def from_output(self, block: bytes) -> list[Message]:
        """The messages that end in the next block of the program's output. Raises BrokenOutputError."""

    def finish(self) -> list[Message]:
        """The rest at the end of the program's output. Raises BrokenOutputError."""

    def complaint(self) -> str:
        """For the log: faults in the program's output since the last call; empty: none."""


def _bytes_of(message: Message) -> bytes:
    return message if isinstance(message, bytes) else message.encode(errors="replace")


class TextLines:
    """A message is a line. `newline` tells how a newline within a message is treated: keep, escape (%0A) or reject."""

    def __init__(self, newline: str = "keep") -> None:
        self._newline = newline
        self._cutter = LineCutter(LINE_LIMIT_BYTES)
        self._dropped = 0
        self._mended = 0

    def to_input(self, message: Message) -> bytes:
        """One line; with `keep` as many as the message has."""
        line = _bytes_of(message)
        if self._newline == "escape":
            line = escape(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        elif self._newline == "reject" and b"\n" in line:
            raise NoSuchMessageError("a message must be a single line")
        return line + b"\n"

    def from_output(self, block: bytes) -> list[Message]:
        """A message for each line, without LF or CR LF; bytes that aren't UTF-8 become U+FFFD."""
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
        """For the log: lines that were too long, or not UTF-8."""
        dropped, self._dropped = self._cutter.dropped - self._dropped, self._cutter.dropped
        mended, self._mended = self._mended, 0
        parts = []
        if dropped:
            parts.append(f"dropped a line over {LINE_LIMIT_BYTES} bytes")
        if mended:
            parts.append("its output is not UTF-8, as a text message must be: U+FFFD replaces it (see --binary)")
        return "; ".join(parts)


class RawBytes:
    """Messages are bytes without boundaries."""

    def to_input(self, message: Message) -> bytes:
        """The message's bytes."""
        return _bytes_of(message)

    def from_output(self, block: bytes) -> list[Message]:
        """The block as one binary message."""
        return [block]

    def finish(self) -> list[Message]:
        """Always empty."""
        return []

    def complaint(self) -> str:
        """Always empty."""
        return ""


_HEAD = re.compile(rb"(0|[1-9][0-9]{0,8}):")
_BEGUN_HEAD = re.compile(rb"0|[1-9][0-9]{0,8}")
_LONGEST_HEAD = 10


def _shown(data: bytes | bytearray) -> str:
    return repr(bytes(data))


class Netstrings:
    """Messages are netstrings. `is_binary`: the program's are binary messages; otherwise those in UTF-8 are text."""

    def __init__(self, *, is_binary: bool = False) -> None:
        self._is_binary = is_binary
        self._rest = bytearray()
        self._needed = 1
        """The bytes that must be there before the next message can be whole."""

    def to_input(self, message: Message) -> bytes:
        """The message as a netstring."""
        data = _bytes_of(message)
        return b"%d:%s," % (len(data), data)

    def from_output(self, block: bytes) -> list[Message]:
        """A message for each netstring that ends in this block."""
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
                found = _shown(self._rest[end - 1 : end])
                raise BrokenOutputError(f"expected a comma behind a netstring, got {found}")
            messages.append(self._message_of(bytes(self._rest[begin : end - 1])))
            position, self._needed = end, 1
        del self._rest[:position]

    def _bounds_at(self, position: int) -> tuple[int, int] | None:
        """The beginning of the data, and the end of the netstring; None while its length is incomplete."""
        head = self._rest[position : position + _LONGEST_HEAD]
        found = _HEAD.match(head)
        if found is None:
            if _BEGUN_HEAD.fullmatch(head):
                return None
            raise BrokenOutputError(f"expected a netstring, got {_shown(head)}")
        size = int(found[1])
        if size > LINE_LIMIT_BYTES:
            raise BrokenOutputError(f"a netstring of {size} bytes is over the limit of {LINE_LIMIT_BYTES} bytes")
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
        """Always empty. Raises BrokenOutputError for a netstring without its end."""
        if self._rest:
            raise BrokenOutputError("its output ended within a netstring")
        return []

    def complaint(self) -> str:
        """Always empty: a fault raises BrokenOutputError."""
        return ""
