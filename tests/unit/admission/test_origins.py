"""Which pages may connect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.admission.origins import allows, can_be_rebound, parse_origin

HOST = "ws.example.com:9000"

labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=6)
hosts = st.lists(labels, min_size=1, max_size=4).map(".".join)
schemes = st.sampled_from(["http", "https"])
ports = st.none() | st.integers(1, 65535)


def is_allowed(entries: str, *origins: str, host: str = HOST) -> bool:
    return allows([parse_origin(entry) for entry in entries.split(",")], origins, host)


@pytest.mark.parametrize(
    ("entries", "origin", "expected"),
    [
        ("example.com", "http://example.com", True),
        ("example.com", "https://example.com", True),
        ("example.com", "https://example.com:8443", True),
        ("example.com", "https://EXAMPLE.com", True),
        ("Example.COM", "https://example.com", True),
        ("example.com", "https://www.example.com", False),
        ("example.com", "https://example.com.evil.org", False),
        ("example.com", "https://evilexample.com", False),
        ("example.com", "ftp://example.com", False),
        ("app://example.com", "app://example.com", True),
        ("tauri://localhost", "tauri://localhost", True),
        ("moz-extension://0a1b-2c", "moz-extension://0a1b-2c", True),
        ("https://example.com", "http://example.com", False),
        ("https://example.com:443", "https://example.com", True),
        ("example.com:80", "http://example.com", True),
        ("example.com:80", "https://example.com", False),
        ("example.com:8080", "http://example.com:8081", False),
        ("*.example.com", "https://a.b.example.com", True),
        ("*.example.com", "https://example.com", False),
        ("*.example.com", "https://evil-example.com", False),
        ("https://*.example.com:443", "https://a.example.com", True),
        ("a.org,example.com", "https://example.com", True),
        ("[::1]:8080", "http://[::1]:8080", True),
        ("bücher.example", "https://xn--bcher-kva.example", True),
        ("*", "https://anything.at.all", True),
        ("*", "null", False),
        ("null", "null", True),
        ("null", "https://null", False),
        ("same", "http://ws.example.com:9000", True),
        ("same", "http://ws.example.com", False),
        ("same", "http://other.example.com:9000", False),
        ("example.com", "https://example.com/", False),
        ("example.com", "https://user@example.com", False),
        ("example.com", "https://a.org https://example.com", False),
        ("example.com", "example.com", False),
        ("*", "", True),
        ("*", "file://", True),
        ("*", "https://example.com/page", True),
        ("file://", "file://", True),
        ("https://a.example", "file://", False),
        ("file://", "https://a.example", False),
        ("https://straße.de", "https://strasse.de", False),
        ("https://straße.de", "https://xn--strae-oqa.de", True),
    ],
)
def test_entries(entries: str, origin: str, expected: bool) -> None:
    assert is_allowed(entries, origin) is expected


def test_who_names_no_page_is_named_by_its_own_word_and_two_pages_at_once_are_none() -> None:
    assert is_allowed("example.com,none")
    assert not is_allowed("*,null,same,example.com")
    assert not is_allowed("*", "https://example.com", "https://example.com")


def test_same_is_https_on_a_server_with_tls_and_http_on_one_without() -> None:
    same = [parse_origin("same")]
    for scheme, host, is_secure, expected in (
        ("https", "example.com", True, True),
        ("http", "example.com:80", True, False),
        ("http", "example.com", True, False),
        ("https", "example.com", False, False),
        ("http", "example.com", False, True),
        ("https", "example.com", None, True),
        ("http", "example.com", None, True),
        ("chrome-extension", "example.com", None, False),
    ):
        assert allows(same, [f"{scheme}://example.com"], host, is_secure=is_secure) is expected, (scheme, host)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("evil.example:9000", True),
        ("localhost.evil.example", True),
        ("1.evil.example", True),
        ("", True),
        ("a b", True),
        ("127.0.0.1:9000", False),
        ("[::1]:9000", False),
        ("192.168.0.1", False),
        ("LocalHost:9000", False),
        ("localhost.", False),
        ("chat.localhost", False),
        ("chat.lan:9000", False),
    ],
)
def test_names_that_a_page_may_have_pointed_at_this_machine(host: str, expected: bool) -> None:
    assert can_be_rebound(host, ["chat.lan"]) is expected


def test_same_without_a_port_is_the_schemes_port() -> None:
    assert is_allowed("same", "https://example.com", host="example.com")
    assert is_allowed("same", "https://example.com", host="Example.com:443")
    assert not is_allowed("same", "https://example.com", host="example.com:80")
    assert not is_allowed("same", "https://example.com", host="")


@pytest.mark.parametrize(
    "entry", ["", "http://", "a b", "a.com/path", "a.com:", "a.com:x", "a.com:99999", "a.*.com", "**", "*.", "u@a.com"]
)
def test_what_is_no_entry(entry: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_origin(entry)


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ("htps://a.com", "mean https"),
        ("htttp://a.com", "mean http:"),
        ("httpss://*.a.com", "mean https"),
        ("chrome-extensions://abc", "mean chrome-extension:"),
        ("wss://a.com", "http, https"),
        ("file://a.com", "http, https"),
    ],
)
def test_a_scheme_that_no_page_has(entry: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"expected a scheme.*{hint}"):
        parse_origin(entry)


@given(schemes, hosts, ports)
def test_an_origin_is_allowed_by_itself_and_by_each_part_of_it(scheme: str, host: str, port: int | None) -> None:
    suffix = "" if port is None else f":{port}"
    origin = f"{scheme}://{host}{suffix}"
    for entry in (origin, host + suffix, f"{scheme}://{host}", host if host not in ("null", "none", "same") else "*"):
        assert is_allowed(entry, origin)
        assert is_allowed(entry, origin.upper())
    assert is_allowed(f"*.{host}", f"{scheme}://www.{host}{suffix}")
    assert not is_allowed(f"*.{host}", origin)


@given(schemes, hosts, ports, schemes, hosts, ports)
def test_no_other_host_is_allowed(s: str, host: str, p: int | None, t: str, other: str, q: int | None) -> None:
    entry = f"{s}://{host}" + ("" if p is None else f":{p}")
    origin = f"{t}://{other}" + ("" if q is None else f":{q}")
    if is_allowed(entry, origin):
        assert (s, host) == (t, other)
        assert p is None or p == (q or {"http": 80, "https": 443}[t])


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_an_entry_or_a_value_error_and_any_header_gets_an_answer(entry: str, origin: str) -> None:
    try:
        pattern = parse_origin(entry)
    except ValueError:
        pattern = parse_origin("*")
    assert allows([pattern], [origin], origin) in (True, False)
