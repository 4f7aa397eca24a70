"""The PROXY protocol's headers: exactly as many bytes as they have, and whose address they tell."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.admission.proxy_protocol import ProxyHeaderError, missing, source_of

LIMIT = 1024
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def binary(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def inet(source: str, port: int, more: bytes = b"") -> bytes:
    packed = ipaddress.ip_address(source).packed
    family = 0x11 if len(packed) == 4 else 0x21
    return binary(0x21, family, packed + bytes(len(packed)) + struct.pack("!HH", port, 443) + more)


TLVS = b"\x04\x00\x03abc" + b"\x20\x00\x05\x01\x00\x00\x00\x00"
UNIX = binary(0x21, 0x31, b"/run/x".ljust(108, b"\0") + bytes(108))

LONGEST = b"PROXY TCP6 %b %b 65535 65535\r\n" % (b":".join([b"ffff"] * 8), b":".join([b"ffff"] * 8))

GOOD = [
    (b"PROXY TCP4 203.0.113.5 10.0.0.1 56324 443\r\n", ("203.0.113.5", 56324)),
    (b"PROXY TCP6 2001:db8::5 ::1 1 65535\r\n", ("2001:db8::5", 1)),
    (b"PROXY TCP6 ::ffff:203.0.113.5 ::ffff:10.0.0.1 56324 443\r\n", ("203.0.113.5", 56324)),
    (LONGEST, ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (inet("203.0.113.5", 56324), ("203.0.113.5", 56324)),
    (inet("203.0.113.5", 56324, TLVS), ("203.0.113.5", 56324)),
    (inet("2001:db8::5", 7), ("2001:db8::5", 7)),
    (inet("::ffff:203.0.113.5", 7), ("203.0.113.5", 7)),
    (binary(0x20, 0x00, b""), None),
    (binary(0x20, 0x11, bytes(12)), None),
    (binary(0x21, 0x00, TLVS), None),
    (UNIX, None),
]  # fmt: skip


def read(stream: bytes, limit: int = LIMIT) -> bytes:
    """Read a header from the beginning of a stream, as the front does."""
    header = b""
    while count := missing(header, limit):
        assert len(stream) >= len(header) + count, "it reads on behind the header's end"
        header += stream[len(header) : len(header) + count]
    return header


@pytest.mark.parametrize(("header", "source"), GOOD)
def test_a_header_is_read_to_its_end_and_not_beyond(header: bytes, source: tuple[str, int] | None) -> None:
    assert read(header) == read(header + b"GET / HTTP/1.1\r\n") == header
    assert source_of(header) == source


@pytest.mark.parametrize(("header", "source"), GOOD)
@given(data=st.data())
def test_in_pieces(header: bytes, source: tuple[str, int] | None, data: st.DataObject) -> None:
    """A part of a header always wants more of it."""
    cut = data.draw(st.integers(0, len(header) - 1))
    assert 0 < missing(header[:cut], LIMIT) <= len(header) - cut


@pytest.mark.parametrize(
    ("stream", "problem"),
    [
        (b"GET / HTTP/1.1\r\n", "does not begin with one"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20), "does not begin with one"),
        (b"PROXY TCP4 " + b"1" * 200, "longer than 107 bytes"),
        (b"PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n", "the line is malformed"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", "the line is malformed"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n", "the line is malformed"),
        (b"PROXY TCP4 1.1.1.1\n1.1.1.1 1 1\r\n", "the line is malformed"),
        (b"PROXY UNKNOWNX\r\n", "the line is malformed"),
        (b"PROXY TCP4 ::1 ::1 1 1\r\n", "malformed"),
        (b"PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n", "malformed"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n", "malformed"),
        (b"PROXY TCP4 1.1.1.999 1.1.1.1 1 1\r\n", "malformed"),
        (SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12), "version and command are 0x11"),
        (binary(0x22, 0x11, bytes(12)), "version and command are 0x22"),
        (binary(0x21, 0x41, bytes(300)), "family is unknown"),
        (binary(0x21, 0x13, bytes(12)), "family is unknown"),
        (binary(0x21, 0x11, bytes(11)), "cut off"),
        (binary(0x21, 0x21, bytes(35)), "cut off"),
        (binary(0x21, 0x31, bytes(215)), "cut off"),
        (binary(0x21, 0x11, bytes(LIMIT)), "more than 1024"),
    ],
)
def test_what_is_no_header(stream: bytes, problem: str) -> None:
    with pytest.raises(ProxyHeaderError, match=problem):
        source_of(read(stream))


@given(st.sampled_from([header for header, _ in GOOD]), st.data())
def test_any_bytes_are_a_header_or_none(header: bytes, data: st.DataObject) -> None:
    """Nothing else is raised, and no more is read than the limit and what its last step wants."""
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(header) - 1))
        header = header[:place] + data.draw(st.binary(max_size=2)) + header[place + 1 :]
    stream = header.ljust(LIMIT + 16, b"x")
    try:
        source = source_of(read(stream))
    except ProxyHeaderError:
        return
    if source is not None:
        assert ipaddress.ip_address(source[0])
        assert 0 <= source[1] <= 65535
