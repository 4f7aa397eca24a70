"""Text as one line, or as a field of one. No I/O.

A line ends with LF. In a line of fields `%0A`, `%0D`, `%09` and `%25` stand for LF, CR, TAB and the percent sign, with
hexadecimal digits in either case, so that a program may change the case of letters, and split lines into fields.
"""

from __future__ import annotations

import re

LINE_LIMIT_BYTES = 16 * 1024 * 1024
"""The longest line that a program may write, so that one without an end doesn't fill the memory."""

_ESCAPES = str.maketrans({"%": "%25", "\n": "%0A", "\r": "%0D", "\t": "%09"})
_ESCAPED = re.compile("%(25|0[aA]|0[dD]|09)")


def without_return(line: bytes) -> bytes:
    """A line without the CR of a program that ends its lines with CR LF."""
    return line[:-1] if line.endswith(b"\r") else line


def escape(text: str) -> str:
    """A text as one field of a line."""
    if "%" in text or "\n" in text or "\t" in text or "\r" in text:
        return text.translate(_ESCAPES)
    return text


def unescape(field: str) -> str:
    """The text of a field; a percent sign that begins no escape stands for itself."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), field) if "%" in field else field
