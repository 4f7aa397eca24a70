"""The media type of a file by its name. No I/O.

Python's own table, whatever this machine's /etc/mime.types says, and what browsers want where it lacks that or is old.
"""

from __future__ import annotations

import mimetypes

_UNKNOWN = "application/octet-stream"

_TYPES = mimetypes.MimeTypes()
for _suffix, _type in {
    ".avif": "image/avif",
    ".js": "text/javascript",  # RFC 9239
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".opus": "audio/ogg",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}.items():
    _TYPES.add_type(_type, _suffix)

_COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}

_IN_UTF_8 = frozenset({"application/json", "application/manifest+json", "application/xml", "image/svg+xml"})


def media_type_of(name: bytes) -> str:
    """The value of Content-Type for a file of this name; text is taken to be in UTF-8."""
    # Only the end of the name counts. "./" keeps a name such as `data:x` from being read as a URL.
    found, encoding = _TYPES.guess_type("./" + name.decode("latin-1"))
    if encoding is not None:
        return _COMPRESSED.get(encoding, _UNKNOWN)
    if found is None:
        return _UNKNOWN
    return f"{found}; charset=utf-8" if found.startswith("text/") or found in _IN_UTF_8 else found
