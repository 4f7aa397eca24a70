"""What the fuzzer's clients send: valid frames to begin with, then mutated. No I/O; the seed decides everything."""

from __future__ import annotations

import enum
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.e2e.raw import BINARY, CLOSE, PING, TEXT, Reply, frame

PONG = 10
FRAMES_EACH = 100
"""How many frames a connection sends, on average."""

_SIZES = (0, 1, 2, 5, 20, 60, 124, 125, 126, 127, 300, 2_000)
_LARGE = (65_535, 65_536, 70_000)
_LENGTHS = (0, 1, 125, 126, 127, 0xFFFF, 0x10000, 1 << 20, 1 << 30, 1 << 31, 1 << 32, 1 << 62, 1 << 63, (1 << 64) - 1)
_CODES = (0, 1, 999, 1000, 1001, 1004, 1005, 1006, 1007, 1011, 1014, 1015, 1016, 2999, 3000, 4999, 5000, 65535)
_NO_UTF_8 = (
    b"\x80",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xff",
    b"ok\xe2\x82",
    b"\xf8\x88\x80\x80\x80",
)


LAST_WORD = b"that is all"
FAREWELL = frame(struct.pack("!H", 1000), CLOSE)


class Ending(enum.Enum):
    """How the client ends the connection, if it lasts as long as its frames."""

    CLOSE = enum.auto()
    """A Close frame, and the end of its side."""
    END = enum.auto()
    """The end of its side without a word."""
    RESET = enum.auto()
    """A TCP reset."""


@dataclass(frozen=True)
class Stream:
    """What one client sends: the blocks that it writes, how many frames they began as, and what must come back."""

    number: int
    blocks: Sequence[bytes]
    frames: int
    ending: Ending
    expected: Sequence[Reply] | None
    """The echoes of all its messages, for which it waits before it ends; None when something may be wrong with them."""


@dataclass
class _Piece:
    """A frame, and the echo that is due once it has arrived."""

    raw: bytes
    echo: Reply | None = None


def make_stream(seed: int, number: int) -> Stream:
    """The stream of connection `number`."""
    dice = random.Random(f"{seed}/{number}")
    count = dice.randint(1, 2 * FRAMES_EACH - 1)
    pieces: list[_Piece] = []
    while len(pieces) < count:
        pieces += _message(dice)
    raw = [piece.raw for piece in pieces]
    kind = dice.randrange(10)
    expected = None
    ending = dice.choice(list(Ending))
    if kind < 4:
        raw.append(frame(LAST_WORD))
        expected = [*(piece.echo for piece in pieces if piece.echo is not None), Reply(0x80 | TEXT, LAST_WORD)]
    else:
        _spoil(dice, raw, often=kind >= 8)
    return Stream(number, _cut(dice, b"".join(raw)), len(raw), ending, expected)


def _cut(dice: random.Random, stream: bytes) -> list[bytes]:
    places = sorted(dice.randint(0, len(stream)) for _ in range(dice.choice((0, 0, 1, 3, 8))))
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True) if start < end]


# Valid frames.


def _message(dice: random.Random) -> list[_Piece]:
    """A message, perhaps in fragments with control frames in between; or a control frame alone."""
    what = dice.randrange(20)
    if what == 0:
        return [_Piece(_control(dice))]
    if what < 16:
        opcode, payload = _payload(dice)
        return [_Piece(frame(payload, opcode, key=_key(dice)), Reply(0x80 | opcode, payload))]
    opcode, payload = _payload(dice)
    places = sorted(dice.randint(0, len(payload)) for _ in range(dice.randint(1, 4)))
    parts = [payload[start:end] for start, end in zip([0, *places], [*places, len(payload)], strict=True)]
    pieces = []
    for index, part in enumerate(parts):
        is_last = index == len(parts) - 1
        first = (0x80 if is_last else 0) | (0 if index else opcode)
        echo = Reply(0x80 | opcode, payload) if is_last else None
        pieces.append(_Piece(frame(part, first=first, key=_key(dice)), echo))
        if not is_last and dice.randrange(3) == 0:
            pieces.append(_Piece(_control(dice)))
    return pieces


def _payload(dice: random.Random) -> tuple[int, bytes]:
    size = dice.choice(_LARGE) if dice.randrange(1000) == 0 else dice.choice(_SIZES)
    if dice.randrange(2):
        return BINARY, dice.randbytes(size)
    return TEXT, ("é€𝄞 text " * (size // 9)).encode()[:size].decode(errors="ignore").encode()


def _control(dice: random.Random) -> bytes:
    return frame(dice.randbytes(dice.choice((0, 4, 125))), dice.choice((PING, PONG)), key=_key(dice))


def _key(dice: random.Random) -> bytes:
    return dice.randbytes(4)


# Mutations.


def _spoil(dice: random.Random, raw: list[bytes], *, often: bool) -> None:
    """Mutate one of these frames, or each third."""
    places = range(len(raw)) if often else [dice.randrange(len(raw))]
    for place in places:
        if not often or dice.randrange(3) == 0:
            raw[place] = dice.choice(_MUTATIONS)(dice, raw[place])


def _flip_header_bit(dice: random.Random, raw: bytes) -> bytes:
    changed = bytearray(raw)
    changed[dice.randrange(2)] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _flip_any_bits(dice: random.Random, raw: bytes) -> bytes:
    changed = bytearray(raw)
    for _ in range(dice.randint(1, 4)):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _announce_other_length(dice: random.Random, raw: bytes) -> bytes:
    """Any length in any of the three forms: too large, too small, not the shortest form, beyond 63 bits."""
    length = dice.choice(_LENGTHS)
    form = dice.choice((7, 16, 64))
    if form == 7:
        field = bytes([0x80 | length & 0x7F])
    elif form == 16:
        field = b"\xfe" + struct.pack("!H", length & 0xFFFF)
    else:
        field = b"\xff" + struct.pack("!Q", length)
    return raw[:1] + field + raw[2:]


def _cut_off(dice: random.Random, raw: bytes) -> bytes:
    return raw[: dice.randrange(len(raw))]


def _repeat(dice: random.Random, raw: bytes) -> bytes:
    return raw * dice.randint(2, 5)


def _repeat_part(dice: random.Random, raw: bytes) -> bytes:
    start, end = sorted((dice.randrange(len(raw)), dice.randrange(len(raw))))
    return raw[:end] + raw[start:]


def _lose_mask(_dice: random.Random, raw: bytes) -> bytes:
    return raw[:1] + bytes([raw[1] & 0x7F]) + raw[2:]


def _insert_noise(dice: random.Random, raw: bytes) -> bytes:
    place = dice.randrange(len(raw) + 1)
    return raw[:place] + dice.randbytes(dice.choice((1, 2, 14, 100))) + raw[place:]


def _spoil_text(dice: random.Random, _raw: bytes) -> bytes:
    return frame(b"text " + dice.choice(_NO_UTF_8), TEXT, key=_key(dice))


def _spoil_fragments(dice: random.Random, raw: bytes) -> bytes:
    """Continue what has not begun, or begin again inside, or end in the midst of a character."""
    begun = frame(b"\xe2\x82", first=TEXT)
    return dice.choice((begun + raw, frame(b"x", first=0x80) + raw, begun + frame(b"\xac", first=0x80) + raw))


def _spoil_control(dice: random.Random, raw: bytes) -> bytes:
    opcode = dice.choice((PING, PONG, CLOSE))
    fragmented = frame(b"x", first=opcode)
    too_long = frame(bytes(dice.choice((126, 70_000))), opcode)
    return dice.choice((fragmented, too_long)) + raw


def _close_oddly(dice: random.Random, raw: bytes) -> bytes:
    reason = dice.choice((b"", b"bye", *_NO_UTF_8, b"x" * 123))
    payload = dice.choice((b"", b"\x03", struct.pack("!H", dice.choice(_CODES)) + reason))
    return frame(payload[:125], CLOSE, key=_key(dice)) + raw


def _replace(dice: random.Random, _raw: bytes) -> bytes:
    return dice.randbytes(dice.randint(0, 200))


_MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip_header_bit,
    _flip_any_bits,
    _announce_other_length,
    _cut_off,
    _repeat,
    _repeat_part,
    _lose_mask,
    _insert_noise,
    _spoil_text,
    _spoil_fragments,
    _spoil_control,
    _close_oddly,
    _replace,
)
