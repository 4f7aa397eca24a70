"""The snapshot from which a new chain learns of the clients before it gets events.

It has an `open` with `replay` for each client that an earlier chain knew, with the client's present groups and
authentication, and its settled remembered values (clients/remembered.py). A client that has left is in it as long as
its `disconnect` is kept: a chain must hear of a client before it hears of its departure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from fws_pipe.protocol.codec import Frame, decode_frame, encode
from fws_pipe.protocol.events import disconnect_event, stamp
from fws_pipe.websocket.rfc6455 import ABNORMAL

if TYPE_CHECKING:
    from fws_pipe.clients.client import Client


def opening_of(client: Client) -> Frame | None:
    """The `open` that told the chain of a client; None if there was none, or no chain may hear of the client again."""
    return decode_frame(client.open_event) if client.open_event else None


def snapshot_of(client: Client, opening: Frame) -> bytes:
    """A client's `open` as a new chain gets it: encoded, and brought up to date."""
    now = {
        "auth": client.auth,
        "subprotocol": client.subprotocol,
        "groups": sorted(client.groups),
        "remembered": client.remembered.values() if client.remembered is not None else {},
    }
    return encode({**opening, **now, "replay": True})


def news(
    snapshot: Mapping[str, bytes], known: Mapping[str, bytes], seq: int, time: float
) -> Iterator[tuple[str, bytes]]:
    """Yield the client ids and frames that bring a chain from the snapshot `known` to `snapshot`, both by client id.

    A client that has changed leaves and comes again. The `disconnect` events get the number `seq` and the `time`
    (seconds since the epoch).
    """
    for client_id, opening in snapshot.items():
        if known.get(client_id) != opening:
            if client_id in known:
                yield client_id, _farewell(client_id, seq, time)
            yield client_id, opening
    for client_id in known:
        if client_id not in snapshot:
            yield client_id, _farewell(client_id, seq, time)


def _farewell(client_id: str, seq: int, time: float) -> bytes:
    event = {**disconnect_event(client_id, code=ABNORMAL, reason="", clean=False), "replay": True}
    return encode(stamp(event, seq, time))


class Departures:
    """The clients that have left and whose `disconnect` is still kept."""

    def __init__(self) -> None:
        self._departed: OrderedDict[str, tuple[Client, int]] = OrderedDict()
        """Client and number of its `disconnect`, by client id; the oldest first.

        An OrderedDict, since a plain dict finds its first key more slowly the more keys before it were deleted.
        """

    def __iter__(self) -> Iterator[Client]:
        return iter([client for client, _ in self._departed.values()])

    def __contains__(self, client: Client) -> bool:
        return client.id in self._departed

    def add(self, client: Client, seq: int) -> None:
        """Add a client that has left; `seq` is the number of its `disconnect`."""
        self._departed[client.id] = client, seq

    def get(self, client_id: str) -> Client | None:
        """The client with an id, or None."""
        client, _ = self._departed.get(client_id, (None, 0))
        return client

    def discard(self, client: Client) -> None:
        """Remove a client, if it is there."""
        self._departed.pop(client.id, None)

    def forget_until(self, seq: int) -> None:
        """Remove the clients whose `disconnect` has this number or a lower one."""
        while self._departed:
            client, departure = next(iter(self._departed.values()))
            if departure > seq:
                break
            del self._departed[client.id]
