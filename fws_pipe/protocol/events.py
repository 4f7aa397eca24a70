"""Events: the frames from the front to the chain, with one builder for each type.

Every event has `type`, `seq` (an int that rises with each event of a server) and `time` (a float, seconds since the
epoch); all but `consumer` and `tick` have `id`, the client's.
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
FLUSHED = "flushed"
PRESENCE = "presence"
CONFIRM = "confirm"
LOST = "lost"

REQUIRED_FIELDS = {
    OPEN: ("id",),
    DATA: ("id", "data"),
    MESSAGE: ("id", "data"),
    DISCONNECT: ("id",),
    CONSUMER: ("channel", "data"),
    FLUSHED: ("id",),
}
"""The fields, by type, that every filter may rely on; the front sends more."""

EVENT_TYPES = frozenset({OPEN, DATA, MESSAGE, DISCONNECT, CONSUMER, TICK, FLUSHED})


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
    """A client has connected, or, with --gate, asks to.

    `headers` are [name, value] pairs with lower-case names; `remote` is [host, port]. `tls` holds `version` and
    `subject`, None: without TLS. `auth` are the claims of the client's token, None: it had to show none.
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
        "remembered": {},
        "replay": False,
    }


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
