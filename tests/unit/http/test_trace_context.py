"""Which traceparent headers are valid (W3C Trace Context, level 1, section 3.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.http.trace_context import is_traceparent, traceparent_of

VALID = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("value", "is_valid"),
    [
        (VALID, True),
        (VALID.replace("00-", "cc-", 1), True),
        (VALID.replace("00-", "cc-", 1) + "-what-the-future-brings", True),
        (VALID.replace("00-", "cc-", 1) + ".", False),
        (VALID + "-00", False),
        (VALID.replace("00-", "ff-", 1), False),
        (VALID.upper(), False),
        (VALID[:-1], False),
        (VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), False),
        (VALID.replace("00f067aa0ba902b7", "0" * 16), False),
        (VALID.replace("-", "_"), False),
        ("", False),
    ],
)
def test_examples(value: str, is_valid: bool) -> None:
    assert is_traceparent(value) is is_valid


def test_only_one_header_counts() -> None:
    assert traceparent_of([("host", "x"), ("traceparent", f" {VALID}\t")]) == VALID
    assert traceparent_of([("traceparent", VALID)] * 2) is None
    assert traceparent_of([("host", "x")]) is None
    assert traceparent_of([("traceparent", VALID.replace("00-", "01-", 1) + "-more")]) == "01" + VALID[2:]


@given(st.text(max_size=70) | st.text("0123456789abcdef-", min_size=50, max_size=60))
def test_any_text_is_valid_or_not_and_what_is_valid_has_four_parts(value: str) -> None:
    if is_traceparent(value):
        version, trace, parent, flags = value[:55].split("-")
        assert [len(part) for part in (version, trace, parent, flags)] == [2, 32, 16, 2]
        assert int(trace, 16)
        assert int(parent, 16)
        assert version != "ff"
