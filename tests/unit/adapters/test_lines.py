"""Any text is one field of one line, and comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.adapters.lines import escape, unescape, without_return


@given(st.text())
def test_any_text_is_one_field_of_one_line_and_comes_back(text: str) -> None:
    field = escape(text)
    assert not set(field) & set("\n\r\t")
    assert unescape(field) == text


@given(st.text("aB%\n\r\t0dDa9"))
def test_upper_and_lower_case_hurt_no_escape(text: str) -> None:
    assert unescape(escape(text).upper()) == text.upper()
    assert unescape(escape(text).lower()) == text.lower()


def test_a_percent_sign_that_nobody_has_escaped_is_one() -> None:
    assert unescape("100% of %41 %0A%") == "100% of %41 \n%"


def test_one_return_goes() -> None:
    assert [without_return(line) for line in (b"a\r", b"a", b"\r\r", b"")] == [b"a", b"a", b"\r", b""]
