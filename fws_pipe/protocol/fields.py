"""The fields that frames of a type must have and may have, and what may be in them. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from fws_pipe.protocol.codec import Frame, describe

Check = Callable[[object], str | None]
"""Returns what was expected, as a noun phrase; None: the value is valid."""


class Fields(NamedTuple):  # not a dataclass, which loads the module inspect and slows each filter's start
    """The checks of one type's fields, by name. Other fields may hold anything."""

    required: Mapping[str, Check]
    optional: Mapping[str, Check]


def is_anything(value: object) -> str | None:
    """A check for a field that may hold any value."""
    return None


def is_integer(value: object) -> str | None:
    """A check for a whole number, which true and false are not."""
    return None if isinstance(value, int) and not isinstance(value, bool) else "an integer"


def is_flag(value: object) -> str | None:
    """A check for a boolean."""
    return None if isinstance(value, bool) else "true or false"


def fault_of(frame: Frame, kind: str, fields: Fields) -> str | None:
    """The fault of a frame of type `kind`, as "send.to: expected an id, got int 5"; None: all fields are valid."""
    for name, check in fields.required.items():
        if name not in frame:
            return f"{kind}.{name}: is missing"
        expected = check(frame[name])
        if expected:
            return f"{kind}.{name}: expected {expected}, got {describe(frame[name])}"
    for name, check in fields.optional.items():
        if name in frame:
            expected = check(frame[name])
            if expected:
                return f"{kind}.{name}: expected {expected}, got {describe(frame[name])}"
    return None
