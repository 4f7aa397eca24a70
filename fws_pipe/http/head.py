"""Takes the head of an HTTP request apart. No I/O.

h11 does it, strictly, by RFC 9112; that is a good part of what a handshake costs. So a head in the form that nearly
all clients send is recognised by one pattern first, which accepts nothing that h11 would not read in the same way.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import h11


class RequestHead(NamedTuple):
    """What a client asks for. `headers` have lower-case names; their values may hold Latin-1."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]


def parse_head(head: bytes) -> RequestHead | None:
    """Parse all up to and with the empty line; None: it is no request. Raises h11.RemoteProtocolError, as h11 does."""
    return parse_common(head) or parse_any(head)


_COMMON = re.compile(r"GET ([!-~]+) HTTP/1\.1\r\n((?:[-!#$%&'*+.^_`|~0-9A-Za-z]+:(?: [!-~]+)+\r\n)+)\r\n")
"""ASCII, lines that end with CRLF, one space behind a name's colon and between a value's words, no empty value."""

_FRAMING = frozenset({"content-length", "transfer-encoding"})
"""Headers whose values h11 looks into."""


def parse_common(head: bytes) -> RequestHead | None:
    """Parse a GET in the common form, each header once; None for all others, which says nothing against them."""
    found = _COMMON.fullmatch(head.decode("latin-1"))
    if found is None:
        return None
    lines = found[2].removesuffix("\r\n").split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if len(fields) < len(lines) or "host" not in fields or not _FRAMING.isdisjoint(fields):
        return None
    return RequestHead("GET", found[1], "1.1", list(fields.items()))


def parse_any(head: bytes) -> RequestHead | None:
    """Parse with h11. Raises h11.RemoteProtocolError."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head))
    parser.receive_data(head)
    request = parser.next_event()
    if not isinstance(request, h11.Request):
        return None
    return RequestHead(
        request.method.decode("ascii"),
        request.target.decode("latin-1"),
        request.http_version.decode("ascii"),
        [(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers],
    )
