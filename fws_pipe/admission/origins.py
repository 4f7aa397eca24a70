"""Which web pages may connect: compares the Origin header with the entries of --origin. No I/O.

A browser lets any page connect to any server, and sends that server's cookies along; so it names the page's origin in
each handshake (RFC 6454, RFC 6455 section 10.2). Programs that are no browser mostly send no Origin.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import idna

EXPECTED = "expected [scheme://]host[:port], *.domain, or one of *, same, null, none, file://"

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_WEB_SCHEMES = ("http", "https")
_PAGES_SCHEMES = (*_WEB_SCHEMES, "chrome-extension", "moz-extension", "safari-web-extension")
_NO_PAGES_SCHEMES = ("ws", "wss", "file", "ftp")
"""Schemes of WebSockets, not of pages, and schemes whose pages have the origin `null` (WHATWG URL, section 4.7)."""
_FILE = "file://"
"""The Origin that web views of apps send for pages from the disk, where browsers send `null`."""
_ORIGIN = re.compile(r"(?:([a-z][a-z0-9+.-]*)://)?(\[[0-9a-f:.]+\]|[^\s/\[\]:@?#*]+)(?::([0-9]{1,5}))?")


@dataclass(frozen=True)
class OriginPattern:
    """One entry of --origin. `host` is in lower case; a part that is None matches anything."""

    text: str
    word: str | None = None
    """The entry where it is no host: `*`, `same`, `null`, `none` or `file://`."""
    scheme: str | None = None
    host: str = ""
    port: int | None = None
    has_subdomains: bool = False
    """Whether the entry means all hosts below `host`, at any depth, but not `host` itself."""


@dataclass(frozen=True)
class _Origin:
    scheme: str
    host: str
    port: int | None


def parse_origin(text: str) -> OriginPattern:
    """Parse an entry of --origin. Raises ValueError, whose text says what was expected."""
    lowered = text.strip().lower()
    if lowered in ("*", "same", "null", "none", _FILE):
        return OriginPattern(lowered, word=lowered)
    scheme, separator, rest = lowered.rpartition("://")
    has_subdomains = rest.startswith("*.")
    found = _ORIGIN.fullmatch(scheme + separator + (rest[2:] if has_subdomains else rest))
    if found is None or (found[3] and int(found[3]) > 65535):
        raise ValueError(EXPECTED)
    _check_scheme(found[1])
    try:
        # Browsers send a host in its ASCII form.
        host = found[2] if found[2].isascii() else idna.encode(found[2], uts46=True).decode()
    except UnicodeError:  # idna.IDNAError is one
        raise ValueError(EXPECTED) from None
    return OriginPattern(lowered, None, found[1], host, int(found[3]) if found[3] else None, has_subdomains)


def _check_scheme(scheme: str | None) -> None:
    """Raise ValueError for a scheme that no page has.

    Apps have schemes of their own, so only a scheme that nearly is a common one is taken for a typing error.
    """
    if scheme is None or scheme in _PAGES_SCHEMES:
        return
    near = difflib.get_close_matches(scheme, _PAGES_SCHEMES, 1)
    if near or scheme in _NO_PAGES_SCHEMES:
        raise ValueError(
            f"expected a scheme that pages have, http, https, or that of an extension or an app{_perhaps(near)}"
        )


def _perhaps(near: Sequence[str]) -> str:
    return f" (did you mean {near[0]}://?)" if near else ""


def allows(
    patterns: Sequence[OriginPattern], origins: Sequence[str], host: str, *, is_secure: bool | None = None
) -> bool:
    """Whether an entry matches the request's Origin headers (`origins`: their values, usually one or none).

    `host` is the request's host [":" port], or empty where it can't be believed; `is_secure` says whether the client
    connected with TLS, None where that isn't known.
    """
    if len(origins) > 1:
        return False
    if not origins:
        return any(pattern.word == "none" for pattern in patterns)
    lowered = origins[0].lower()
    if lowered == "null":  # a sandboxed frame, a file: any page can make itself one
        return any(pattern.word == "null" for pattern in patterns)
    if any(pattern.word == "*" or pattern.word == lowered == _FILE for pattern in patterns):
        return True  # for any text, also one that is no origin: an empty one, one with a path
    origin = _parsed(lowered)
    return origin is not None and any(_fits(pattern, origin, host.lower(), is_secure) for pattern in patterns)


def _parsed(text: str) -> _Origin | None:
    found = _ORIGIN.fullmatch(text)
    if found is None or found[1] is None:
        return None
    return _Origin(found[1], found[2], int(found[3]) if found[3] else _PORTS.get(found[1]))


def _fits(pattern: OriginPattern, origin: _Origin, host: str, is_secure: bool | None) -> bool:
    if pattern.word is not None:
        return pattern.word == "same" and _is_same(origin, host, is_secure)
    schemes = _WEB_SCHEMES if pattern.scheme is None else (pattern.scheme,)
    if origin.scheme not in schemes or pattern.port not in (None, origin.port):
        return False
    return origin.host.endswith("." + pattern.host) if pattern.has_subdomains else origin.host == pattern.host


def _is_same(origin: _Origin, host: str, is_secure: bool | None) -> bool:
    """Whether the page comes from the server of its WebSocket: same host and port, https for wss, http for ws."""
    found = _ORIGIN.fullmatch(host)
    if found is None or found[1] is not None:
        return False
    # Where `is_secure` isn't known, a proxy may end TLS without telling.
    scheme = {None: origin.scheme, True: "https", False: "http"}[is_secure]
    if scheme not in _WEB_SCHEMES:
        return False
    port = int(found[3]) if found[3] else _PORTS.get(scheme)
    return (origin.scheme, origin.host, origin.port) == (scheme, found[2], port)


def can_be_rebound(host: str, names: Collection[str]) -> bool:
    """Whether the name in a Host header may be one that a foreign page has pointed at this machine (DNS rebinding).

    Such a page has the same host as its WebSocket, and is still foreign. An IP address can't be rebound, `localhost` is
    always this machine (RFC 6761, section 6.3), and `names` are the server's own (--host).
    """
    found = _ORIGIN.fullmatch(host.lower())
    name = found[2].rstrip(".") if found is not None else ""
    is_address = name.startswith("[") or re.fullmatch(r"[0-9.]+", name) is not None
    is_local = name == "localhost" or name.endswith(".localhost")
    return not (is_address or is_local or name in names)
