"""Events: what the front tells the chain, one builder per type.

Every event has `type`, `seq` (rises with each event of a server) and `time` (seconds since the epoch); all but
`consumer` and `tick` have `id`, the client's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fws_pipe.protocol.codec import Frame

OPEN = "open"
DATA = "data"
MESSAGE = "message"
DISCONNECT = "disconnect"
CONSUMER = "consumer"
TICK = "tick"
PRESENCE = "presence"
CONFIRM = "confirm"
LOST = "lost"

REQUIRED_FIELDS = {
    OPEN: ("id",),
    DATA: ("id", "data"),
    MESSAGE: ("id", "data"),
    DISCONNECT: ("id",),
    CONSUMER: ("channel", "data"),
}
"""What every filter may count on; a front sends more."""

EVENT_TYPES = frozenset({OPEN, DATA, MESSAGE, DISCONNECT, CONSUMER, TICK})


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
) -> Frame:
    """A client has connected, or asks to.

    `headers` are [name, value] pairs, names in lower case; `remote` is [host, port].

    `tls` holds `version` and `subject`; `auth` are the claims of whoever has shown a good token.
    """
    return {
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
        "replay": False,
    }


def data_event(client_id: str, data: bytes) -> Frame:
    """Bytes have arrived, and nobody has parsed them yet."""
    return {"type": DATA, "id": client_id, "data": data}


def message_event(client_id: str, data: str | bytes) -> Frame:
    """One whole WebSocket message: str is text, bytes are binary."""
    return {"type": MESSAGE, "id": client_id, "data": data}


def disconnect_event(client_id: str, *, code: int, reason: str, clean: bool) -> Frame:
    """A client has gone: exactly one for each `open`. `clean` says that both sides sent a Close."""
    return {"type": DISCONNECT, "id": client_id, "code": code, "reason": reason, "clean": clean}


def presence_event(client_id: str, groups: Sequence[str] | None) -> Frame:
    """For the source alone: this client is here, in these groups; None: it has gone."""
    return {"type": PRESENCE, "id": client_id, "groups": groups}


def consumer_event(channel: str | None, data: object, origin: str | None) -> Frame:
    """Something was published on `channel`, or put on the queue (`channel` is None).

    `origin` is the name of the server that it comes from, None when it is another program's or unknown.
    """
    return {"type": CONSUMER, "channel": channel, "data": data, "origin": origin}


def tick_event() -> Frame:
    """Barrier, acknowledgement and heartbeat: all that stands before it has been through the chain once it is back."""
    return {"type": TICK}


def unconfirmed(tick: Frame) -> Frame:
    """A tick on its way back, while Redis has yet to confirm something before it; a `confirm` follows."""
    return {**tick, "unconfirmed": True}


def confirm_frame(seq: int) -> Frame:
    """From the sink to the front: Redis has confirmed all that stands before the tick `seq`, which is back already."""
    return {"type": CONFIRM, "seq": seq}


def lost_frame(publishes: int) -> Frame:
    """From the sink to the front, at its end: so many publishes have never been confirmed by Redis."""
    return {"type": LOST, "publishes": publishes}


def stamp(event: Frame, seq: int, time: float) -> Frame:
    """The event with its place in the server's order and its time: the form that goes into the pipe."""
    return {"type": event["type"], "seq": seq, "time": time, **event}
