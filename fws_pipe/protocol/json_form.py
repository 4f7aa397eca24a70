"""The JSON form of frames: one object a line, for jq, grep, sed and awk to stand between filters.

A str is a JSON string and stays one. What JSON has no word for becomes a string with a prefix:

    base64:AAEC        bytes
    msgpack:xwz/...    any other value: the base64 of its msgpack form (extension types, NaN, keys that aren't text)
    text:base64:AAEC   a str that itself begins with one of these three prefixes

So `.data` of a message is always a string, whatever the client sent, and `{type: "send", to: .id, data: .data}` in
jq answers binary with binary. Every frame comes back from `to_json | from_json` as it was.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Any

import msgpack

from fws_pipe.protocol.codec import Frame, describe, encode

BASE64 = "base64:"
MSGPACK = "msgpack:"
TEXT = "text:"
_PREFIXES = (BASE64, MSGPACK, TEXT)


class JsonFormError(ValueError):
    """A line that is not the JSON form of a frame; the text says why."""


def to_json(frame: Frame) -> bytes:
    """One frame as one line of JSON, newline included."""
    try:
        plain = _to_plain(frame)
        text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except RecursionError:
        # Deeper than Python goes; msgpack's own form of the values does it.
        text = json.dumps({_to_plain_key(key): _packed(value) for key, value in frame.items()}, separators=(",", ":"))
    # What isn't UTF-8 in a str came in as a lone surrogate, and goes out as the byte that it was.
    return text.encode("utf-8", "surrogateescape") + b"\n"


def from_json(line: bytes) -> Frame:
    """The frame of one line. Raises JsonFormError."""
    try:
        value = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise JsonFormError(f"not JSON ({error})") from None
    if not isinstance(value, dict):
        raise JsonFormError(f"expected an object, got {describe(value)}")
    try:
        frame: Frame = _from_plain(value)
        encode(frame)
    except JsonFormError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise JsonFormError(f"has no msgpack form ({error})") from None
    return frame


def _to_plain(value: Any) -> Any:
    if isinstance(value, str):
        return TEXT + value if value.startswith(_PREFIXES) else value
    if isinstance(value, bytes):
        return BASE64 + base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {_to_plain_key(key): _to_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _packed(value)


def _to_plain_key(key: Any) -> str:
    plain = _to_plain(key)
    return plain if isinstance(plain, str) else _packed(key)


def _packed(value: Any) -> str:
    return MSGPACK + base64.b64encode(msgpack.packb(value)).decode()


def _from_plain(value: Any) -> Any:
    if isinstance(value, str):
        return _from_text(value) if value.startswith(_PREFIXES) else value
    if isinstance(value, dict):
        return {_from_plain(key): _from_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_plain(item) for item in value]
    return value


def _from_text(text: str) -> Any:
    if text.startswith(TEXT):
        return text.removeprefix(TEXT)
    prefix = BASE64 if text.startswith(BASE64) else MSGPACK
    try:
        data = base64.b64decode(text.removeprefix(prefix), validate=True)
        return data if prefix == BASE64 else msgpack.unpackb(data, use_list=False, strict_map_key=False)
    except (binascii.Error, ValueError, msgpack.UnpackException) as error:
        raise JsonFormError(f"{describe(text)} does not hold what its prefix says ({error})") from None
