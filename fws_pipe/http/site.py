"""Where a client has connected to. No I/O."""

from __future__ import annotations

from typing import NamedTuple


class Site(NamedTuple):
    """Where a client has connected to, as the first trusted proxy on its way tells it; None: it doesn't."""

    host: str | None = None
    """host [":" port]"""
    is_secure: bool | None = None
    """Whether the client has come there with TLS."""
    is_certain: bool = True
    """Whether the host, or else the Host header, is a name of this server, and not one that a page has chosen."""
