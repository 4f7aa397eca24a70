"""Any text and any field survives JSON and logfmt, and no line holds a control character."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fws_pipe.log_form import Field, LogFormat, as_json, as_logfmt, entry_of, structured

# What decoded bytes may hold (os.fsdecode, errors="backslashreplace" or "surrogateescape"), lone surrogates included.
texts = st.text(st.characters(codec="utf-8") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF))
names = st.from_regex(r"[a-z][a-z_]{0,10}", fullmatch=True)
values = st.none() | texts | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
entries = st.dictionaries(names, values, max_size=6)

_PAIR = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "]*)(?: |$)')


def parsed_logfmt(line: str) -> dict[str, str]:
    """The pairs of a line of logfmt; a quoted value is a string as in JSON."""
    found: dict[str, str] = {}
    position = 0
    while position < len(line):
        pair = _PAIR.match(line, position)
        assert pair is not None, line[position:]
        found[pair[1]] = json.loads(pair[2]) if pair[2].startswith('"') else pair[2]
        position = pair.end()
    return found


def assert_harmless(line: str) -> None:
    assert line.encode().decode() == line
    assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in line)
    assert not set(line) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")


@given(entries)
@example({"a": '"\\\x00\x7f\x9b\u2028\u202e\udc80 é\U0001f600\U000e0001', "b": "", "c": "x=y", "d": "two words"})
def test_any_entry_survives_json(entry: dict[str, Field]) -> None:
    line = as_json(entry)
    assert_harmless(line)
    assert json.loads(line) == {name: value for name, value in entry.items() if value is not None}


@given(entries)
@example({"a": '"\\\x00\x7f\x9b\u2028\u202e\udc80 é\U0001f600\U000e0001', "b": "", "c": "x=y", "d": "two words"})
def test_any_entry_survives_logfmt(entry: dict[str, Field]) -> None:
    line = as_logfmt(entry)
    assert_harmless(line)
    present = {name: value for name, value in entry.items() if value is not None}
    assert parsed_logfmt(line) == {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in present.items()
    }


@pytest.mark.parametrize(
    ("form", "line"),
    [
        (
            LogFormat.JSON,
            '{"time":"2026-11-27T11:20:13.120Z","level":"info","subject":"chain","message":"it serves","pid":5}',
        ),
        (LogFormat.LOGFMT, 'time=2026-11-27T11:20:13.120Z level=info subject=chain message="it serves" pid=5'),
    ],
)
def test_an_entry_begins_with_time_level_subject_and_message(form: LogFormat, line: str) -> None:
    entry = entry_of(1795778413.12, "info", "chain", "it serves", {"pid": 5, "route": None})
    assert structured(form, entry) == line


@given(st.floats(0, 4e9))
def test_time_has_milliseconds_and_a_zone(seconds: float) -> None:
    entry = entry_of(seconds, "info", "chain", "", {})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(entry["time"]))
