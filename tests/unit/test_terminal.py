"""Whatever text goes in, what comes out is one printable line; and ordinary text is left alone."""

from __future__ import annotations

import ast
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fws_pipe.terminal import one_line, one_line_with_tabs, quoted, shown

HOSTILE = (
    "\x00\x07\b\t\n\v\f\r\x1b\x1c\x7f\x80\x85\x9b\x9d\xad\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069"
    "\ud800\udc9b\ufeff\ufffe\ue000\U000e0001\U0010ffff"
)
JOINERS = "\u200c\u200d"
texts = st.one_of(
    st.text(st.characters(codec=None)), st.text(st.sampled_from(HOSTILE + JOINERS + "aß'\"\\ \xa0")), st.text()
)


def is_printable_line(text: str) -> bool:
    """By Unicode's categories: no control, format (but the joiners), surrogate, unassigned, private, separator."""
    return len(text.splitlines()) <= 1 and all(
        letter in JOINERS
        or (unicodedata.category(letter)[0] != "C" and unicodedata.category(letter) not in ("Zl", "Zp"))
        for letter in text
    )


@given(texts)
@example(HOSTILE)
def test_whatever_goes_in_one_printable_line_comes_out(text: str) -> None:
    for line in (one_line(text), quoted(text), shown(text), shown([text, {text: text.encode(errors="replace")}])):
        assert is_printable_line(line)
        assert one_line(line) == line
        line.encode()


@pytest.mark.parametrize("letter", HOSTILE)
def test_each_hostile_character_is_escaped_as_python_writes_it(letter: str) -> None:
    assert one_line(f"a{letter}b") == f"a{letter!r}b".replace("'", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        r"C:\temp \x1b 'it''s' \"so\"",
        "Grüße, señor; l’été\xa0: 5\u202f000 €",
        "नमस्ते क्\u200dष, می\u200cخواهم, שלום, สวัสดี, 안녕하세요, 今日は\u3000世界",
        "👩\u200d👩\u200d👧 ❤️ 🏳️\u200d🌈 e\u0301",
    ],
)
def test_ordinary_text_of_any_script_stays_as_it_is(text: str) -> None:
    assert one_line(text) == text
    assert shown(text) == text
    assert one_line_with_tabs(text) == text


@given(texts, texts)
@example("\n", "\\n")
@example("'", "\\'")
@example("b'\\x00'", "'b'")
def test_quoted_text_is_clear_and_so_is_what_is_shown(text: str, other: str) -> None:
    assert ast.literal_eval(quoted(text)) == text
    if text != other:
        assert shown(text) != shown(other)
    assert shown(text) != shown(text.encode(errors="replace"))


@given(texts)
def test_a_line_with_tabs_keeps_them_and_is_one_printable_line_without(text: str) -> None:
    cells = one_line_with_tabs(text).split("\t")
    assert cells == [one_line(cell) for cell in text.split("\t")]
