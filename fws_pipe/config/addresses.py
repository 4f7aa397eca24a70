"""The address of --admin, from its text. No I/O."""

from __future__ import annotations

from typing import NamedTuple

_LOOPBACK = "127.0.0.1"
_HOST_EXPECTED = "expected HOST:PORT, :PORT (127.0.0.1) or unix:PATH"


class AdminAddress(NamedTuple):
    """A TCP address, or the path of a Unix socket."""

    host: str
    """Empty for a Unix socket, as `port` is 0 then."""
    port: int
    path: str = ""


def parse_admin(text: str) -> AdminAddress:
    """An address to listen on. Raises ValueError."""
    kind, colon, path = text.partition(":")
    if kind == "unix" and path and not path.isdecimal():
        return AdminAddress("", 0, path)
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise ValueError(_HOST_EXPECTED)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in bare and bare == host:
        raise ValueError(f"{_HOST_EXPECTED}, an IPv6 address in brackets")
    return AdminAddress(bare or _LOOPBACK, int(port))
