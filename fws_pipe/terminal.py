"""Turns untrusted text into one line that is safe to show on a terminal. No I/O.

Text from a client, a page or another program may hold control characters that move the cursor, set colours or the
window's title (ECMA-48), bidirectional controls that show text in another order (Unicode UAX 9), or line breaks that
make one log line look like two. Each becomes an escape such as `\\x1b`, `\\u202e` or `\\n`. Text in any script stays as
it is, with its spaces and with the two joiners that Persian, Indic scripts and emoji need.
"""

from __future__ import annotations

from collections.abc import Callable

_SPACES = "\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_JOINERS = "\u200c\u200d"


def one_line(text: str) -> str:
    """The text as one printable line. A backslash stays as it is; `quoted` shows unambiguously what was sent."""
    return escaped(text, _as_in_python)


def one_line_with_tabs(text: str) -> str:
    """The text as one printable line that keeps its tabs, for text in columns."""
    return escaped(text, _as_in_python, "\t")


def quoted(text: str) -> str:
    """The text as a Python literal in quotes, on one printable line: no two texts look the same."""
    plain = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{one_line(plain)}'"


def shown(value: object) -> str:
    """A frame's value as one printable line: plain text as it is, anything else as a Python literal."""
    if not isinstance(value, str):
        return one_line(repr(value))
    return value if one_line(value) == value and not value.startswith(("'", "b'", 'b"')) else quoted(value)


def escaped(text: str, escape: Callable[[str], str], kept: str = "") -> str:
    """The text with each unprintable character replaced by `escape` of it; those in `kept` stay."""
    if text.isprintable():
        return text
    # A client may send a megabyte of them: Python looks at each distinct character once, and C does the rest.
    letters = set(text).difference(_SPACES, _JOINERS, kept)
    table = {ord(letter): escape(letter) for letter in letters if not letter.isprintable()}
    return text.translate(table) if table else text


def _as_in_python(letter: str) -> str:
    return repr(letter)[1:-1]
