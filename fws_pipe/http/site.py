"""The host and scheme that a client connected to. No I/O."""

from __future__ import annotations

from typing import NamedTuple


class Site(NamedTuple):
    """The host and scheme that a client connected to, as the outermost trusted proxy tells them; None: unknown."""

    host: str | None = None
    """host [":" port]"""
    is_secure: bool | None = None
    """Whether the client connected with TLS."""
    is_certain: bool = True
    """Whether `host`, or else the Host header, is this server's own name, and not one that a page has chosen."""
