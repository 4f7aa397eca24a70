"""What is a message of JSON-RPC 2.0 (https://www.jsonrpc.org/specification, sections 4 and 5). No I/O."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from fws_pipe.protocol.codec import describe
from fws_pipe.protocol.fields import Fields, fault_of, is_anything, is_integer

Message = dict[str, Any]
"""A request, a notification or an answer."""


class Kind(Enum):
    """What a message is."""

    REQUEST = auto()
    """A method, and an id under which the answer is expected."""
    NOTIFICATION = auto()
    """A method without an id."""
    ANSWER = auto()
    """The result of a request, or an error (a response, in the specification)."""


class InvalidMessageError(ValueError):
    """A value is no message; the text says what was expected."""


def _is_version(value: object) -> str | None:
    return None if value == "2.0" else '"2.0"'


def _is_text(value: object) -> str | None:
    return None if isinstance(value, str) else "a string"


def _is_id(value: object) -> str | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return None if value is None or isinstance(value, str) or is_number else "a string, a number or null"


def _is_parameters(value: object) -> str | None:
    # The specification has no null here. Programs write it that have no other form for "none", servers of LSP too.
    return None if value is None or isinstance(value, dict | list) else "an object or a list"


def _is_error(value: object) -> str | None:
    if isinstance(value, dict) and is_integer(value.get("code")) is None and _is_text(value.get("message")) is None:
        return None
    return "an object with a code, an integer, and a message, a string"


_CALL = Fields({"jsonrpc": _is_version, "method": _is_text}, {"id": _is_id, "params": _is_parameters})
_ANSWER = Fields({"jsonrpc": _is_version, "id": _is_id}, {"result": is_anything, "error": _is_error})


def kind_of(message: object) -> Kind:
    """The kind of a message. Raises InvalidMessageError for what is none."""
    if not isinstance(message, dict):
        raise InvalidMessageError(f"expected an object, got {describe(message)}")
    fault = fault_of(message, "message", _CALL if "method" in message else _ANSWER)
    if fault:
        raise InvalidMessageError(fault)
    if "method" in message:
        return Kind.REQUEST if "id" in message else Kind.NOTIFICATION
    if ("result" in message) == ("error" in message):
        found = "both" if "result" in message else "neither"
        raise InvalidMessageError(f"expected a method, or one of result and error, got {found}")
    return Kind.ANSWER


def call_id_of(message: object) -> object:
    """The id under which an invalid message is answered: its own where it calls a method, otherwise None."""
    if not isinstance(message, dict) or "method" not in message:
        return None
    own_id = message.get("id")
    return own_id if _is_id(own_id) is None else None


def answered_id_of(message: object) -> int | None:
    """The number of the request that a message answers, validly or not; None: it answers none with a number."""
    if not isinstance(message, dict) or "method" in message:
        return None
    number = message.get("id")
    return number if type(number) is int else None
