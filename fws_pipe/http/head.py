"""Parses the head of an HTTP request. No I/O.

h11 parses any head, strictly, by RFC 9112; that is a good part of a handshake's cost. So one regular expression first
tries the form that nearly all clients send. It accepts only heads that h11 reads in the same way.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import h11

from fws_pipe.protocol.actions import is_token


class RequestHead(NamedTuple):
    """A parsed request. `headers` are (name, value) pairs with lower-case names; values are Latin-1 text."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]


class MalformedHeadError(Exception):
    """Some bytes are no HTTP request. The text, for the client and the log, quotes nothing of them but header names."""


def parse_head(head: bytes) -> RequestHead:
    """Parse a head: all bytes up to and including the empty line. Raises MalformedHeadError."""
    return parse_common(head) or parse_any(head)


_COMMON = re.compile(r"GET ([!-~]+) HTTP/1\.1\r\n((?:[-!#$%&'*+.^_`|~0-9A-Za-z]+:(?: [!-~]+)+\r\n)+)\r\n")
"""The common form: ASCII, CRLF at the ends of lines, one space after a colon and between words, no empty value."""

_FRAMING = frozenset({"content-length", "transfer-encoding"})
"""The headers whose values h11 checks."""


def parse_common(head: bytes) -> RequestHead | None:
    """Parse a GET in the common form with each header once; None for all other requests, valid or not."""
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
    except h11.RemoteProtocolError:  # its text isn't used: it quotes the client's bytes
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
    """The fault of a head that h11 has refused, as a clause (RFC 9112, sections 2 to 6)."""
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
    """The fault of one header line, as a clause; None: it has none."""
    if line.startswith((" ", "\t")):  # RFC 9112, section 5.2: this line continues the previous one's value
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
    """The fault of headers that are well-formed one by one, as a clause."""
    names = [name.lower() for name in (line.partition(":")[0] for line in lines)]
    if names.count("host") != 1:
        return "the header Host is there more than once" if "host" in names else "the header Host is missing"
    if "transfer-encoding" in names:
        return "the header Transfer-Encoding may only be chunked"
    if "content-length" in names:
        return "the header Content-Length must be one number"
    return "its headers are malformed"
