"""Actions: the frames by which filters ask for something, and the fields of each type.

The `data` of a `send` may be a list of messages for the same receivers; then its `seq` may be a list of as many event
numbers. The SDK makes such sends in the last stage, where only the sink reads them: a frame with many messages costs
little more than one with a single message.

`check_action` is the one check of an action. The sink and the front both call it, since a front may run by hand, with
no sink before it.
"""

from __future__ import annotations

from collections.abc import Iterator

from fws_pipe.protocol.codec import Frame, describe, pack
from fws_pipe.protocol.fields import Fields, fault_of, is_anything, is_flag, is_integer

SEND = "send"
CLOSE = "close"
JOIN = "join"
LEAVE = "leave"
PUBLISH = "publish"
ENQUEUE = "enqueue"
WANT = "want"
ACCEPT = "accept"
REJECT = "reject"
COUNT = "count"
ALIVE = "alive"
HOLD = "hold"
RESUME = "resume"
REMEMBER = "remember"
FLUSH = "flush"

EVERYONE = "*"
"""As `to`: every client."""

CLOSE_REASON_LIMIT_BYTES = 123
"""The longest close reason in UTF-8: a control frame carries 125 bytes, and the code takes two (RFC 6455, 5.5)."""

REFUSAL_STATUSES = frozenset(
    {400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423,
     424, 425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511}
)  # fmt: skip
"""The HTTP statuses of `reject` (IANA registry); not from the module http, whose import would slow each filter down."""

GROUP_LIMIT_BYTES = 1024
"""The longest name of a group, in UTF-8; bounded, since clients may choose the names and the front keeps them all."""

REMEMBERED_NAME = "value"
"""The name of what a client is to remember, where `remember` names none."""

REMEMBERED_LIMIT_BYTES = 16 * 1024
"""How much may be remembered for one client: names, in UTF-8, and values, as msgpack. The front keeps it for all."""

_TOKEN_LETTERS = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def _is_text(value: object) -> str | None:
    return None if isinstance(value, str) and _is_utf8(value) else "a string"


def _is_filled_text(value: object) -> str | None:
    return None if value and _is_text(value) is None else "a string that isn't empty"


def _is_group(value: object) -> str | None:
    if isinstance(value, str) and _is_utf8(value) and is_group_name(value):
        return None
    return f"a string of at most {GROUP_LIMIT_BYTES} bytes"


def _is_payload(value: object) -> str | None:
    return None if isinstance(value, bytes) or _is_text(value) is None else "a string (text) or bytes (binary)"


def _is_payloads(value: object) -> str | None:
    if isinstance(value, list) and all(_is_payload(item) is None for item in value):
        return None
    return _is_payload(value) and "a string (text) or bytes (binary), or a list of these"


def _is_ids(value: object) -> str | None:
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        return None
    return "an id or a list of ids"


def _is_rememberable(value: object) -> str | None:
    try:
        # Within the maps in which an `open` has it: msgpack bounds the depth of the whole.
        size = len(pack({"remembered": {"": value}}))
    except (TypeError, ValueError, OverflowError):
        size = REMEMBERED_LIMIT_BYTES + 1
    if size <= REMEMBERED_LIMIT_BYTES:
        return None
    return f"what msgpack can carry in at most {REMEMBERED_LIMIT_BYTES} bytes"


def _is_close_code(value: object) -> str | None:
    if isinstance(value, int) and may_be_sent(value):
        return None
    return "a close code that may be sent: 1000-1003, 1007-1014, 3000-4999"


def _is_close_reason(value: object) -> str | None:
    if isinstance(value, str) and _is_utf8(value) and len(value.encode()) <= CLOSE_REASON_LIMIT_BYTES:
        return None
    return f"a string of at most {CLOSE_REASON_LIMIT_BYTES} bytes"


def _is_claims(value: object) -> str | None:
    return None if value is None or isinstance(value, dict) else "a map of claims, or nothing"


def _is_subprotocol(value: object) -> str | None:
    return None if value is None or (isinstance(value, str) and is_token(value)) else "a subprotocol's name, or nothing"


def _is_refusal_status(value: object) -> str | None:
    return None if type(value) is int and value in REFUSAL_STATUSES else "an HTTP status of 400 to 511 that has a name"


def _is_event_types(value: object) -> str | None:
    return None if isinstance(value, list) and all(isinstance(item, str) for item in value) else "a list of event types"


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_group_name(name: str) -> bool:
    """Whether a group may have this name."""
    return len(name) <= GROUP_LIMIT_BYTES and len(name.encode()) <= GROUP_LIMIT_BYTES


def is_token(text: str) -> bool:
    """Whether this is a token of HTTP, as names of subprotocols and cookies are (RFC 9110, section 5.6.2)."""
    return bool(text) and _TOKEN_LETTERS.issuperset(text)


def may_be_sent(code: int) -> bool:
    """Whether an endpoint may put this code into a Close frame (RFC 6455, section 7.4, and the IANA registry)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


_FIELDS: dict[str, Fields] = {
    SEND: Fields({"data": _is_payloads}, {"to": _is_ids, "group": _is_text, "except": _is_ids, "everywhere": is_flag}),
    CLOSE: Fields({"to": _is_ids}, {"code": _is_close_code, "reason": _is_close_reason}),
    JOIN: Fields({"id": _is_text, "group": _is_group}, {}),
    LEAVE: Fields({"id": _is_text, "group": _is_group}, {}),
    PUBLISH: Fields({"channel": _is_filled_text, "data": _is_payload}, {}),
    ENQUEUE: Fields({"data": is_anything}, {}),
    WANT: Fields({"events": _is_event_types}, {}),
    ACCEPT: Fields({"id": _is_text}, {"auth": _is_claims, "subprotocol": _is_subprotocol}),
    REJECT: Fields({"id": _is_text}, {"status": _is_refusal_status, "reason": _is_text}),
    HOLD: Fields({"id": _is_text}, {}),
    RESUME: Fields({"id": _is_text}, {}),
    REMEMBER: Fields({"id": _is_text, "value": _is_rememberable}, {"name": _is_group}),
    FLUSH: Fields({"id": _is_text}, {}),
    ALIVE: Fields({}, {}),
    COUNT: Fields({"name": _is_filled_text}, {"by": is_integer}),
}

ACTION_TYPES = frozenset(_FIELDS)


def is_joined(action: Frame) -> bool:
    """Whether this is a `send` with a list of messages, and the event's number for each of them."""
    data, seq = action.get("data"), action.get("seq")
    return action.get("type") == SEND and type(data) is list and _is_integers(seq, len(data))


def single_sends(action: Frame) -> Iterator[Frame]:
    """Yield a valid `send` as one action for each of its messages."""
    if type(action["data"]) is not list:
        yield action
        return
    seqs = action["seq"] if is_joined(action) else [action.get("seq")] * len(action["data"])
    for data, seq in zip(action["data"], seqs, strict=True):
        yield {**action, "data": data, "seq": seq} if seq is not None else {**action, "data": data}


def _is_plain_send(action: Frame) -> bool:
    """Whether a `send` is surely valid: a shortcut for nearly all actions."""
    data, seq = action.get("data"), action.get("seq")
    if type(action.get("to")) is not str:
        return False
    known = 3
    if type(data) is list:
        if not _are_plain(data) or not _is_integers(seq, len(data)):
            return False
        known += 1
    elif not (type(data) is bytes or (type(data) is str and data.isascii())):
        return False
    elif type(seq) is int:
        known += 1
    if type(action.get("except")) is str:
        known += 1
    if action.get("everywhere") is True:
        known += 1
    return known == len(action)


def _are_plain(data: list[object]) -> bool:
    try:
        return "".join(data).isascii()  # type: ignore[arg-type]  # raises TypeError where an item isn't str
    except TypeError:
        return all(type(item) is bytes or (type(item) is str and item.isascii()) for item in data)


def _is_integers(value: object, count: int) -> bool:
    """Whether it is a list of `count` integers."""
    return type(value) is list and len(value) == count and set(map(type, value)) <= {int}


def check_action(action: Frame) -> str | None:
    """The fault of an action of a known type, as "send.to: expected an id or a list of ids, got int 5"; None: valid."""
    kind = action["type"]
    if kind == SEND and _is_plain_send(action):
        return None
    fault = fault_of(action, kind, _FIELDS[kind])
    if fault:
        return fault
    if kind == SEND and ("to" in action) == ("group" in action):
        return "send: expected one of `to` and `group`, got " + ("both" if "to" in action else "neither")
    expected = _check_seq(action) if "seq" in action else None
    return f"{kind}.seq: expected {expected}, got {describe(action['seq'])}" if expected else None


def _check_seq(action: Frame) -> str | None:
    """What was expected in place of an action's `seq`; None: it is valid. A `send` of many messages may have a list."""
    data = action["data"] if action["type"] == SEND else None
    if isinstance(data, list) and isinstance(action["seq"], list):
        return None if _is_integers(action["seq"], len(data)) else f"as many integers as messages, {len(data)}"
    return is_integer(action["seq"])
