"""Takes the head of an HTTP request apart. No I/O.

h11 does it, strictly, by RFC 9112; that is a good part of what a handshake costs. So a head in the form that nearly
all clients send is recognised by one pattern first, which accepts nothing that h11 would not read in the same way.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import h11

from fws_pipe.protocol.actions import is_token


class RequestHead(NamedTuple):
    """What a client asks for. `headers` have lower-case names; their values may hold Latin-1."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]


class MalformedHeadError(Exception):
    """Why some bytes are no request: one clause for the client and the log, with no word of theirs but header names."""


def parse_head(head: bytes) -> RequestHead:
    """Parse all up to and with the empty line. Raises MalformedHeadError."""
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


def parse_any(head: bytes) -> RequestHead:
    """Parse with h11. Raises MalformedHeadError."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head))
    try:
        parser.receive_data(head)
        request = parser.next_event()
    except h11.RemoteProtocolError:  # its text holds the client's bytes
        request = None
    if not isinstance(request, h11.Request):
        raise MalformedHeadError(_fault_of(head))
    return RequestHead(
        request.method.decode("ascii"),
        request.target.decode("latin-1"),
        request.http_version.decode("ascii"),
        [(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers],
    )


_TLS_HANDSHAKE = 0x16
_REQUEST_LINE = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+ ([^ ]+) HTTP/[0-9]\.[0-9]")
_NOT_IN_A_VALUE = re.compile(r"[\0\r\v\f\x7f]")
_LONGEST_NAME_SHOWN = 40


def _fault_of(head: bytes) -> str:
    """What is wrong with a head that h11 has refused (RFC 9112, sections 2 to 6)."""
    if head[:1] == bytes((_TLS_HANDSHAKE,)):
        return "it looks like TLS, which this port does not speak"
    first, *lines = (line.removesuffix("\r") for line in head.decode("latin-1").rstrip("\r\n").split("\n"))
    found = _REQUEST_LINE.fullmatch(first)
    if found is None:
        return "its first line is not one such as GET /chat HTTP/1.1"
    if re.fullmatch("[!-~]+", found[1]) is None:
        return "the target has a character that must be written as %XX"
    faults = (_fault_of_line(number, line) for number, line in enumerate(lines, 1))
    return next(filter(None, faults), None) or _fault_of_fields(lines)


def _fault_of_line(number: int, line: str) -> str | None:
    """What is wrong with a header's line."""
    if line.startswith((" ", "\t")):  # RFC 9112, section 5.2: the line goes on with the value of the one before
        return "its first header line begins with white space" if number == 1 else None
    name, colon, value = line.partition(":")
    if not colon:
        return f"header line {number} has no colon"
    if not is_token(name):
        bare = name.rstrip(" \t")
        blank = bare != name and is_token(bare)
        fault = "white space before its colon" if blank else "a name with a character that no name may have"
        return f"header line {number} has {fault if name else 'no name'}"
    if _NOT_IN_A_VALUE.search(value):
        shown = f"the header {name}" if len(name) <= _LONGEST_NAME_SHOWN else f"header line {number}"
        return f"{shown} has a control character"
    return None


def _fault_of_fields(lines: list[str]) -> str:
    """What is wrong with headers each of which could be read."""
    names = [name.lower() for name in (line.partition(":")[0] for line in lines)]
    if names.count("host") != 1:
        return "the header Host is there more than once" if "host" in names else "the header Host is missing"
    if "transfer-encoding" in names:
        return "the header Transfer-Encoding may only be chunked"
    if "content-length" in names:
        return "the header Content-Length must be one number"
    return "its headers are malformed"
