"""Which requests are upgraded, and what the others are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.front.handshake import Refusal, Upgrade, judge

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
    verdict = judge(request(Origin="http://x"))
    assert isinstance(verdict, Upgrade)
    assert (verdict.path, verdict.query) == ("/chat", "a=1")
    assert ("origin", "http://x") in verdict.headers


@pytest.mark.parametrize(
    ("head", "status", "text"),
    [
        (request("GET / HTTP/1.0"), 400, "it must be HTTP/1.1"),
        (request("POST / HTTP/1.1"), 400, "the method must be GET"),
        (request(Sec_WebSocket_Key=None), 400, "base64 form of 16 bytes"),
        (request(Sec_WebSocket_Key="abc"), 400, "base64 form of 16 bytes"),
        (request(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ"), 400, "base64 form of 16 bytes"),
        (request(Sec_WebSocket_Version=None), 400, "Sec-WebSocket-Version is missing"),
        (request(Sec_WebSocket_Version="8"), 426, "version 13"),
        (request(Connection="close"), 400, "Connection: Upgrade is missing"),
        (request(Upgrade=None), 400, "Upgrade: websocket is missing"),
        (request(Host=None), 400, "not an HTTP request"),
        (request(Host="xn--zzzzzzzz99999999"), 400, "Host is missing or malformed"),
        (request(Host="xn--\xe9"), 400, "must be ASCII"),
        (request(Sec_WebSocket_Protocol="\xe9"), 400, "must be ASCII"),
        (request("nonsense"), 400, "not an HTTP request"),
        (b"\x16\x03\x01\r\n\r\n", 400, "not an HTTP request"),
        (b"\r\n\r\n", 400, "not an HTTP request"),
        (
            request(Upgrade=None, Connection=None, Sec_WebSocket_Key=None, Sec_WebSocket_Version=None),
            426,
            "This is fws-pipe, a WebSocket server",
        ),
    ],
)
def test_refused(head: bytes, status: int, text: str) -> None:
    verdict = judge(head)
    assert isinstance(verdict, Refusal)
    assert verdict.status == status
    assert text in verdict.text
    answer = verdict.encode()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    body = answer.split(b"\r\n\r\n", 1)[1]
    assert b"Content-Length: %d\r\n" % len(body) in answer


def test_a_refused_version_names_the_right_one() -> None:
    verdict = judge(request(Sec_WebSocket_Version="8"))
    assert isinstance(verdict, Refusal)
    assert b"Sec-WebSocket-Version: 13\r\n" in verdict.encode()


@given(st.binary(max_size=300))
def test_any_bytes_get_a_verdict(head: bytes) -> None:
    """No request raises anything."""
    assert isinstance(judge(head + b"\r\n\r\n"), (Refusal, Upgrade))


@given(st.sampled_from(sorted(GOOD)), st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30))
def test_any_header_value_gets_a_verdict(name: str, value: str) -> None:
    assert isinstance(judge(request(**{name: value})), (Refusal, Upgrade))
