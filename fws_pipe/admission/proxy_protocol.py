"""Parses the PROXY protocol's header, by which a TCP proxy tells its client's address before all other bytes. No I/O.

HAProxy's protocol has version 1 (a line of text) and version 2 (binary), see
https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt. The client's own bytes follow, which may be TLS: so not one
byte after the header may be read.
"""

from __future__ import annotations

import ipaddress
import re

from fws_pipe.admission.proxies import parse_address

_BEGIN_1 = b"PROXY "
_BEGIN_2 = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED_2 = 16
"""Signature, command, family, and length; the length is the last two bytes."""
_SHORTEST_1 = len(b"PROXY UNKNOWN\r\n")
_LONGEST_1 = 107

_LINE_1 = re.compile(
    rb"PROXY (?:UNKNOWN(?: [ -~]*)?|TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (\d{1,5}) (\d{1,5}))\r\n"
)

_LOCAL, _PROXY = 0x20, 0x21
_TRANSPORTS = (0, 1, 2)
_INET, _INET6 = 1, 2
_SIZES = {0: 0, _INET: 12, _INET6: 36, 3: 216}
"""The size of both addresses and ports in bytes, by family: unspecified, IPv4, IPv6, Unix. TLVs may follow them."""


class ProxyHeaderError(Exception):
    """A trusted proxy has sent no valid header of the PROXY protocol; the text says what is wrong with it."""


def missing(header: bytes, limit: int) -> int:
    """How many bytes at least are still missing; 0: the header is whole. Raises ProxyHeaderError.

    `limit` is the largest header in bytes.
    """
    if _BEGIN_2.startswith(header[: len(_BEGIN_2)]):
        return _missing_2(header, limit)
    if _BEGIN_1.startswith(header[: len(_BEGIN_1)]):
        return _missing_1(header)
    raise ProxyHeaderError("it does not begin with one")


def _missing_1(header: bytes) -> int:
    if header.endswith(b"\r\n"):
        return 0
    if len(header) >= _LONGEST_1:
        raise ProxyHeaderError(f"the line is longer than {_LONGEST_1} bytes")
    return max(_SHORTEST_1 - len(header), 1 if header.endswith(b"\r") else 2)


def _missing_2(header: bytes, limit: int) -> int:
    if len(header) < _FIXED_2:
        # The shortest header of version 1 is a byte shorter than this: the first read must not go beyond it.
        return (_FIXED_2 if header else _SHORTEST_1) - len(header)
    size = _FIXED_2 + int.from_bytes(header[14:16], "big")
    if size > limit:
        raise ProxyHeaderError(f"it has {size} bytes, more than {limit} (--max-header)")
    return size - len(header)


def source_of(header: bytes) -> tuple[str, int] | None:
    """The client's (host, port) in a whole header; None where the header has none. Raises ProxyHeaderError.

    It has none for the proxy's own connections (LOCAL), unknown ones, and those through Unix sockets.
    """
    return _source_2(header) if header.startswith(_BEGIN_2) else _source_1(header)


def _source_1(header: bytes) -> tuple[str, int] | None:
    found = _LINE_1.fullmatch(header)
    if found is None:
        raise ProxyHeaderError("the line is malformed")
    if found[1] is None:
        return None
    version, ports = int(found[1]), (int(found[4]), int(found[5]))
    try:
        source, _ = (ipaddress.ip_address(found[number].decode()) for number in (2, 3))
    except ValueError:
        raise ProxyHeaderError("an address in it is malformed") from None
    if source.version != version or max(ports) > 65535:
        raise ProxyHeaderError("an address or a port in it is malformed")
    return _host_of(source), ports[0]


def _source_2(header: bytes) -> tuple[str, int] | None:
    command, (family, transport) = header[12], divmod(header[13], 16)
    if command == _LOCAL:
        return None
    if command != _PROXY:
        raise ProxyHeaderError(f"its version and command are 0x{command:02x}, expected 0x20 or 0x21")
    if family not in _SIZES or transport not in _TRANSPORTS or len(header) < _FIXED_2 + _SIZES[family]:
        raise ProxyHeaderError("its family is unknown, or its addresses are cut off")
    if family not in (_INET, _INET6):
        return None
    address = header[16:20] if family == _INET else header[16:32]
    port = header[24:26] if family == _INET else header[48:50]
    return _host_of(ipaddress.ip_address(address)), int.from_bytes(port, "big")


def _host_of(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return str(parse_address(str(address)))
