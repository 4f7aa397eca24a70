"""Where a client comes from, by the word of proxies that may be lying."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.admission.proxies import ContradictionError, client_of, group_of, parse_proxy, site_of
from fws_pipe.http.site import Site

PROXIES = [parse_proxy(text) for text in ("10.0.0.0/8", "2001:db8::/32", "192.0.2.7", "unix")]
PROXY = ("10.0.0.1", 4000)

addresses = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)


def x(*values: str) -> list[tuple[str, str]]:
    return [("x-forwarded-for", value) for value in values]


def f(*values: str) -> list[tuple[str, str]]:
    return [("forwarded", value) for value in values]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], PROXY),
        (x("203.0.113.5"), ("203.0.113.5", 0)),
        (x("203.0.113.5:1234"), ("203.0.113.5", 1234)),
        (x("1.1.1.1, 203.0.113.5"), ("203.0.113.5", 0)),
        (x("1.1.1.1, 203.0.113.5, 10.9.9.9"), ("203.0.113.5", 0)),
        (x("1.1.1.1", "203.0.113.5", "10.9.9.9"), ("203.0.113.5", 0)),
        (x("10.3.3.3, 10.2.2.2"), ("10.3.3.3", 0)),
        (x("203.0.113.5, nonsense, 10.2.2.2"), ("10.2.2.2", 0)),
        (x("203.0.113.5, unknown"), PROXY),
        (x(""), PROXY),
        (x("203.0.113.5,"), PROXY),
        (x("fe80::5"), ("fe80::5", 0)),
        (x("[fe80::5]:77"), ("fe80::5", 77)),
        (x("::ffff:203.0.113.5"), ("203.0.113.5", 0)),
        (x("203.0.113.5:99999"), PROXY),
        (x("unix"), PROXY),
        (f("for=203.0.113.5"), ("203.0.113.5", 0)),
        (f("For=203.0.113.5;proto=https;by=10.0.0.1"), ("203.0.113.5", 0)),
        (f('for="[fe80::17]:4711"'), ("fe80::17", 4711)),
        (f('by=10.0.0.1;for="203.0.113.5:80" , for=10.7.7.7'), ("203.0.113.5", 80)),
        (f("for=1.1.1.1", "for=203.0.113.5;host=a.b, for=10.7.7.7;"), ("203.0.113.5", 0)),
        (f("for=203.0.113.5, for=unknown"), PROXY),
        (f('for=203.0.113.5, for="_hidden"'), PROXY),
        (f("for=203.0.113.5, proto=http"), PROXY),
        # A parameter may be there once (RFC 7239, section 4): else nobody knows which one counts.
        (f("for=203.0.113.5;for=203.0.113.5"), PROXY),
        (f("for=203.0.113.5;For=203.0.113.6, for=10.7.7.7"), ("10.7.7.7", 0)),
        (f("for=203.0.113.5;proto=http;proto=https"), PROXY),
        (f("for=203.0.113.5;for=203.0.113.6;"), PROXY),
        (f("for=203.0.113.6;for=203.0.113.7", "for=203.0.113.5"), ("203.0.113.5", 0)),
        # What is malformed in another way makes no sense either, as a whole.
        (f("for=203.0.113.5; nonsense"), PROXY),
        (f('for="203.0.113\\.5"'), ("203.0.113.5", 0)),
        # What a client writes must not swallow what the proxy writes behind it.
        (f('for=1.1.1.1;x=", for=203.0.113.5'), ("203.0.113.5", 0)),
        (f('for="1.1.1.1', 'for="203.0.113.5";by="10.0.0.1"'), ("203.0.113.5", 0)),
        (f('for=1.1.1.1;x="\\', 'for="203.0.113.5";by="10.0.0.1"'), ("203.0.113.5", 0)),
        ([*x("203.0.113.5"), *f("for=203.0.113.5")], ("203.0.113.5", 0)),
        # As lighttpd and nghttpx send them: what names no address contradicts nothing.
        ([*x("203.0.113.5"), *f("proto=https;host=example.com")], ("203.0.113.5", 0)),
        ([*x("203.0.113.5"), *f("for=unknown;by=_proxy")], ("203.0.113.5", 0)),
        ([*x("203.0.113.5"), *f('for="_x"')], ("203.0.113.5", 0)),
        ([*x("203.0.113.5"), *f("for=1.1.1.1, for=unknown")], ("203.0.113.5", 0)),
        ([*x("203.0.113.5, 10.2.2.2"), *f("for=unknown, for=10.2.2.2")], ("203.0.113.5", 0)),
        ([*x("unknown"), *f("for=203.0.113.5")], ("203.0.113.5", 0)),
        ([*x(""), *f("for=203.0.113.5")], ("203.0.113.5", 0)),
        ([*x("unknown"), *f("for=_x")], PROXY),
    ],
)
def test_a_trusted_proxy(headers: list[tuple[str, str]], expected: tuple[str, int]) -> None:
    assert client_of(PROXY, headers, PROXIES) == expected


def h(**values: str) -> list[tuple[str, str]]:
    return [(f"x-forwarded-{name}", value) for name, value in values.items()]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], (None, None)),
        (h(host="a.example:8443", proto="https"), ("a.example:8443", True)),
        (h(proto="HTTP"), (None, False)),
        (h(proto="wss"), (None, True)),
        (h(proto="gopher", host=""), (None, None)),
        (f("for=1.1.1.1;host=a.example;proto=https"), ("a.example", True)),
        ([*h(host="a.example"), *f("host=b.example;proto=https")], ("a.example", True)),
        # What the client itself had written stands further left than what the proxy adds.
        ([*x("9.9.9.9, 1.1.1.1"), *h(host="made.up, a.example")], ("a.example", None)),
        (f("for=9.9.9.9;host=made.up, for=1.1.1.1;host=a.example"), ("a.example", None)),
        # Two trusted proxies: the outer one's word counts, whether or not the inner one adds its own.
        ([*x("1.1.1.1, 10.2.2.2"), *h(host="a.example, inner", proto="https, http")], ("a.example", True)),
        ([*x("1.1.1.1, 10.2.2.2"), *h(host="a.example", proto="https")], ("a.example", True)),
        ([*x("9.9.9.9, 1.1.1.1, 10.2.2.2"), *h(host="made.up, a.example, inner")], ("a.example", None)),
    ],
)
def test_the_site_that_a_client_has_connected_to(
    headers: list[tuple[str, str]], expected: tuple[str | None, bool | None]
) -> None:
    assert site_of("10.0.0.1", headers, PROXIES) == Site(*expected)
    assert site_of("203.0.113.9", headers, PROXIES) == Site()
    assert site_of("10.0.0.1", headers, []) == Site()


def test_headers_that_contradict_each_other_are_no_answer() -> None:
    with pytest.raises(ContradictionError):
        client_of(PROXY, [*x("203.0.113.5"), *f("for=203.0.113.6")], PROXIES)


@pytest.mark.parametrize("remote", [("203.0.113.9", 4), ("192.0.2.8", 4), ("::1", 4)])
def test_nobody_else_is_believed(remote: tuple[str, int]) -> None:
    assert client_of(remote, [*x("1.1.1.1"), *f("for=1.1.1.2")], PROXIES) == remote
    assert client_of(remote, x("1.1.1.1"), []) == remote


def test_unix_sockets_are_trusted_by_their_word_alone() -> None:
    assert client_of(("unix", 0), x("1.1.1.1"), PROXIES) == ("1.1.1.1", 0)
    assert client_of(("unix", 0), x("1.1.1.1"), PROXIES[:3]) == ("unix", 0)


@given(st.text(max_size=60), addresses, st.booleans())
def test_whatever_a_client_writes_the_address_that_the_proxy_adds_is_its_own(
    forged: str, address: str, is_standard: bool
) -> None:
    quoted = f'"[{address}]"' if ":" in address else address
    headers = f(f"{forged}, for={quoted}") if is_standard else x(f"{forged}, {address}")
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    if not any(not isinstance(proxy, str) and (mapped or parsed) in proxy for proxy in PROXIES):
        assert client_of(PROXY, headers, PROXIES) == (str(mapped or parsed), 0)


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_headers_get_an_answer(one: str, other: str) -> None:
    for headers in (x(one), f(other), h(host=one, proto=other)):
        site_of("10.0.0.1", [*headers, *f(other)], PROXIES)
        host, port = client_of(PROXY, headers, PROXIES)
        assert ipaddress.ip_address(host)
        assert 0 <= port <= 65535


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.0/33", "10.0.0.1/8", "10.0.0", "unix:"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match="expected an address"):
        parse_proxy(text)


def test_an_ipv6_network_counts_as_one_address() -> None:
    assert group_of("2001:db8::1") == group_of("2001:db8::ffff:1") != group_of("2001:db8:0:1::1")
    assert group_of("1.2.3.4") == group_of("::ffff:1.2.3.4") != group_of("1.2.3.5")
    assert group_of("unix") == "unix"
