"""The fast path: whole WebSocket frames in a block of bytes, told apart, and plain messages made into events. No I/O.

What clients mostly send are whole, unfragmented, masked text and binary frames (RFC 6455, section 5.2), many a block.
`take_messages` turns such a run into event frames in one pass: an event is written as its constant parts with the
payload in between, so nothing is decoded only to be encoded again. It stops at the first frame that is anything
else, and `head_at` says what that is. Nothing is guessed: whatever isn't plainly valid is for trio-websocket.
"""

from __future__ import annotations

import enum
import importlib
import struct
from collections.abc import Callable
from typing import NamedTuple

from fws_pipe.protocol.codec import pack
from fws_pipe.protocol.events import MESSAGE, TICK
from fws_pipe.websocket.rfc6455 import BINARY, CLOSE, CONTINUATION, NO_CODE, PING, PONG, TEXT

Mask = Callable[[bytes, bytes], bytes]


def mask_in_python(data: bytes, key: bytes) -> bytes:
    """Mask or unmask (RFC 6455, section 5.3): XOR with the key's four bytes, over and over, as one large number."""
    size = len(data)
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")


def _load_mask() -> Mask:
    """The C function of websockets: ten times as fast for 64 KiB, and more than twice for 32 bytes."""
    try:
        function: Mask = importlib.import_module("websockets.speedups").apply_mask
    except ImportError:  # not installed, or without its C part
        return mask_in_python
    return function


mask = _load_mask()

_FINAL = 0x80
_RESERVED = 0x70
_OPCODE = 0x0F
_FINAL_TEXT = _FINAL | TEXT
_FINAL_BINARY = _FINAL | BINARY
_PING = _FINAL | PING
_PONG = _FINAL | PONG
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013})
_MASKED = 0x80
_LENGTH_16 = 0x80 | 126
_LARGEST_CONTROL = 125
_SHORT_HEADER = 6
"""Two bytes and the mask; a longer length has two or eight bytes more."""

_BEFORE_SEQ = b"\x85" + pack("type") + pack(MESSAGE) + pack("seq")
_BEFORE_TIME = pack("time") + b"\xcb"
_TICK_BEFORE_SEQ = b"\x83" + pack("type") + pack(TICK) + pack("seq")
_SEQ_32 = b"\xce"
_SEQ_64 = b"\xcf"
_LARGEST_32 = 0xFFFFFFFF
_pack_32 = struct.Struct("!I").pack
_pack_64 = struct.Struct("!Q").pack
_pack_16 = struct.Struct("!H").pack
_pack_double = struct.Struct("!d").pack
_unpack_16 = struct.Struct("!H").unpack_from
_unpack_64 = struct.Struct("!Q").unpack_from

# How msgpack writes the length of a str and of bin, for payloads of less than 256 bytes: most of them.
_STR_HEADS = [bytes((0xA0 | size,)) if size < 32 else bytes((0xD9, size)) for size in range(256)]
_BIN_HEADS = [bytes((0xC4, size)) for size in range(256)]


class Run(NamedTuple):
    """Messages that were taken: their events, where the next frame begins, and the number of the last event."""

    events: list[bytes]
    position: int
    seq: int


def event_tail(client_id: str) -> bytes:
    """The part of a client's events that never changes: from its id to the payload."""
    return pack("id") + pack(client_id) + pack("data")


def event_time(time: float) -> bytes:
    """The part of an event that tells its time, which stands between `seq` and its client's part; in seconds."""
    return _BEFORE_TIME + _pack_double(time)


def tick_frame(seq: int, time: bytes) -> bytes:
    """A whole tick; `time` is made by `event_time`."""
    return _TICK_BEFORE_SEQ + pack(seq) + time


def take_messages(block: bytes, position: int, limit: int, budget: int, count: int, middle: bytes, seq: int) -> Run:
    """Make `message` events of the whole data frames at `position`; `seq` is the number of the event before them.

    `middle` is what stands between `seq` and the payload: `event_time` and `event_tail`.

    `limit` is the largest payload, in bytes, `budget` what all of them may have together, `count` how many they may be.
    Stops at the first frame that is not whole, not plain, not valid or over the budget.
    """
    events: list[bytes] = []
    append = events.append
    size = len(block)
    pack_seq = _pack_32 if seq + size <= _LARGEST_32 else _pack_64
    before = _BEFORE_SEQ + (_SEQ_32 if pack_seq is _pack_32 else _SEQ_64)
    for _ in range(count):
        if position + _SHORT_HEADER > size:
            break
        first = block[position]
        if first != _FINAL_TEXT and first != _FINAL_BINARY:
            break
        length = block[position + 1] - _MASKED
        start = position + _SHORT_HEADER
        if length > _LARGEST_CONTROL:
            if length == _LENGTH_16 - _MASKED:
                (length,) = _unpack_16(block, position + 2)
                start += 2
                if length <= _LARGEST_CONTROL:
                    break
            elif start + 8 <= size:
                (length,) = _unpack_64(block, position + 2)
                start += 8
                if length <= 0xFFFF:
                    break
            else:
                break
        end = start + length
        if length < 0 or end > size or length > limit or length > budget:
            break
        budget -= length
        payload = mask(block[start:end], block[start - 4 : start])
        if first == _FINAL_TEXT:
            if not payload.isascii() and not is_utf8(payload):
                break
            head = _STR_HEADS[length] if length < 256 else _long_head(length, b"\xda", b"\xdb")
        else:
            head = _BIN_HEADS[length] if length < 256 else _long_head(length, b"\xc5", b"\xc6")
        seq += 1
        append(b"".join((before, pack_seq(seq), middle, head, payload)))
        position = end
    return Run(events, position, seq)


def _long_head(length: int, code_16: bytes, code_32: bytes) -> bytes:
    return code_16 + _pack_16(length) if length <= 0xFFFF else code_32 + _pack_32(length)


def is_utf8(data: bytes) -> bool:
    """Whether these bytes are UTF-8 (RFC 3629)."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


PONGS_AT_ONCE = 16
"""How many pings that come together are answered each, as clients expect; of more the last one (RFC 6455, 5.5.3)."""


class Controls(NamedTuple):
    """Pings and pongs that were skipped: where the next frame begins, how many pings, and the payloads to answer."""

    position: int
    pings: int
    payloads: list[bytes]


def skip_controls(block: bytes, position: int, count: int) -> Controls:
    """Skip the whole pings and pongs at `position`, `count` at most (RFC 6455, sections 5.5.2 and 5.5.3)."""
    pings: list[int] = []
    size = len(block)
    for _ in range(count):
        if position + _SHORT_HEADER > size:
            break
        first = block[position]
        length = block[position + 1] - _MASKED
        if (first != _PING and first != _PONG) or not 0 <= length <= _LARGEST_CONTROL:
            break
        end = position + _SHORT_HEADER + length
        if end > size:
            break
        if first == _PING:
            pings.append(position)
        position = end
    answered = pings if len(pings) <= PONGS_AT_ONCE else pings[-1:]
    return Controls(position, len(pings), [_short_payload(block, start) for start in answered])


def _short_payload(block: bytes, position: int) -> bytes:
    """The unmasked payload of a whole frame of 125 bytes at most."""
    start = position + _SHORT_HEADER
    return mask(block[start : start + block[position + 1] - _MASKED], block[start - 4 : start])


def close_from(payload: bytes) -> tuple[int, str] | None:
    """The code and the reason of a Close frame's payload, 1005 where it has none; None for one that breaks the rules.

    Or that trio-websocket may see otherwise (RFC 6455, sections 5.5.1 and 7.4).
    """
    if not payload:
        return NO_CODE, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not (code in _CLOSE_CODES or 3000 <= code <= 4999) or not is_utf8(payload[2:]):
        return None
    return code, payload[2:].decode()


class Kind(enum.Enum):
    """What stands at the beginning of a block."""

    NEED_MORE = enum.auto()
    """The beginning of a frame."""
    MESSAGE = enum.auto()
    """A whole message in one frame; its text may be invalid."""
    FRAGMENT = enum.auto()
    """A whole frame of a fragmented message, not its last."""
    LAST_FRAGMENT = enum.auto()
    PING = enum.auto()
    PONG = enum.auto()
    CLOSE = enum.auto()
    BROKEN = enum.auto()
    """No client may send this, and where the next frame begins is unknown."""


class FrameHead(NamedTuple):
    """A frame: what it is, where its payload begins and ends. `end` may be behind the block while more is needed."""

    kind: Kind
    start: int
    end: int

    @property
    def size(self) -> int:
        """The payload's length in bytes."""
        return self.end - self.start


_NEED_MORE = FrameHead(Kind.NEED_MORE, 0, 0)
_BROKEN = FrameHead(Kind.BROKEN, 0, 0)
_CONTROLS = {PING: Kind.PING, PONG: Kind.PONG, CLOSE: Kind.CLOSE}


def head_at(block: bytes, position: int) -> FrameHead:
    """Say what stands at `position`.

    A frame whose header is whole but whose payload is not is NEED_MORE with its size.
    """
    available = len(block) - position
    if available < 2:
        return _NEED_MORE
    first, second = block[position], block[position + 1]
    kind = _kind_of(first)
    length = second & ~_MASKED
    if kind is None or not second & _MASKED or (first & _OPCODE in _CONTROLS and length > _LARGEST_CONTROL):
        return _BROKEN
    start = position + _SHORT_HEADER + {126: 2, 127: 8}.get(length, 0)
    if len(block) < start:
        return _NEED_MORE
    if length == 126:
        (length,) = _unpack_16(block, position + 2)
        if length <= _LARGEST_CONTROL:
            return _BROKEN
    elif length == 127:
        (length,) = _unpack_64(block, position + 2)
        if length <= 0xFFFF or length >> 63:
            return _BROKEN
    return FrameHead(kind if start + length <= len(block) else Kind.NEED_MORE, start, start + length)


def _kind_of(first: int) -> Kind | None:
    opcode = first & _OPCODE
    is_final = bool(first & _FINAL)
    if first & _RESERVED:
        return None
    if opcode in _CONTROLS:
        return _CONTROLS[opcode] if is_final else None
    if opcode == CONTINUATION:
        return Kind.LAST_FRAGMENT if is_final else Kind.FRAGMENT
    if opcode in (TEXT, BINARY):
        return Kind.MESSAGE if is_final else Kind.FRAGMENT
    return None


def payload_of(block: bytes, head: FrameHead) -> bytes:
    """The unmasked payload of a whole frame."""
    return mask(block[head.start : head.end], block[head.start - 4 : head.start])
