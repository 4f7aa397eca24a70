"""The HTTP responses to requests that are not upgraded. No I/O.

A Refusal says in plain text why, a Page is shown, and a FileResponse has its body in a file, which the front streams.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Protocol, TypeVar

PLAIN_TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"

END_OF_HEAD = b"\r\n\r\n"

Fields = tuple[tuple[str, str], ...]
"""Further header lines: (name, value) pairs."""


@dataclass(frozen=True)
class Refusal:
    """The response to a request that is refused."""

    status: int
    text: str
    headers: Fields = ()
    reason: str = ""
    """The reason for the log, where `text` quotes the client; empty: `text` is the reason."""
    has_body: bool = True
    """Whether the text is sent: the answer to HEAD only has its length."""

    def encode(self) -> bytes:
        """The whole HTTP response."""
        body = self.text.encode() + b"\n"
        head = encode_head(self.status, (("Content-Type", PLAIN_TEXT), *self.headers), len(body))
        return head + (body if self.has_body else b"")


@dataclass(frozen=True)
class Page:
    """The response to a request for a page that is in memory, such as the health check."""

    status: int
    body: bytes | None
    """None: the status allows no body."""
    media_type: str = PLAIN_TEXT
    headers: Fields = ()
    has_body: bool = True
    """Whether the body is sent: the answer to HEAD only has its length."""

    def encode(self) -> bytes:
        """The whole HTTP response."""
        if self.body is None:
            return encode_head(self.status, self.headers, None)
        head = encode_head(self.status, (("Content-Type", self.media_type), *self.headers), len(self.body))
        return head + (self.body if self.has_body else b"")


class Content(Protocol):
    """The open file behind a FileResponse."""

    async def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset` on; b"" behind the file's end. Raises OSError."""

    def close(self) -> None:
        """Close the descriptor. Idempotent."""


@dataclass(frozen=True)
class FileResponse:
    """A response with `length` bytes of a file, from `offset` on. Its receiver owns `content`, and closes it."""

    status: int
    content: Content
    offset: int
    length: int
    headers: Fields = ()
    has_body: bool = True
    """Whether the bytes are sent: the answer to HEAD only has their number."""

    def encode_head(self) -> bytes:
        """The response up to the first byte of the file."""
        return encode_head(self.status, self.headers, self.length)


Response = Refusal | Page | FileResponse

ResponseT = TypeVar("ResponseT", bound=Refusal | Page | FileResponse)


def for_method(method: str, response: ResponseT) -> ResponseT:
    """The response in the form for this method: without a body for HEAD (RFC 9110, section 9.3.2)."""
    return replace(response, has_body=False) if method == "HEAD" else response


def encode_head(status: int, headers: Iterable[tuple[str, str]], length: int | None) -> bytes:
    """A response's head; `length` is its body's, None: the status allows no body (RFC 9110, section 8.6).

    The connection ends after the response (RFC 9112, section 9.6).
    """
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *(() if length is None else (f"Content-Length: {length}",)),
        "X-Content-Type-Options: nosniff",
        *(_UPGRADE_REQUIRED if status == HTTPStatus.UPGRADE_REQUIRED else ("Connection: close",)),
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join(lines).encode("latin-1") + END_OF_HEAD


_UPGRADE_REQUIRED = ("Connection: Upgrade, close", "Upgrade: websocket")
"""Upgrade names the protocol to change to, and Connection names Upgrade (RFC 9110, sections 7.8 and 15.5.22)."""
