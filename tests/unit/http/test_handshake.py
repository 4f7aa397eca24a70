"""Which requests are upgraded, and what the others are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.http.handshake import PlainRequest, Upgrade, answer_to, too_large, wrong_origin
from fws_pipe.http.responses import Refusal

GOOD = {
    "Host": "localhost:9000",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def request(line: str = "GET /chat?a=1 HTTP/1.1", **changes: str | None) -> bytes:
    headers = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def test_a_good_request() -> None:
    found = answer_to(request(Origin="http://x"))
    assert isinstance(found, Upgrade)
    assert (found.path, found.query) == ("/chat", "a=1")
    assert ("origin", "http://x") in found.headers


@pytest.mark.parametrize(
    ("head", "status", "text"),
    [
        (request("GET / HTTP/1.0"), 400, "it must be HTTP/1.1"),
        (request("POST / HTTP/1.1"), 400, "the method must be GET"),
        (request(Sec_WebSocket_Key=None), 400, "the header Sec-WebSocket-Key is missing"),
        (request(Sec_WebSocket_Key="abc"), 400, "base64 form of 16 bytes"),
        (request(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ"), 400, "base64 form of 16 bytes"),
        (request(Sec_WebSocket_Version=None), 400, "Sec-WebSocket-Version is missing"),
        (request(Sec_WebSocket_Version="8"), 426, "version 13"),
        (request(Connection="close"), 400, "Connection: Upgrade is missing"),
        (request(Upgrade=None), 400, "Upgrade: websocket is missing"),
        (request(Host=None), 400, "not a valid HTTP request: the header Host is missing."),
        (request(Host=""), 400, "Host is missing or empty"),
        (request(Host="xn--\xe9"), 400, "the header Host is not a host"),
        (request(Host="foo/bar"), 400, "the header Host is not a host"),
        (request(Host="user@foo"), 400, "the header Host is not a host"),
        (request(Host="a:b:c"), 400, "the header Host is not a host"),
        (request(Host="a:65536"), 400, "the header Host is not a host"),
        (request(Host="a:" + "9" * 5000), 400, "the header Host is not a host"),
        (request(Host=":80"), 400, "the header Host is not a host"),
        (request(Host="a, b"), 400, "the header Host is not a host"),
        (request(Host="::1"), 400, "the header Host is not a host"),
        (request(Host="[::1"), 400, "the header Host is not a host"),
        (request(Host="[1.2.3.4]"), 400, "the header Host is not a host"),
        (request(Host="[::1%eth0]"), 400, "the header Host is not a host"),
        (request(Host="%zz"), 400, "the header Host is not a host"),
        (request("GET ?a=1 HTTP/1.1"), 400, "the target must be a path"),
        (request("GET * HTTP/1.1"), 400, "the target must be a path"),
        (request("GET localhost:80 HTTP/1.1"), 400, "the target must be a path"),
        (request("GET ftp://localhost/ HTTP/1.1"), 400, "the target must be a path"),
        (request("GET ws:///foo HTTP/1.1"), 400, "the target must be a path"),
        (request("GET ws://me@localhost/ HTTP/1.1"), 400, "the target must be a path"),
        (request("GET /\xe9 HTTP/1.1"), 400, "the target has a character that must be written as %XX"),
        (request(Content_Length="2"), 400, "Content-Length tells of a body"),
        (request(Transfer_Encoding="chunked"), 400, "Transfer-Encoding tells of a body"),
        (request(Sec_WebSocket_Extensions="\xe9"), 400, "the header Sec-WebSocket-Extensions has a character"),
        (request(Sec_WebSocket_Protocol="\xe9"), 400, "Sec-WebSocket-Protocol must be a list of names"),
        (request(Sec_WebSocket_Protocol="a, b c"), 400, "Sec-WebSocket-Protocol must be a list of names"),
        (request("nonsense"), 400, "its first line is not one such as GET /chat HTTP/1.1"),
        (b"\x16\x03\x01\r\n\r\n", 400, "it looks like TLS, which this port does not speak"),
        (b"\r\n\r\n", 400, "its first line is not one such as GET /chat HTTP/1.1"),
    ],
)
def test_refused(head: bytes, status: int, text: str) -> None:
    found = answer_to(head)
    assert isinstance(found, Refusal)
    assert found.status == status
    assert text in found.text
    answer = found.encode()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    body = answer.split(b"\r\n\r\n", 1)[1]
    assert b"Content-Length: %d\r\n" % len(body) in answer


def test_an_answer_quotes_no_byte_of_a_client_as_it_came() -> None:
    refusal = wrong_origin(["https://\x1b[31m\xe9" + "x" * 9000])
    assert "https://\\x1b[31m\\xe9xxx" in refusal.text
    assert len(refusal.text) < 400


def test_what_asks_for_no_websocket_is_a_plain_request() -> None:
    found = answer_to(b"POST /a%20b?c=%20d HTTP/1.1\r\nHost: x\r\nAccept: a/b\r\nAccept: c/d\r\n\r\n")
    assert isinstance(found, PlainRequest)
    assert (found.method, found.path, found.query) == ("POST", "/a%20b", "c=%20d")
    assert found.fields == {"host": "x", "accept": "a/b, c/d"}
    assert not found.is_read
    star = answer_to(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    assert isinstance(star, PlainRequest)
    assert star.path == ""


SAME_AGAIN = b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"


@pytest.mark.parametrize("again", [SAME_AGAIN, SAME_AGAIN.replace(b"dGhl", b"AAAA")])
def test_a_key_may_be_there_once(again: bytes) -> None:
    """RFC 6455, section 11.3.1. Which of two counted was up to who read them: a proxy may have read the other."""
    found = answer_to(request().removesuffix(b"\r\n\r\n") + again)
    assert isinstance(found, Refusal)
    assert (found.status, "the header Sec-WebSocket-Key is there more than once" in found.text) == (400, True)


@pytest.mark.parametrize(
    "lines",
    [
        ["Connection: Upgrade", "Connection: keep-alive"],
        ["Connection: keep-alive", "Connection: Upgrade"],
        ["connection: close,,\tUPGRADE , x"],
        ["Connection: Upgrade", "Upgrade: websocket, foo"],
        ["Connection: Upgrade", "Upgrade: foo", "Upgrade: WebSocket"],
        ["Connection: Upgrade", "Content-Length: 0"],
        ["Connection: Upgrade", "Content-Length: 00, 00"],
    ],
)
def test_lists_in_one_line_or_several(lines: list[str]) -> None:
    """RFC 9110, section 5.3: a list may be cut into several lines, in any order."""
    upgrade = None if any(line.startswith("Upgrade") for line in lines) else GOOD["Upgrade"]
    head = request(Connection=None, Upgrade=upgrade).removesuffix(b"\r\n")
    assert isinstance(answer_to(head + "\r\n".join([*lines, "", ""]).encode()), Upgrade)


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:9000", "localhost:", "a_b.example", "xn--strae-oqa.de", "xn--zzzzzzzz99999999",
        "1.2.3.4:00080", "[::1]", "[::1]:80", "[::ffff:1.2.3.4]", "[v1.fe:80]", "a%41b", "example.com.",
    ],
)  # fmt: skip
def test_hosts(host: str) -> None:
    found = answer_to(request(Host=host))
    assert isinstance(found, Upgrade)
    assert found.host == host


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/", ("/", "", "localhost:9000")),
        ("//a/b?", ("//a/b", "", "localhost:9000")),
        ("/a?b?c", ("/a", "b?c", "localhost:9000")),
        ("ws://other:80/foo?a=1", ("/foo", "a=1", "other:80")),
        ("HTTPS://[::1]", ("/", "", "[::1]")),
        ("wss://other?a=1", ("/", "a=1", "other")),
    ],
)
def test_targets(target: str, expected: tuple[str, str, str]) -> None:
    """A server takes the absolute form as well, and then its host, not that of Host (RFC 9112, section 3.2.2)."""
    found = answer_to(request(f"GET {target} HTTP/1.1"))
    assert isinstance(found, Upgrade)
    assert (found.path, found.query, found.host) == expected


def test_the_answer_to_head_has_no_body() -> None:
    for head in (request("HEAD / HTTP/1.1"), b"HEAD nonsense\r\n\r\n"):
        found = answer_to(head)
        assert isinstance(found, Refusal)
        answer = found.encode()
        assert answer.endswith(b"\r\n\r\n")
        assert b"Content-Length: 0" not in answer
    assert too_large(b"HEAD / HTTP/1.1\r\nX: y", 256).encode().endswith(b"\r\n\r\n")


@pytest.mark.parametrize("refusal", [answer_to(request(Sec_WebSocket_Version="8")), Refusal(426, "by the chain")])
def test_426_says_what_to_upgrade_to(refusal: Refusal) -> None:
    """RFC 9110, sections 7.8 and 15.5.22."""
    answer = refusal.encode()
    assert b"\r\nUpgrade: websocket\r\n" in answer
    assert b"\r\nConnection: Upgrade, close\r\n" in answer


def test_a_refused_version_names_the_right_one() -> None:
    found = answer_to(request(Sec_WebSocket_Version="8"))
    assert isinstance(found, Refusal)
    assert b"Sec-WebSocket-Version: 13\r\n" in found.encode()


@given(st.binary(max_size=300))
def test_any_bytes_get_a_verdict(head: bytes) -> None:
    """No request raises anything."""
    assert isinstance(answer_to(head + b"\r\n\r\n"), (Refusal, Upgrade))


@given(st.sampled_from(sorted(GOOD)), st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30))
def test_any_header_value_gets_a_verdict(name: str, value: str) -> None:
    assert isinstance(answer_to(request(**{name: value})), (Refusal, Upgrade))
