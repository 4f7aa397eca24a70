"""Routes: which of several things a path of a URL belongs to. No I/O.

    /chat      this path alone
    /log/*     every path that begins with /log/, and not /log itself
    /*         every path: what has no other route

An exact path beats a prefix, and a longer prefix beats a shorter one. Paths are compared in their normal form, so that
a client may write one in any way that means the same (RFC 3986, section 6.2.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar
from urllib.parse import quote, unquote_to_bytes

EVERY_PATH = "/*"
"""The pattern that every path matches."""

_WILDCARD = "*"

_PLAIN = "!$&'()+,;=:@-._~"
"""What a segment's normal form has as it is, beside letters and digits: RFC 3986's pchar without the wildcard."""

_SEGMENT = r"/[^/?#*\s\x00-\x1f\x7f]*"
_PATTERN = re.compile(rf"(?:{_SEGMENT})+|(?:{_SEGMENT})*/\*")

T = TypeVar("T")


def normal_path(path: str) -> str:
    """The one form of all spellings of a path: percent-encoded where needed, and nowhere else.

    An encoded slash stays encoded: it separates no segments. `path` is as http.head reads it, one character a byte, or
    a user's text of ASCII.
    """
    segments = path.encode("latin-1").split(b"/")
    return "/".join(quote(unquote_to_bytes(segment), safe=_PLAIN) for segment in segments)


def parse_pattern(text: str) -> str:
    """A pattern in its normal form. Raises ValueError."""
    if not _PATTERN.fullmatch(text):
        raise ValueError("expected a path such as /chat, or /log/* for all below /log/, without ? # and spaces")
    if text.endswith(f"/{_WILDCARD}"):
        return f"{_normal_text(text[:-1])}{_WILDCARD}"
    return _normal_text(text)


def _normal_text(text: str) -> str:
    return normal_path(text.encode(errors="surrogateescape").decode("latin-1"))


class RouteTable(Mapping[str, T], Generic[T]):
    """What patterns stand for."""

    def __init__(self) -> None:
        self._by_pattern: dict[str, T] = {}
        self._prefixes: list[str] = []
        """The patterns that end with the wildcard, without it; the longest first."""

    def __getitem__(self, pattern: str) -> T:
        return self._by_pattern[pattern]

    def __len__(self) -> int:
        return len(self._by_pattern)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_pattern)

    def put(self, pattern: str, target: T) -> None:
        """Let a pattern stand for this from now on. The pattern is in its normal form."""
        self._by_pattern[pattern] = target
        self._note_prefixes()

    def remove(self, pattern: str) -> None:
        """Let it stand for nothing."""
        del self._by_pattern[pattern]
        self._note_prefixes()

    def _note_prefixes(self) -> None:
        prefixes = [pattern[:-1] for pattern in self._by_pattern if pattern.endswith(_WILDCARD)]
        self._prefixes = sorted(prefixes, key=len, reverse=True)

    def find(self, path: str) -> T | None:
        """What the most specific pattern for a path stands for; None where there is none."""
        normal = normal_path(path)
        if normal in self._by_pattern:
            return self._by_pattern[normal]
        prefix = next((prefix for prefix in self._prefixes if normal.startswith(prefix)), None)
        return None if prefix is None else self._by_pattern[prefix + _WILDCARD]
