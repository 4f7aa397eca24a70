"""WebSocket frames as a server writes them (RFC 6455, section 5.2). No I/O."""

from __future__ import annotations

import struct
from collections.abc import Iterable

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

GOING_AWAY = 1001
NO_CODE = 1005
ABNORMAL = 1006
POLICY_VIOLATION = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013

TOKEN_EXPIRED = 4401
"""Ours, after HTTP's 401 (RFC 6455, section 7.4.2, leaves 4000 to 4999 to applications)."""

_FINAL = 0x80
_OPCODE = 0x0F
_LARGEST_SHORT = 125
_LARGEST_MEDIUM = 0xFFFF


def encode_frame(opcode: int, payload: bytes) -> bytes:
    """One whole, unmasked WebSocket frame with this payload."""
    size = len(payload)
    if size <= _LARGEST_SHORT:
        return bytes((_FINAL | opcode, size)) + payload
    if size <= _LARGEST_MEDIUM:
        return struct.pack("!BBH", _FINAL | opcode, 126, size) + payload
    return struct.pack("!BBQ", _FINAL | opcode, 127, size) + payload


_TEXT_HEADS = [bytes((_FINAL | TEXT, size)) for size in range(_LARGEST_SHORT + 1)]


def encode_message(data: str | bytes) -> bytes:
    """A message in one frame: str as text, bytes as binary."""
    if not isinstance(data, str):
        return encode_frame(BINARY, data)
    payload = data.encode()
    return _TEXT_HEADS[len(payload)] + payload if len(payload) <= _LARGEST_SHORT else encode_frame(TEXT, payload)


def encode_messages(messages: Iterable[str | bytes]) -> list[bytes]:
    """Messages in one frame each, as `encode_message` makes them: a call for each would take a fifth longer."""
    frames: list[bytes] = []
    append = frames.append
    for data in messages:
        if isinstance(data, str):
            payload = data.encode()
            size = len(payload)
            append(_TEXT_HEADS[size] + payload if size <= _LARGEST_SHORT else encode_frame(TEXT, payload))
        else:
            append(encode_frame(BINARY, data))
    return frames


def encode_close(code: int, reason: str = "") -> bytes:
    """A Close frame; a reason that is too long for it is cut at a character."""
    return encode_frame(CLOSE, struct.pack("!H", code) + reason.encode()[:123].decode(errors="ignore").encode())


def close_of(frame: bytes) -> tuple[int, str]:
    """The code and the reason of a whole, unmasked Close frame; 1005 where it has none (section 7.1.5)."""
    payload = frame[2:]
    if len(payload) < 2:
        return NO_CODE, ""
    return int.from_bytes(payload[:2], "big"), payload[2:].decode(errors="replace")


PING_FRAME = encode_frame(PING, b"")


def end_of_frame(block: bytes, start: int) -> int:
    """Where the whole frame of ours that begins at `start` ends."""
    size = block[start + 1]
    if size <= _LARGEST_SHORT:
        return start + 2 + size
    if size == 126:
        return start + 4 + int.from_bytes(block[start + 2 : start + 4], "big")
    return start + 10 + int.from_bytes(block[start + 2 : start + 10], "big")


def count_frames(block: bytes) -> int:
    """How many frames of ours a block of whole ones holds."""
    count = position = 0
    while position < len(block):
        position = end_of_frame(block, position)
        count += 1
    return count


def opcode_of(frame: bytes) -> int:
    """The opcode of a whole WebSocket frame."""
    return frame[0] & _OPCODE
