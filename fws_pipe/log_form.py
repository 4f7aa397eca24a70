"""The forms of a log line: text for people, JSON and logfmt for programs. No I/O.

Any text survives in JSON and in logfmt exactly, and no line in any form holds a control character.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from fws_pipe.terminal import escaped

Field = str | int | float | None
"""The value of a field; None: the line has no such field."""


class LogFormat(enum.StrEnum):
    """How each line of the log is written."""

    TEXT = "text"
    JSON = "json"
    LOGFMT = "logfmt"


_BARE = re.compile(r"[!#-<>-\[\]-~]+")
"""A value that logfmt needs no quotes for: printable ASCII but spaces, quotes, backslashes and equals signs."""

_LAST_OF_16_BITS = 0xFFFF


def entry_of(seconds: float, level: str, subject: str, message: str, fields: Mapping[str, Field]) -> dict[str, Field]:
    """The fields of a line, in order; `seconds` since the epoch become RFC 3339 in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"time": moment, "level": level, "subject": subject, "message": message, **fields}


def structured(form: LogFormat, entry: Mapping[str, Field]) -> str:
    """An entry as a line of JSON or logfmt, without the newline."""
    return as_json(entry) if form is LogFormat.JSON else as_logfmt(entry)


def as_json(entry: Mapping[str, Field]) -> str:
    """One JSON object on one line (RFC 8259)."""
    present = {name: value for name, value in entry.items() if value is not None}
    return _printable(json.dumps(present, ensure_ascii=False, separators=(",", ":")))


def as_logfmt(entry: Mapping[str, Field]) -> str:
    """`name=value` for each field, with spaces between; a value that needs quotes is written as in JSON."""
    return " ".join(f"{name}={_logfmt_value(value)}" for name, value in entry.items() if value is not None)


def _logfmt_value(value: Field) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if _BARE.fullmatch(text) else _printable(json.dumps(text, ensure_ascii=False))


def _printable(text: str) -> str:
    """JSON with what a terminal would obey, or show in another order, written as escapes of JSON."""
    return escaped(text, _as_in_json)


def _as_in_json(letter: str) -> str:
    number = ord(letter)
    return f"\\u{number:04x}" if number <= _LAST_OF_16_BITS else json.dumps(letter)[1:-1]
