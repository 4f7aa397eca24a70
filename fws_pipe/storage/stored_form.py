"""Keys and values as the bytes under which they are stored. No I/O.

Text is stored as it is, so that redis-cli and sqlite3 show it readably; anything else as "msgpack:" and its msgpack
form. Keys, fields and the values of sets have a hash. The values of lists and maps need none: they may hold lists and
dicts as well, and their tuples are an extension type of msgpack, so that a tuple comes back as a tuple.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgpack

from fws_pipe.protocol.codec import describe

_PREFIX = b"msgpack:"

_TUPLE = 1
"""The extension type of a tuple: its data is the msgpack form of a list."""

_PROBLEMS = (TypeError, ValueError, OverflowError, RecursionError)
"""What msgpack raises for a value that it can't carry, or that is too deep."""


def to_bytes(value: Any) -> bytes:
    """The bytes of a key, a field or a value of a set. Raises TypeError for one without msgpack form or hash."""
    text = _as_plain_text(value)
    if text is not None:
        return text
    try:
        packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
        # After packing, which has a limit of depth: hashing has none, and would overflow the stack.
        hash(value)
    except _PROBLEMS as error:
        raise _cannot_store(value, error, "str, bytes, int, float, bool, None or a tuple of these") from None
    return _PREFIX + packed


def _as_plain_text(value: Any) -> bytes | None:
    """The UTF-8 of text that is stored as it is; None: the value needs the msgpack form."""
    if isinstance(value, str):
        try:
            text = value.encode()
        except UnicodeEncodeError:
            return None  # a lone surrogate has no UTF-8; msgpack lets it through
        if not text.startswith(_PREFIX):
            return text
    return None


def _cannot_store(value: Any, error: Exception, expected: str) -> TypeError:
    shown = " ".join(describe(value).split())
    return TypeError(f"can't store {shown} ({error}); expected {expected}")


def from_bytes(data: bytes) -> Any:
    """The key or value that was stored as these bytes; another program's bytes are a str if they are UTF-8."""
    if data.startswith(_PREFIX):
        try:
            value = msgpack.unpackb(data[len(_PREFIX) :], use_list=False, unicode_errors="surrogatepass")
            hash(value)
            return value
        except (TypeError, ValueError, msgpack.UnpackException):
            pass  # another program wrote it, and it only begins like ours
    return _text_or_bytes(data)


def _text_or_bytes(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def set_or_none(members: Iterable[bytes]) -> set[Any] | None:
    """The set of these stored values; None when there are none."""
    return {from_bytes(member) for member in members} or None


def value_to_bytes(value: Any) -> bytes:
    """The bytes under which a value of a list or map is stored. Raises TypeError for one that msgpack can't carry."""
    text = _as_plain_text(value)
    if text is not None:
        return text
    try:
        packed = _pack_exactly(value)
        _unpack_exactly(packed)  # one that is too deep is refused here, and not when it is read
    except (*_PROBLEMS, msgpack.UnpackException) as error:
        expected = "str, bytes, int, float, bool, None, or a list, tuple or dict of these"
        raise _cannot_store(value, error, expected) from None
    return _PREFIX + packed


def value_from_bytes(data: bytes) -> Any:
    """The value of a list or map that was stored as these bytes; another program's are a str if they are UTF-8."""
    if data.startswith(_PREFIX):
        try:
            return _unpack_exactly(data[len(_PREFIX) :])
        except (*_PROBLEMS, msgpack.UnpackException):
            pass  # another program wrote it, and it only begins like ours
    return _text_or_bytes(data)


def _pack_exactly(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, default=_as_extension, strict_types=True, unicode_errors="surrogatepass")
    return packed


def _as_extension(value: Any) -> msgpack.ExtType:
    if type(value) is not tuple:
        what = "integers of more than 64 bits" if type(value) is int else type(value).__name__
        raise TypeError(f"msgpack can't carry {what}")
    return msgpack.ExtType(_TUPLE, _pack_exactly(list(value)))


def _unpack_exactly(data: bytes) -> Any:
    return msgpack.unpackb(data, ext_hook=_from_extension, strict_map_key=False, unicode_errors="surrogatepass")


def _from_extension(code: int, data: bytes) -> Any:
    return tuple(_unpack_exactly(data)) if code == _TUPLE else msgpack.ExtType(code, data)
