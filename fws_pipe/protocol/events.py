"""Events: the frames from the front to the chain, with one builder for each type.

Every event has `type`, `seq` (an int that rises with each event of a server) and `time` (a float, seconds since the
epoch); all but `consumer` and `tick` have `id`, the client's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.fields import Check, Fields, fault_of, is_anything, is_flag, is_integer

OPEN = "open"
DATA = "data"
MESSAGE = "message"
DISCONNECT = "disconnect"
CONSUMER = "consumer"
TICK = "tick"
FLUSHED = "flushed"
PRESENCE = "presence"
CONFIRM = "confirm"
LOST = "lost"


def _is_text(value: object) -> str | None:
    return None if isinstance(value, str) else "a string"


def _is_text_or_none(value: object) -> str | None:
    return None if value is None or isinstance(value, str) else "a string, or nothing"


def _is_bytes(value: object) -> str | None:
    return None if isinstance(value, bytes) else "bytes"


def _is_payload(value: object) -> str | None:
    return None if isinstance(value, str | bytes) else "a string (text) or bytes (binary)"


def _is_time(value: object) -> str | None:
    return None if isinstance(value, int | float) and not isinstance(value, bool) else "a number of seconds"


def _is_headers(value: object) -> str | None:
    return None if isinstance(value, list) and all(map(_is_header, value)) else "a list of [name, value]"


def _is_header(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], str)


def _is_address(value: object) -> str | None:
    return None if isinstance(value, list) and len(value) == 2 else "[host, port]"


def _is_names(value: object) -> str | None:
    return None if isinstance(value, list) and all(isinstance(name, str) for name in value) else "a list of names"


def _is_map(value: object) -> str | None:
    return None if isinstance(value, dict) else "a map"


def _is_map_or_none(value: object) -> str | None:
    return None if value is None or isinstance(value, dict) else "a map, or nothing"


_COMMON: dict[str, Check] = {"seq": is_integer, "time": _is_time}

_FIELDS = {
    OPEN: Fields(
        {"id": _is_text},
        {**_COMMON, "path": _is_text, "query": _is_text, "headers": _is_headers, "remote": _is_address,
         "subprotocol": _is_text_or_none, "tls": _is_map_or_none, "auth": _is_map_or_none, "groups": _is_names,
         "remembered": _is_map, "replay": is_flag, "traceparent": _is_text},
    ),
    DATA: Fields({"id": _is_text, "data": _is_bytes}, _COMMON),
    MESSAGE: Fields({"id": _is_text, "data": _is_payload}, _COMMON),
    DISCONNECT: Fields(
        {"id": _is_text}, {**_COMMON, "code": is_integer, "reason": _is_text, "clean": is_flag, "replay": is_flag}
    ),
    CONSUMER: Fields({"channel": _is_text_or_none, "data": is_anything}, {**_COMMON, "origin": _is_text_or_none}),
    FLUSHED: Fields({"id": _is_text}, _COMMON),
    TICK: Fields({}, _COMMON),
}  # fmt: skip
"""By type, the fields that every filter may rely on, and those that the front sends as well."""

EVENT_TYPES = frozenset(_FIELDS)


def check_event(event: Frame, kind: str) -> str | None:
    """The fault of an event of type `kind`, as "open.remote: expected [host, port], got int 3"; None: it has none.

    A stage before may have written what it likes; so whoever reads an event's fields checks them first.
    """
    if (
        kind == MESSAGE
        and type(event.get("id")) is str
        and type(event.get("data")) in _PAYLOADS
        and type(event.get("seq")) is int
        and type(event.get("time")) is float
    ):  # a shortcut for nearly all events
        return None
    return fault_of(event, kind, _FIELDS[kind])


_PAYLOADS = (str, bytes)


def open_event(
    client_id: str,
    *,
    path: str,
    query: str,
    headers: Sequence[Sequence[str]],
    remote: Sequence[object],
    tls: Mapping[str, object] | None = None,
    subprotocol: str | None = None,
    auth: Mapping[str, object] | None = None,
    traceparent: str | None = None,
) -> Frame:
    """A client has connected, or, with --gate, asks to.

    `headers` are [name, value] pairs with lower-case names; `remote` is [host, port]. `tls` holds `version` and
    `subject`, None: without TLS. `auth` are the claims of the client's token, None: it had to show none. `traceparent`
    says which trace the request belongs to (W3C Trace Context); without one the event has no such key.
    """
    event = {
        "type": OPEN,
        "id": client_id,
        "path": path,
        "query": query,
        "headers": headers,
        "remote": remote,
        "subprotocol": subprotocol,
        "tls": tls,
        "auth": auth,
        "groups": [],
        "remembered": {},
        "replay": False,
    }
    return event if traceparent is None else {**event, "traceparent": traceparent}


def data_event(client_id: str, data: bytes) -> Frame:
    """Bytes have arrived from a client; they are not parsed yet."""
    return {"type": DATA, "id": client_id, "data": data}


def message_event(client_id: str, data: str | bytes) -> Frame:
    """A client has sent one whole WebSocket message: str is text, bytes are binary."""
    return {"type": MESSAGE, "id": client_id, "data": data}


def disconnect_event(client_id: str, *, code: int, reason: str, clean: bool) -> Frame:
    """A client has disconnected: exactly one follows each `open`.

    `code` and `reason` are those of the Close frame (RFC 6455, section 7.1); `clean` says that both sides sent one.
    """
    return {"type": DISCONNECT, "id": client_id, "code": code, "reason": reason, "clean": clean}


def presence_event(client_id: str, groups: Sequence[str] | None) -> Frame:
    """From the front to the source: the groups that this client is in; None: it has gone."""
    return {"type": PRESENCE, "id": client_id, "groups": groups}


def consumer_event(channel: str | None, data: object, origin: str | None) -> Frame:
    """Something was published on `channel`, or put on the queue (`channel` is None).

    `origin` is the name of the server that published it; None: another program did, or it isn't known.
    """
    return {"type": CONSUMER, "channel": channel, "data": data, "origin": origin}


def flushed_event(client_id: str) -> Frame:
    """What had been sent to a client is on its way: the answer to `flush`."""
    return {"type": FLUSHED, "id": client_id}


def tick_event() -> Frame:
    """Barrier, acknowledgement and heartbeat: once the tick is back, all frames before it have passed the chain."""
    return {"type": TICK}


def unconfirmed(tick: Frame) -> Frame:
    """A returning tick before which Redis has not confirmed all publishes; a `confirm` frame follows later."""
    return {**tick, "unconfirmed": True}


def confirm_frame(seq: int) -> Frame:
    """From the sink to the front: Redis has confirmed all publishes before the tick `seq`, which is back already."""
    return {"type": CONFIRM, "seq": seq}


def lost_frame(publishes: int) -> Frame:
    """From the sink to the front, as its last frame: the number of publishes that Redis never confirmed."""
    return {"type": LOST, "publishes": publishes}


def stamp(event: Frame, seq: int, time: float) -> Frame:
    """The event as it goes into the pipe: with its number and its time (seconds since the epoch)."""
    return {"type": event["type"], "seq": seq, "time": time, **event}
