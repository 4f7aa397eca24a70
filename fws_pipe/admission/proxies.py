"""Finds the client's address, and the host that it connected to, behind trusted proxies. No I/O.

A proxy appends its caller's address at the right end of X-Forwarded-For or of Forwarded (RFC 7239). Entries further
left were there before, and the client may have made them up: so the client's address is the rightmost one that is no
trusted proxy's. A trusted proxy that appends nothing lets the client choose its own address; the server can't tell.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from fws_pipe.http.site import Site

UNIX = "unix"
"""The host in `remote` for connections through a Unix socket; as an entry of --trusted-proxy: these are trusted."""

EXPECTED = f"expected an address, a network such as 10.0.0.0/8, or {UNIX} for Unix sockets"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Proxy = Network | str
"""A network, or `unix`."""

Headers = Sequence[tuple[str, str]]


class ContradictionError(Exception):
    """X-Forwarded-For and Forwarded name different clients: one of them is made up, and it isn't known which."""


def parse_proxy(text: str) -> Proxy:
    """Parse an entry of --trusted-proxy. Raises ValueError, whose text says what was expected."""
    if text.strip().lower() == UNIX:
        return UNIX
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        hint = f" ({error})" if "host bits" in str(error) else ""
        raise ValueError(EXPECTED + hint) from None


def client_of(remote: tuple[str, int], headers: Headers, proxies: Sequence[Proxy]) -> tuple[str, int]:
    """The (host, port) of the client behind `remote`; port 0 where no proxy tells it.

    A header that names no address (`unknown`, a pseudonym, only `proto`) doesn't contradict the other one. Raises
    ContradictionError where both headers name an address, and the two differ.
    """
    if not proxies or not is_trusted(remote[0], proxies):
        return remote
    ways = [_way(hops, proxies) for hops in (_x_forwarded_for(headers), _hops_of(_forwarded(headers)))]
    known = [way.client for way in ways if way.client is not None and way.is_known]
    known = known or [way.client for way in ways if way.client is not None]
    if len({host for host, _ in known}) > 1:
        # A proxy that writes one of the headers passes on the other as the client has sent it.
        raise ContradictionError
    return known[0] if known else remote


def site_of(peer: str, headers: Headers, proxies: Sequence[Proxy]) -> Site:
    """The site that the proxy `peer` names in X-Forwarded-Host and X-Forwarded-Proto, or else in Forwarded."""
    if not proxies or not is_trusted(peer, proxies):
        return Site()
    hops, elements = _x_forwarded_for(headers), _forwarded(headers)
    count = _way(hops or _hops_of(elements), proxies).hops
    element = _from_the_right(elements, count) or {}
    host = _from_the_right(_list_of(headers, "x-forwarded-host"), count) or element.get("host")
    scheme = _from_the_right(_list_of(headers, "x-forwarded-proto"), count) or element.get("proto")
    return Site(host, _SECURE.get((scheme or "").lower()))


_SECURE = {"http": False, "ws": False, "https": True, "wss": True}


def is_trusted(host: str, proxies: Sequence[Proxy]) -> bool:
    """Whether this is a trusted proxy's address, or `unix` where Unix sockets are trusted."""
    if host == UNIX:
        return UNIX in proxies
    address = parse_address(host)
    return address is not None and any(not isinstance(proxy, str) and address in proxy for proxy in proxies)


def is_loopback(host: str) -> bool:
    """Whether a connection from this address comes from this machine."""
    address = parse_address(host)
    return address is not None and address.is_loopback


def group_of(host: str) -> str:
    """The group of addresses that counts as one: an IPv4 address, or an IPv6 /64, which one customer has (RFC 6177)."""
    if ":" not in host:
        return host
    address = parse_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return host if address is None else str(address)


_Hop = tuple[str, int]
"""The address of a client or of a proxy."""


class _Way(NamedTuple):
    """The path of a request through proxies, as one of the headers tells it, read from its right end."""

    client: _Hop | None
    """The client: the first address that is no trusted proxy's, or else the leftmost one; None: there is none."""
    is_known: bool
    """Whether `client` is the client, and not a proxy behind a hop that is no address."""
    hops: int
    """The place of `client` in the header, counted from the right end; 1 where there is no header."""


def _way(hops: Sequence[_Hop | None], proxies: Sequence[Proxy]) -> _Way:
    """The path that these hops make. It ends at a hop that is no address (`unknown`, a pseudonym, nonsense)."""
    client = None
    for count, hop in enumerate(reversed(hops), 1):
        if hop is None:
            return _Way(client, is_known=False, hops=count)
        client = hop
        if not is_trusted(hop[0], proxies):
            return _Way(client, is_known=True, hops=count)
    return _Way(client, is_known=True, hops=max(len(hops), 1))


Item = TypeVar("Item")


def _from_the_right(items: Sequence[Item], count: int) -> Item | None:
    """The item at this place from the right; the leftmost where there are fewer, since not each proxy appends one."""
    return items[-min(count, len(items))] if items else None


def parse_address(text: str) -> Address | None:
    """The IP address in a text, with an IPv4 address in IPv6 form as IPv4; None: it is no address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _list_of(headers: Headers, name: str) -> list[str]:
    """The members of a list header, on one line or several (RFC 9110, section 5.3)."""
    return [part.strip() for found, value in headers if found == name for part in value.split(",")]


def _x_forwarded_for(headers: Headers) -> list[_Hop | None]:
    """The addresses of X-Forwarded-For, which are separated by commas; some proxies add ports."""
    return [_hop(part) for part in _list_of(headers, "x-forwarded-for")]


_PARAMETER = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[^\s",;]*)\s*(;|,|$)')


def _forwarded(headers: Headers) -> list[dict[str, str]]:
    """The parameters of each element of Forwarded (RFC 7239, section 4).

    An element that is malformed, such as one with the same parameter twice, has none.
    """
    elements: list[dict[str, str]] = []
    element: dict[str, str] = {}
    makes_sense = True
    for name, text, end in _parameters(", ".join(value for found, value in headers if found == "forwarded")):
        makes_sense = makes_sense and bool(name) and name not in element
        element[name] = text
        if end != ";":
            elements.append(element if makes_sense else {})
            element, makes_sense = {}, True
    return [*elements, element if makes_sense else {}] if element else elements


def _hops_of(elements: Sequence[dict[str, str]]) -> list[_Hop | None]:
    return [_hop(element.get("for", "")) for element in elements]


def _parameters(value: str) -> Iterator[tuple[str, str, str]]:
    """Each parameter's name, value, and the separator after it: `;`, `,` or nothing."""
    position = 0
    while position < len(value):
        found = _PARAMETER.match(value, position)
        if found is None:
            # A malformed part is a hop without an address; parsing goes on after the next comma.
            comma = value.find(",", position)
            yield "", "", ","
            position = len(value) if comma < 0 else comma + 1
            continue
        text = found[2]
        if text.startswith('"'):
            text = re.sub(r"\\(.)", r"\1", text[1:-1])
        yield found[1].lower(), text, found[3]
        position = found.end()


_HOP = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?|([0-9A-Fa-f:.]+)")


def _hop(text: str) -> _Hop | None:
    """The (host, port) of one hop; an IPv6 address is in brackets where a port follows; None: it is no address."""
    found = _HOP.fullmatch(text)
    if found is None:
        return None
    address = parse_address(found[1] or found[2] or found[4])
    port = int(found[3] or 0)
    return None if address is None or port > 65535 else (str(address), port)
