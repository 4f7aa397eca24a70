"""Whose word counts about where a client comes from: the entries of --trusted-proxy, and what such proxies say. No I/O.

Each proxy adds the address of whoever has called it, at the right end of X-Forwarded-For or of Forwarded (RFC 7239).
What stands further left was there before, and anybody can have written it: so the rightmost address that is no trusted
proxy's is the client's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

UNIX = "unix"
"""The host in `remote` of those who come through a Unix socket; as an entry: they are trusted."""

EXPECTED = f"expected an address, a network such as 10.0.0.0/8, or {UNIX} for Unix sockets"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Proxy = Network | str
"""A network, or `unix`."""

Headers = Sequence[tuple[str, str]]


class ContradictionError(Exception):
    """The two headers name different clients: one of them is made up, and nobody knows which."""


def parse_proxy(text: str) -> Proxy:
    """Parse an entry. Raises ValueError with what was expected."""
    if text.strip().lower() == UNIX:
        return UNIX
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        hint = f" ({error})" if "host bits" in str(error) else ""
        raise ValueError(EXPECTED + hint) from None


def client_of(remote: tuple[str, int], headers: Headers, proxies: Sequence[Proxy]) -> tuple[str, int]:
    """The (host, port) of the client behind `remote`, port 0 where nobody has told it.

    Raises ContradictionError.
    """
    if not proxies or not _is_trusted(remote[0], proxies):
        return remote
    told = []
    for name, parse in (("x-forwarded-for", _x_forwarded_for), ("forwarded", _forwarded)):
        values = [value for found, value in headers if found == name]
        if values:
            told.append(_rightmost_untrusted(remote, parse(", ".join(values)), proxies))
    if len({host for host, _ in told}) > 1:
        # A proxy that writes one of them lets the other through as the client has sent it.
        raise ContradictionError
    return told[0] if told else remote


def group_of(host: str) -> str:
    """What counts as one address: an IPv6 customer has a whole /64 of them (RFC 6177)."""
    if ":" not in host:
        return host
    address = _address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return host if address is None else str(address)


def _rightmost_untrusted(
    remote: tuple[str, int], hops: Sequence[tuple[str, int] | None], proxies: Sequence[Proxy]
) -> tuple[str, int]:
    """Behind a hop that is no address (`unknown`, a pseudonym, nonsense) nothing can be trusted."""
    last = remote
    for hop in reversed(hops):
        if hop is None:
            break
        last = hop
        if not _is_trusted(hop[0], proxies):
            break
    return last


def _is_trusted(host: str, proxies: Sequence[Proxy]) -> bool:
    address = _address(host)
    if address is None:
        return host in proxies
    return any(not isinstance(proxy, str) and address in proxy for proxy in proxies)


def _address(host: str) -> Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _x_forwarded_for(value: str) -> list[tuple[str, int] | None]:
    """Addresses with commas in between, some proxies add ports."""
    return [_hop(part.strip()) for part in value.split(",")]


_PARAMETER = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[^\s",;]*)\s*(;|,|$)')


def _forwarded(value: str) -> list[tuple[str, int] | None]:
    """The `for` of each element (RFC 7239, section 4); None for an element without one, or that makes no sense."""
    hops: list[tuple[str, int] | None] = []
    node, is_open = "", False
    for name, text, end in _parameters(value):
        node = text if name == "for" else node
        is_open = end == ";"
        if not is_open:
            hops.append(_hop(node))
            node = ""
    return [*hops, _hop(node)] if is_open else hops


def _parameters(value: str) -> Iterator[tuple[str, str, str]]:
    """The parameters' names, values, and what stands behind them: `;`, `,` or nothing."""
    position = 0
    while position < len(value):
        found = _PARAMETER.match(value, position)
        if found is None:
            # A part that nobody understands stands for a hop that nobody knows; what follows it is looked at afresh.
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


def _hop(text: str) -> tuple[str, int] | None:
    """An address, in brackets if it is IPv6 and a port follows."""
    found = _HOP.fullmatch(text)
    if found is None:
        return None
    address = _address(found[1] or found[2] or found[4])
    port = int(found[3] or 0)
    return None if address is None or port > 65535 else (str(address), port)
