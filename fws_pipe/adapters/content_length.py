"""Messages with a Content-Length header, as in the Language Server Protocol (section "Header Part"). No I/O."""

from __future__ import annotations

from fws_pipe.adapters.lines import LINE_LIMIT_BYTES
from fws_pipe.errors import ProgramError
from fws_pipe.protocol.codec import describe

_HEADER_LIMIT_BYTES = 4096
"""The longest header; the protocol has two fields."""


def with_header(message: bytes) -> bytes:
    """A message with its header, as the program reads it."""
    return b"Content-Length: %d\r\n\r\n%b" % (len(message), message)


class MessageCutter:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._length: int | None = None
        """The length of the message whose header has been read; None: none has."""
        self.dropped = 0
        """Always 0: a message over the limit is an error."""

    def feed(self, block: bytes) -> list[bytes]:
        """Take the next block; returns the messages that end in it. Raises ProgramError for an invalid header."""
        self._buffer += block
        messages = []
        while self._has_header() and len(self._buffer) >= (self._length or 0):
            assert self._length is not None
            messages.append(bytes(self._buffer[: self._length]))
            del self._buffer[: self._length]
            self._length = None
        return messages

    def finish(self) -> list[bytes]:
        """Always empty: half a message is dropped."""
        return []

    def _has_header(self) -> bool:
        """Whether the next message's header has been read; reads it if it is whole."""
        if self._length is not None:
            return True
        header, end, _ = bytes(self._buffer[: _HEADER_LIMIT_BYTES + 4]).partition(b"\r\n\r\n")
        if not end:
            if len(header) > _HEADER_LIMIT_BYTES:
                raise ProgramError(f"expected a header with Content-Length, got {describe(header)}")
            return False
        self._length = _length_in(header)
        del self._buffer[: len(header) + len(end)]
        return True


def _length_in(header: bytes) -> int:
    for line in header.split(b"\r\n"):
        name, _, value = line.partition(b":")
        digits = value.strip()
        if name.strip().lower() == b"content-length" and digits.isdigit() and len(digits) < 10:
            if int(digits) > LINE_LIMIT_BYTES:
                raise ProgramError(f"a message of {int(digits)} bytes is over the limit of {LINE_LIMIT_BYTES}")
            return int(digits)
    raise ProgramError(f"expected a header with Content-Length, got {describe(header)}")
