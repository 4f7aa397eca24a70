"""What the head of an HTTP request asks for: a WebSocket, a page, or what is refused or answered at once.

trio-websocket never sees a client's request: after a handshake that it refuses, its tasks would live on, and it accepts
HTTP/1.0 and keys that aren't 16 bytes (against RFC 6455, section 4.2.1). No I/O.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fws_pipe.http.head import MalformedHeadError, RequestHead, parse_head
from fws_pipe.http.responses import Page, Refusal, ResponseT, for_method
from fws_pipe.http.site import Site
from fws_pipe.protocol.actions import is_token


@dataclass(frozen=True)
class Upgrade:
    """A request to open a WebSocket. `headers` have lower-case names."""

    path: str
    query: str
    headers: list[tuple[str, str]]
    site: Site = Site()
    """The host and scheme that the client connected to, as a trusted proxy tells them."""

    @property
    def host(self) -> str:
        """The host [":" port] that the client connected to: the Host header, unless a trusted proxy tells another."""
        return self.site.host or next((value for name, value in self.headers if name == "host"), "")

    @property
    def key(self) -> str:
        """The value of Sec-WebSocket-Key, which the answer's Sec-WebSocket-Accept is made from."""
        return next(value for name, value in self.headers if name == "sec-websocket-key")

    @property
    def origins(self) -> list[str]:
        """The values of the Origin headers: usually one or none."""
        return [value for name, value in self.headers if name == "origin"]

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols that the client offers. A browser gives up unless the server chooses one of them."""
        return _members(", ".join(value for name, value in self.headers if name == "sec-websocket-protocol"))


@dataclass(frozen=True)
class PlainRequest:
    """A request that asks for no WebSocket. `headers` have lower-case names."""

    method: str
    path: str
    """As the client has written it, so with percent-encodings; empty where the target has none."""
    query: str
    headers: list[tuple[str, str]]

    @property
    def is_read(self) -> bool:
        """Whether it only asks for what is there."""
        return self.method in ("GET", "HEAD")

    @property
    def fields(self) -> Mapping[str, str]:
        """The value of each header."""
        return _combined(self.headers)


Answer = Upgrade | PlainRequest | Refusal | Page

HEALTHY = Page(200, b"fws-pipe serves.\n")

TOO_SLOW = Refusal(408, "The request did not arrive in time.")
CROWDED_OUT = Refusal(
    408, "Your address has most of the handshakes under way, and others wait: this one took too long."
)
FULL = Refusal(503, "This server has as many clients as it may have. Try again later.", (("Retry-After", "5"),))

CONTRADICTION = Refusal(400, "X-Forwarded-For and Forwarded name different clients: one of them is made up.")

NO_ROUTE = Refusal(404, "This server has nothing at this path.", reason="no route is for its path")
CHAIN_FAILED = Refusal(
    503,
    "What serves this path has failed. Try again later.",
    (("Retry-After", "5"),),
    reason="its route's chain has failed",
)

ROUTE_STARTING = Refusal(
    503,
    "What serves this path is starting. Try again soon.",
    (("Retry-After", "1"),),
    reason="its route's chain does not serve yet",
)

CLOSING = Refusal(503, "The server is shutting down.", (("Retry-After", "5"),))


def no_proxy_header(problem: str) -> Refusal:
    """The refusal of a trusted proxy's connection without a valid header of the PROXY protocol (--proxy-protocol)."""
    return Refusal(
        400, f"A trusted proxy must begin with a header of the PROXY protocol (--proxy-protocol): {problem}."
    )


NOT_OFFERED = Refusal(500, "The chain has chosen a subprotocol that you do not offer.")
NOT_SERVED = Refusal(500, "The chain can't serve this client.")
NO_ANSWER = Refusal(503, "The chain has not answered this handshake in time. Try again later.", (("Retry-After", "5"),))


def too_large(head: bytes, limit: int) -> Refusal:
    """The refusal of a request head, whole or not, of more than `limit` bytes."""
    return _for_method(head, Refusal(431, f"The request's headers are larger than {limit} bytes."))


def full_for_address(limit: int) -> Refusal:
    """The refusal of a client whose address has `limit` clients already."""
    text = f"Your address has {limit} connections, as many as it may have. Close one, or try again later."
    return Refusal(429, text, (("Retry-After", "5"),))


def wrong_origin(origins: Sequence[str], *, is_host_believed: bool = True) -> Refusal:
    """The refusal of a page, or of a program, that may not connect (--origin). `origins` are its Origin headers.

    `is_host_believed` is False where the page may have pointed the name in the Host header at this machine itself.
    """
    who = f"a page of {' and '.join(map(_escaped, origins))}" if origins else "a client that names no Origin"
    text = f"This server is not for {who}. Its --origin says who may connect."
    reason = "--origin does not name this page"
    if not is_host_believed:
        reason += "; if same was to, name the proxy on this machine with --trusted-proxy, or the host with --host"
    return Refusal(403, text, reason=reason)


def _escaped(text: str) -> str:
    """A client's text in printable ASCII, shortened, for use within a sentence."""
    return ascii(text[:_LONGEST_ORIGIN_SHOWN])[1:-1]


_LONGEST_ORIGIN_SHOWN = 200

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept(request: Upgrade, subprotocol: str | None) -> bytes:
    """The whole response that opens the WebSocket (RFC 6455, section 4.2.2)."""
    digest = base64.b64encode(hashlib.sha1(request.key.encode() + _GUID).digest()).decode()
    chosen = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {digest}\r\n{chosen}\r\n"
    ).encode()


def answer_to(head: bytes, health_path: str | None = None) -> Answer:
    """The answer to a request; `head` is its bytes up to and including the empty line.

    `health_path` is the URL path of health checks; None: none.
    """
    try:
        request = parse_head(head)
    except MalformedHeadError as error:
        return _for_method(head, Refusal(400, f"This is not a valid HTTP request: {error}."))
    answer = _answer_to_request(request, health_path)
    return _for_method(head, answer) if isinstance(answer, Refusal | Page) else answer


def _for_method(head: bytes, response: ResponseT) -> ResponseT:
    """The response in the form for the method of a request's head, whole or not, valid or not."""
    return for_method(head.partition(b" ")[0].decode("latin-1"), response)


def _answer_to_request(request: RequestHead, health_path: str | None) -> Answer:
    fields = _combined(request.headers)
    target = _split_target(request.target)
    upgrades = _members(fields.get("upgrade", "").lower())
    if not _asks_for_websocket(fields, upgrades):
        is_check = target is not None and target.path == health_path and request.method in ("GET", "HEAD", "OPTIONS")
        path, query = (target.path, target.query) if target is not None else ("", "")
        return HEALTHY if is_check else PlainRequest(request.method, path, query, request.headers)
    problem = _problem(request, fields, upgrades, target)
    if target is None or problem:
        return Refusal(400, f"This WebSocket handshake can't be answered: {problem}.")
    if fields["sec-websocket-version"] != "13":
        return Refusal(426, "This server speaks version 13 of WebSocket.", (("Sec-WebSocket-Version", "13"),))
    headers = request.headers if target.authority is None else _with_host(request.headers, target.authority)
    return Upgrade(target.path, target.query, headers)


def _combined(headers: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """The value of each header; the values of a repeated header are joined with commas (RFC 9110, section 5.3)."""
    fields = dict(headers)
    if len(fields) < len(headers):
        return {name: ", ".join(value for found, value in headers if found == name) for name in fields}
    return fields


def _with_host(headers: Sequence[tuple[str, str]], host: str) -> list[tuple[str, str]]:
    """The headers with this Host: an absolute target's host replaces the header's (RFC 9112, section 3.2.2)."""
    return [(name, host if name == "host" else value) for name, value in headers]


def _members(value: str) -> list[str]:
    """The members of a list header, without empty ones (RFC 9110, section 5.6.1.2)."""
    return [member for member in (part.strip(" \t") for part in value.split(",")) if member]


def _asks_for_websocket(fields: Mapping[str, str], upgrades: Sequence[str]) -> bool:
    return "websocket" in upgrades or any(name.startswith("sec-websocket-") for name in fields)


class _Target(NamedTuple):
    """A request's target (RFC 9112, section 3.2). `authority` is its host [":" port]; None: the target has none."""

    authority: str | None
    path: str
    query: str


_ABSOLUTE = re.compile(r"(?:ws|wss|http|https)://([^/?]+)(.*)", re.IGNORECASE)


def _split_target(target: str) -> _Target | None:
    """The parts of a target in origin-form or absolute-form; None for any other form: no WebSocket request has one."""
    found = None if target.startswith("/") else _ABSOLUTE.fullmatch(target)
    if found is None and not target.startswith("/"):
        return None
    authority, rest = (None, target) if found is None else found.groups()
    path, _, query = rest.partition("?")
    return _Target(authority, path or "/", query)


_PROXY = "; has a proxy dropped it? nginx: proxy_http_version 1.1, and proxy_set_header for Upgrade and Connection"


def _problem(
    request: RequestHead, fields: Mapping[str, str], upgrades: Sequence[str], target: _Target | None
) -> str | None:
    if request.method != "GET":
        return "the method must be GET"
    if request.version != "1.1":
        return f"it must be HTTP/1.1{_PROXY}"
    for name, shown in _ASCII_HEADERS.items():
        if not fields.get(name, "").isascii():
            return f"the header {shown} has a character that is not ASCII"
    if "upgrade" not in _members(fields.get("connection", "").lower()):
        return "the header Connection: Upgrade is missing"
    if "websocket" not in upgrades:
        return f"the header Upgrade: websocket is missing{_PROXY}"
    if "sec-websocket-version" not in fields:
        return "the header Sec-WebSocket-Version is missing"
    return _problem_of_key(request) or _problem_of_names(fields) or _problem_of_target(request, target)


def _problem_of_key(request: RequestHead) -> str | None:
    keys = [value for name, value in request.headers if name == "sec-websocket-key"]
    if len(keys) != 1:
        return f"the header Sec-WebSocket-Key is {'there more than once' if keys else 'missing'}"
    return None if _is_key(keys[0]) else "the header Sec-WebSocket-Key is not the base64 form of 16 bytes"


def _problem_of_names(fields: Mapping[str, str]) -> str | None:
    if not all(map(is_token, _members(fields.get("sec-websocket-protocol", "")))):
        return (
            "the header Sec-WebSocket-Protocol must be a list of names, of letters, digits and any of !#$%&'*+-.^_`|~"
        )
    if not fields.get("host"):
        return "the header Host is missing or empty"
    return None if is_authority(fields["host"]) else "the header Host is not a host with or without a port"


def _problem_of_target(request: RequestHead, target: _Target | None) -> str | None:
    if target is None or not is_authority(target.authority or "host"):
        return "the target must be a path such as /chat, or a URL such as ws://host/chat"
    if "#" in request.target:
        return "the target must have no fragment (#…)"
    names = dict(request.headers)
    if "transfer-encoding" in names:
        return "the header Transfer-Encoding tells of a body, and it must have none"
    if names.get("content-length", "0").strip("0"):
        return "the header Content-Length tells of a body, and it must have none"
    return None


_ASCII_HEADERS = {
    "connection": "Connection",
    "upgrade": "Upgrade",
    "sec-websocket-extensions": "Sec-WebSocket-Extensions",
}
"""The headers that may only hold tokens, and quoted strings of tokens (RFC 6455, section 4.3)."""

_AUTHORITY = re.compile(
    r"(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+"  # a name, or IPv4
    r"|\[(?:([0-9A-Fa-f:.]+)|[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\])"  # IPv6, or a later version of IP
    r"(?::0*([0-9]{0,5}))?"
)
"""host [ ":" port ] (RFC 3986, section 3.2); any name is valid, also one that IDNA doesn't know."""


def is_authority(text: str) -> bool:
    """Whether this is a valid Host header: a host, perhaps with a port (RFC 9112, section 3.2)."""
    found = _AUTHORITY.fullmatch(text)
    if found is None or int(found[2] or 0) > 65535:
        return False
    return found[1] is None or _is_ipv6(found[1])


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except ValueError:  # binascii.Error, or letters that are not ASCII
        return False
