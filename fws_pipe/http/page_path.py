"""Which file a URL path names within a folder of pages. No I/O.

The path is split at its slashes, and each part is decoded once (RFC 3986, section 2.4). So an encoded slash separates
nothing, and `%252e` is the name `%2e`. No part may be empty or begin with a dot: neither `..` nor a dot-file is named.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

INDEX = b"index.html"
"""The file that stands for its folder."""

_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NEVER_IN_A_NAME = re.compile(rb"[/\\\0]")


def names_of(path: str) -> list[bytes] | None:
    """The names that lead to the path's file: folders, then the file. None: the path names nothing.

    `path` is as http.head reads it, one character a byte. A path with a slash at its end names its folder's index.
    """
    if not path.startswith("/") or _LONE_PERCENT.search(path):
        return None
    names = [unquote_to_bytes(part.encode("latin-1")) for part in path[1:].split("/")]
    if not names[-1]:
        names[-1] = INDEX
    return names if all(map(_is_served, names)) else None


def _is_served(name: bytes) -> bool:
    return bool(name) and not name.startswith(b".") and not _NEVER_IN_A_NAME.search(name)
