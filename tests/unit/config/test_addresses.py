"""The address of --admin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.config.addresses import AdminAddress, parse_admin


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":9100", AdminAddress("127.0.0.1", 9100)),
        (":0", AdminAddress("127.0.0.1", 0)),
        ("10.0.0.2:9100", AdminAddress("10.0.0.2", 9100)),
        ("one.example:9100", AdminAddress("one.example", 9100)),
        ("[::1]:9100", AdminAddress("::1", 9100)),
        ("unix:/run/admin", AdminAddress("", 0, "/run/admin")),
        ("unix:80", AdminAddress("unix", 80)),
    ],
)
def test_a_host_and_port_or_a_path(text: str, expected: AdminAddress) -> None:
    assert parse_admin(text) == expected


@pytest.mark.parametrize(
    "text", ["", "9100", "one.example", ":", ":65536", ":x", "::1:9100", "[::1]", "unix:", "/run/admin"]
)
def test_anything_else_is_told_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT, :PORT"):
        parse_admin(text)


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = parse_admin(text)
    except ValueError:
        return
    assert address.path or (address.host and 0 <= address.port <= 65535)
