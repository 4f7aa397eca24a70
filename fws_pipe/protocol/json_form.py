"""The JSON form of frames: one object a line, so that jq, grep, sed and awk can be filters. No I/O.

A str is a JSON string. A value that JSON can't express becomes a string that begins with the control character DLE,
which JSON always writes as an escape sequence:

    "\\u0010base64:AAEC"       bytes
    "\\u0010msgpack:xwz/..."   any other value: the base64 of its msgpack form (extension types, NaN, what is too deep)

Text never holds DLE: it is written as SUB and d there, and SUB as SUB and s. So text stays text, whatever parts of it a
filter cuts out or joins. `.data` of a message is always a string, and `{type: "send", to: .id, data}` in jq answers
binary with binary. Every frame comes back from `to_json | from_json` unchanged; one that is nested deeper than msgpack
packs is `{"type": ..., "\\u0010frame": base64}`.

Unprintable characters are written as `\\uXXXX`, in keys as well: to programs it is the same JSON, and people can safely
read it in terminals. A byte of a str that isn't UTF-8 is a lone surrogate, `\\udc80` to `\\udcff` (PEP 383).
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import Any

import msgpack

from fws_pipe.errors import FrameError
from fws_pipe.protocol.codec import Frame, FrameDecoder, describe, encode, pack, type_of
from fws_pipe.terminal import escaped

MARK = "\x10"
BASE64 = f"{MARK}base64:"
MSGPACK = f"{MARK}msgpack:"
WHOLE = f"{MARK}frame"
"""The key of a frame that is nested too deep for the plain form: its value is the base64 of the whole frame."""

_ESCAPES = str.maketrans({"\x1a": "\x1as", MARK: "\x1ad"})
_UNESCAPED = {"\x1as": "\x1a", "\x1ad": MARK}
_ESCAPED = re.compile("\x1a[sd]")

_DEPTH_LIMIT = 100
"""Values nested deeper than this are packed: jq 1.6 reads 256 levels, and Python must not run out of stack."""

_BEFORE_A_TEXT = "\ufeff\x1e \t\r"
"""Characters that may precede the JSON: a byte order mark (RFC 8259, 8.1), RS (RFC 7464), and blanks."""


class JsonFormError(ValueError):
    """A line that is not the JSON form of a frame; the text says why."""


def to_json(frame: Frame, raw: bytes | None = None) -> bytes:
    """One frame as one line of JSON, newline included. `raw` is its msgpack form, where the caller has it."""
    try:
        text = _dump(_to_plain(frame, _DEPTH_LIMIT))
    except (ValueError, RecursionError):
        # It is nested deeper than msgpack packs: another program has made it.
        whole = {WHOLE: base64.b64encode(encode(frame) if raw is None else raw).decode()}
        kind = type_of(frame)
        text = _dump(whole if kind is None else {"type": _escape(kind), **whole})
    return escaped(text, _escape_letter).encode() + b"\n"


def value_to_json(value: object) -> str:
    """The JSON form of a frame's value. Raises ValueError or RecursionError for what is deeper than msgpack packs."""
    return escaped(_dump(_to_plain(value, _DEPTH_LIMIT)), _escape_letter)


def from_json(line: bytes) -> Frame:
    """The frame of one line. Raises JsonFormError."""
    return decode_line(line)[0]


def decode_line(line: bytes) -> tuple[Frame, bytes]:
    """The frame of one line, and its msgpack form. Raises JsonFormError."""
    try:
        value = json.loads(_text_of(line))
    except (ValueError, RecursionError) as error:
        raise JsonFormError(f"not JSON ({error})") from None
    if not isinstance(value, dict):
        raise JsonFormError(f"expected an object, got {describe(value)}")
    if WHOLE in value:
        return _decode_whole(value[WHOLE])
    try:
        frame: Frame = _from_plain(value)
        return frame, encode(frame)
    except JsonFormError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise JsonFormError(f"has no msgpack form ({error})") from None


def with_binary_in(field: str, frame: Frame) -> Frame:
    """The frame with `data` that is bytes moved to `field`, as base64: so a program that only knows text misses it."""
    data = frame.get("data")
    if not isinstance(data, bytes):
        return frame
    rest = {name: value for name, value in frame.items() if name != "data"}
    return {**rest, field: base64.b64encode(data).decode()}


def with_binary_from(field: str, frame: Frame) -> Frame:
    """The frame with the base64 in `field` moved back to `data`, as bytes. Raises JsonFormError when it is none."""
    if field not in frame:
        return frame
    text = frame[field]
    if not isinstance(text, str):
        raise JsonFormError(f"{field}: expected base64, got {describe(text)}")
    return {**{name: value for name, value in frame.items() if name != field}, "data": _decode_base64(text, "")}


def is_blank(line: bytes) -> bool:
    """Whether a line is empty or blank, and so to be skipped."""
    return not _text_of(line).strip()


def _text_of(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape").lstrip(_BEFORE_A_TEXT)


def _dump(plain: object) -> str:
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _to_plain(value: Any, depth_left: int) -> Any:
    if isinstance(value, str):
        return _escape(value)
    if isinstance(value, bytes):
        return BASE64 + base64.b64encode(value).decode()
    if isinstance(value, dict) and depth_left:
        return {_to_plain_key(key): _to_plain(item, depth_left - 1) for key, item in value.items()}
    if isinstance(value, list) and depth_left:
        return [_to_plain(item, depth_left - 1) for item in value]
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _packed(value)


def _to_plain_key(key: Any) -> str:
    plain = _to_plain(key, 0)
    return plain if isinstance(plain, str) else _packed(key)


def _packed(value: Any) -> str:
    return MSGPACK + base64.b64encode(pack(value)).decode()


def _escape(text: str) -> str:
    return text.translate(_ESCAPES) if MARK in text or "\x1a" in text else text


def _escape_letter(letter: str) -> str:
    return json.dumps(letter)[1:-1]


def _from_plain(value: Any) -> Any:
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, dict):
        return {_from_plain(key): _from_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_plain(item) for item in value]
    return value


def _from_text(text: str) -> Any:
    for prefix in (BASE64, MSGPACK):
        if text.startswith(prefix):
            data = _decode_base64(text, prefix)
            return data if prefix == BASE64 else _unpacked(text, data)
    return _ESCAPED.sub(lambda found: _UNESCAPED[found[0]], text) if "\x1a" in text else text


def _decode_base64(text: str, prefix: str) -> bytes:
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError) as error:
        raise JsonFormError(f"{describe(text)} does not hold what its prefix says ({error})") from None


def _unpacked(text: str, data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, use_list=False, strict_map_key=False, unicode_errors="surrogateescape")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise JsonFormError(f"{describe(text)} does not hold what its prefix says ({error})") from None


def _decode_whole(text: object) -> tuple[Frame, bytes]:
    if not isinstance(text, str):
        raise JsonFormError(f"{WHOLE!r}: expected a string, got {describe(text)}")
    raw = _decode_base64(text, "")
    decoder = FrameDecoder("the line")
    try:
        decoder.feed(raw)
        frames = list(decoder.frames())
        decoder.finish()
    except FrameError as error:
        raise JsonFormError(f"{WHOLE!r}: {error}") from None
    if len(frames) != 1:
        raise JsonFormError(f"{WHOLE!r}: expected one frame, got {len(frames)}")
    return frames[0], raw
