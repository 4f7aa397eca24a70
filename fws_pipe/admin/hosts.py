"""Which Host headers may reach the admin address. No I/O.

A web page of any site can make the browser send requests to an address on the user's machine or network, under a name
that its own DNS server points there (DNS rebinding): then the page may read the answer. Such a request carries that
name in its Host header. So a name must be known; an IP address can't be rebound, and is always let in.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

_HOST = re.compile(r"(?:\[([^]]*)\]|([^:\[\]]*))(?::[0-9]*)?")
"""A Host header: a name or an address, one of IPv6 in brackets, and perhaps a port (RFC 3986, section 3.2.2)."""


def is_own_host(host: str, names: Collection[str]) -> bool:
    """Whether a Host header may reach the admin address: an IP address, localhost, or one of `names` (lower-case)."""
    found = _HOST.fullmatch(host.strip().lower())
    if found is None:
        return False
    name = found[2].removesuffix(".") if found[1] is None else ""
    if name in names or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(found[1] or name)
    except ValueError:
        return False
    return True
