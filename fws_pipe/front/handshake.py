"""Judges the head of an HTTP request: an upgrade that trio-websocket may have, or a refusal that we answer.

trio-websocket never sees a request that it would refuse: the tasks behind a refused handshake would live on, and
HTTP/1.0 and keys that aren't 16 bytes would get through (RFC 6455, section 4.2.1). No I/O.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import h11

from fws_pipe.front.request_head import RequestHead, parse_head

END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True)
class Upgrade:
    """A request to open a WebSocket. `headers` have lower-case names."""

    path: str
    query: str
    headers: list[tuple[str, str]]

    @property
    def key(self) -> str:
        """The client's key, which the answer must prove to have been read."""
        return _value(self.headers, "sec-websocket-key") or ""

    @property
    def origins(self) -> list[str]:
        """The pages that ask: one, or none."""
        return [value for name, value in self.headers if name == "origin"]

    @property
    def host(self) -> str:
        """Whom the client thinks that it speaks to."""
        return _value(self.headers, "host") or ""

    @property
    def subprotocol(self) -> str | None:
        """The one that the client gets: the first that it offers. A browser gives up when none of its is chosen."""
        offers = ",".join(value for name, value in self.headers if name == "sec-websocket-protocol")
        return next(filter(None, (offer.strip() for offer in offers.split(","))), None)


@dataclass(frozen=True)
class Refusal:
    """What a request gets that will not be upgraded."""

    status: int
    text: str
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self) -> bytes:
        """The whole HTTP response; the connection ends behind it (RFC 9112, section 9.6)."""
        body = self.text.encode() + b"\n"
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "\r\n".join(lines).encode() + END_OF_HEAD + body


TOO_SLOW = Refusal(408, "The request did not arrive in time.")
FULL = Refusal(503, "This server has as many clients as it may have. Try again later.", (("Retry-After", "5"),))

CONTRADICTION = Refusal(400, "X-Forwarded-For and Forwarded name different clients: one of them is made up.")

CLOSING = Refusal(503, "The server is shutting down.", (("Retry-After", "5"),))
NO_ANSWER = Refusal(503, "Nobody has said in time whether you may come in. Try again later.", (("Retry-After", "5"),))


def too_large(limit: int) -> Refusal:
    """For a request head of more than so many bytes."""
    return Refusal(431, f"The request's headers are larger than {limit} bytes.")


def full_for_address(limit: int) -> Refusal:
    """For a client whose address has as many as it may have."""
    text = f"Your address has {limit} connections, as many as it may have. Close one, or try again later."
    return Refusal(429, text, (("Retry-After", "5"),))


def wrong_origin(origins: Sequence[str]) -> Refusal:
    """For a page, or a program, that may not connect: browsers say with each WebSocket which page asks for it."""
    who = f"a page of {' and '.join(origins)}" if origins else "a client that names no Origin"
    return Refusal(403, f"This server is not for {who}. Its --origin says who may connect.")


_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept(request: Upgrade) -> bytes:
    """The whole response that opens the connection (RFC 6455, section 4.2.2)."""
    digest = base64.b64encode(hashlib.sha1(request.key.encode() + _GUID).digest()).decode()
    subprotocol = f"Sec-WebSocket-Protocol: {request.subprotocol}\r\n" if request.subprotocol else ""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {digest}\r\n{subprotocol}\r\n"
    ).encode()


def judge(head: bytes) -> Upgrade | Refusal:
    """Judge a request head, `head` being all up to and with the empty line."""
    try:
        request = parse_head(head)
    except h11.RemoteProtocolError as error:
        return Refusal(400, f"This is not an HTTP request: {error}.")
    if request is None:
        return Refusal(400, "This is not an HTTP request.")
    return _judge_request(request)


def _judge_request(request: RequestHead) -> Upgrade | Refusal:
    fields = dict(request.headers)  # of several values the last, which is the one that trio-websocket's parser takes
    if not _asks_for_websocket(request.headers):
        return _plain_request(fields.get("host") or "HOST:PORT")
    problem = _problem(request, fields)
    if problem:
        return Refusal(400, f"This WebSocket handshake can't be answered: {problem}.")
    if fields["sec-websocket-version"] != "13":
        return Refusal(426, "This server speaks version 13 of WebSocket.", (("Sec-WebSocket-Version", "13"),))
    path, _, query = request.target.partition("?")
    return Upgrade(path, query, request.headers)


def _asks_for_websocket(headers: list[tuple[str, str]]) -> bool:
    return any(name == "upgrade" and value.lower() == "websocket" for name, value in headers) or any(
        name.startswith("sec-websocket-") for name, _ in headers
    )


def _plain_request(host: str) -> Refusal:
    text = (
        "This is fws-pipe, a WebSocket server. It speaks WebSocket only.\n"
        f"Connect a WebSocket client to ws://{host}/ - in a browser: new WebSocket('ws://{host}/')"
    )
    return Refusal(426, text, (("Upgrade", "websocket"),))


def _problem(request: RequestHead, fields: Mapping[str, str]) -> str | None:
    if request.method != "GET":
        return "the method must be GET"
    if request.version != "1.1":
        return "it must be HTTP/1.1"
    if any(not value.isascii() for name, value in request.headers if name in _PARSED_HEADERS):
        return "a header that must be ASCII isn't"
    if "upgrade" not in [token.strip().lower() for token in fields.get("connection", "").split(",")]:
        return "the header Connection: Upgrade is missing"
    if fields.get("upgrade", "").lower() != "websocket":
        return "the header Upgrade: websocket is missing"
    if "sec-websocket-version" not in fields:
        return "the header Sec-WebSocket-Version is missing"
    if not _is_key(fields.get("sec-websocket-key")):
        return "Sec-WebSocket-Key must be the base64 form of 16 bytes"
    if not _is_host(fields.get("host")):
        return "the header Host is missing or malformed"
    if not request.target.isascii():
        return "the target isn't ASCII"
    return None


# Those that trio-websocket's parser decodes as ASCII without asking first.
_PARSED_HEADERS = frozenset(
    {"connection", "host", "upgrade", "sec-websocket-extensions", "sec-websocket-key", "sec-websocket-protocol",
     "sec-websocket-version"}
)  # fmt: skip


def _is_key(key: str | None) -> bool:
    if key is None:
        return False
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def _is_host(host: str | None) -> bool:
    if not host:
        return False
    try:
        host.encode("ascii").decode("idna")
    except UnicodeError:
        return False
    return True


def _value(headers: list[tuple[str, str]], name: str) -> str | None:
    """The last value, which is the one that trio-websocket's parser takes."""
    return next((value for found, value in reversed(headers) if found == name), None)
