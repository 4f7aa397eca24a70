"""The short way to read a request's head, and h11's: the same, wherever the short one reads anything."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fws_pipe.http.head import MalformedHeadError, RequestHead, parse_any, parse_common, parse_head

LINE = b"GET /chat?a=1 HTTP/1.1"
COMMON = (
    b"Host: localhost:9000",
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101",
    b"Accept: */*",
    b"Sec-WebSocket-Version: 13",
    b"Origin: https://example.com",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Connection: keep-alive, Upgrade",
    b"Cookie: a=b; c=d",
    b"Upgrade: websocket",
)

edits = st.sampled_from(
    (b"", b" ", b"  ", b"\t", b"\r", b"\n", b"\r\n", b"\r\n ", b":", b",", b"a", b"\0", b"\x7f", b"\xe9", b"HTTP/1.0")
)
more_lines = st.sampled_from(
    (
        b"Host: b",
        b"cookie: c",
        b"Content-Length: 5",
        b"Content-Length: x",
        b"Transfer-Encoding: chunked",
        b"Empty:",
        b"",
    )
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Heads in the common form, and such with some bytes changed, taken out or put in."""
    chosen = draw(st.lists(st.sampled_from(COMMON[1:]), unique=True, max_size=6))
    chosen += draw(st.lists(more_lines, max_size=1))
    head = whole(*draw(st.permutations([*COMMON[:1], *chosen])))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(head)))
        # Most of what can be wrong is wrong at the ends of a line, of a name, of a value.
        start = max(draw(st.sampled_from((start, head.find(b"\r\n", start), head.find(b":", start)))), 0)
        head = head[:start] + draw(edits) + head[start + draw(st.integers(0, 2)) :]
    return head


@given(heads())
@example(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a \r\n\r\n")
@example(b"GET / HTTP/1.1\r\nx: a\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nx: y\r\n\r\n")
def test_what_the_short_way_reads_h11_reads_in_the_same_way(head: bytes) -> None:
    common = parse_common(head)
    if common is not None:
        assert common == parse_any(head)
        assert common == parse_head(head)


def whole(*headers: bytes) -> bytes:
    return b"\r\n".join((LINE, *headers)) + b"\r\n\r\n"


def test_what_browsers_send_takes_the_short_way() -> None:
    head = parse_common(whole(*COMMON))
    assert head is not None
    assert head[:3] == ("GET", "/chat?a=1", "1.1")
    assert head.headers[0] == ("host", "localhost:9000")
    assert head.headers[-1] == ("upgrade", "websocket")


@pytest.mark.parametrize("changed", [b"X: \xe9", b"X-Empty:", b"Accept: twice", b"X:\tb", b"Content-Length: 0"])
def test_what_h11_alone_reads(changed: bytes) -> None:
    head = whole(*COMMON, changed)
    assert parse_common(head) is None
    assert parse_head(head) == parse_any(head)
    assert isinstance(parse_head(head), RequestHead)


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        (b"", "its first line is not one such as GET /chat HTTP/1.1"),
        (b"GET /?token=s3cret\r\nHost: a\r\n\r\n", "its first line is not one such as GET /chat HTTP/1.1"),
        (b"GET /a s3cret HTTP/1.1\r\n\r\n", "its first line is not one such as GET /chat HTTP/1.1"),
        (b"GET /\xc3s3cret HTTP/1.1\r\nHost: a\r\n\r\n", "the target has a character that must be written as %XX"),
        (b"\x16\x03\x01\x02\x00s3cret", "it looks like TLS, which this port does not speak"),
        (whole(), "the header Host is missing"),
        (whole(b"Host: a", b"Host: s3cret"), "the header Host is there more than once"),
        (whole(b"Host: a", b"s3cret"), "header line 2 has no colon"),
        (whole(b"Host : s3cret"), "header line 1 has white space before its colon"),
        (whole(b": s3cret"), "header line 1 has no name"),
        (whole(b"s3\xe9cret: a"), "header line 1 has a name with a character that no name may have"),
        (whole(b" Host: s3cret"), "its first header line begins with white space"),
        (whole(b"Host: a", b"Cookie: s3cret\0"), "the header Cookie has a control character"),
        (whole(b"Host: a", b"X" * 41 + b": s3cret\0"), "header line 2 has a control character"),
        (whole(b"Host: a", b"Content-Length: s3cret"), "the header Content-Length must be one number"),
        (whole(b"Host: a", b"Content-Length: 1", b"content-length: 2"), "the header Content-Length must be one number"),
        (whole(b"Host: a", b"Transfer-Encoding: s3cret"), "the header Transfer-Encoding may only be chunked"),
    ],
)
def test_what_is_no_request(head: bytes, fault: str) -> None:
    with pytest.raises(MalformedHeadError) as caught:
        parse_head(head)
    assert str(caught.value) == fault


@given(heads() | st.binary(max_size=60).map(lambda data: whole(b"Host: a", data)))
def test_what_is_told_of_no_request_is_a_short_clause(head: bytes) -> None:
    try:
        parse_any(head)
    except MalformedHeadError as error:
        fault = str(error)
        assert fault.isascii()
        assert fault.isprintable()
        assert len(fault) < 100
        assert "bytearray" not in fault
        assert fault != "its headers are malformed"
