"""The Host header against DNS rebinding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.admin.hosts import is_own_host


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:9100", "10.1.2.3:80", "[::1]:9100", "[::1]", "localhost", "LocalHost:1", "x.localhost:1",
     "one.example:9100", "ONE.example", "one.example."],
)  # fmt: skip
def test_addresses_loopback_names_and_known_names_may_come_in(host: str) -> None:
    assert is_own_host(host, {"one.example"})


@pytest.mark.parametrize(
    "host",
    ["", ":80", "evil.example", "evil.example:9100", "one.example.evil.example", "127.0.0.1.evil.example",
     "localhost.evil", "[evil.example]", "[one.example]", "1e3", "one.example:80@evil.example", "[]", "one.example:x"],
)  # fmt: skip
def test_other_names_may_not(host: str) -> None:
    assert not is_own_host(host, {"one.example"})


@given(st.text(max_size=30))
def test_any_text_gets_an_answer(host: str) -> None:
    assert is_own_host(host, ()) in (True, False)
