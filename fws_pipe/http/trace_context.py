"""The trace that a client's request belongs to: W3C Trace Context, level 1 (section 3.2). No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""Version, trace, parent and flags; version ff, and a trace or a parent of zeros, are invalid."""

_LENGTH = 55
"""Of version 00. A later version may have more behind a dash, of which nothing is known."""


def traceparent_of(headers: Iterable[Sequence[str]]) -> str | None:
    """The value of a request's only traceparent header, without what a later version adds; None: none, or invalid.

    `headers` have lower-case names.
    """
    values = [value.strip(" \t") for name, value in headers if name == "traceparent"]
    return values[0][:_LENGTH] if len(values) == 1 and is_traceparent(values[0]) else None


def is_traceparent(value: str) -> bool:
    """Whether this is a valid value of the header traceparent."""
    if _TRACEPARENT.fullmatch(value[:_LENGTH]) is None:
        return False
    return len(value) == _LENGTH or (not value.startswith("00") and value[_LENGTH] == "-")
