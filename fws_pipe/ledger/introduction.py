"""What a new chain must hear of the clients before it gets events: a snapshot.

For each client that an earlier chain has been told of it is an `open` with `replay`, as things are now, but
for what is remembered (clients/remembered.py). Also for those
that have left, as long as their `disconnect` is kept: a chain must not hear of a departure before it hears of a client.
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
    """The `open` that told the chain of a client; None where none has, or may."""
    return decode_frame(client.open_event) if client.open_event else None


def snapshot_of(client: Client, opening: Frame) -> bytes:
    """The same as a new chain gets it."""
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
    """What a chain that knows so much (`known`, by client) must still hear: ids and frames.

    A client that has changed since goes, and comes again. `seq` and `time` are those of the departures.
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
    """The clients that have left, and whose `disconnect` is kept."""

    def __init__(self) -> None:
        self._departed: OrderedDict[str, tuple[Client, int]] = OrderedDict()
        """By id, with the number of the `disconnect`; the oldest first.

        A plain dict takes longer to find its first key the more have been deleted before it.
        """

    def __iter__(self) -> Iterator[Client]:
        return iter([client for client, _ in self._departed.values()])

    def __contains__(self, client: Client) -> bool:
        return client.id in self._departed

    def add(self, client: Client, seq: int) -> None:
        """A client has left; `seq` is its `disconnect`."""
        self._departed[client.id] = client, seq

    def get(self, client_id: str) -> Client | None:
        """The client of an id, or None."""
        client, _ = self._departed.get(client_id, (None, 0))
        return client

    def discard(self, client: Client) -> None:
        """Forget one, if it is there."""
        self._departed.pop(client.id, None)

    def forget_until(self, seq: int) -> None:
        """Events up to this number are not kept any more."""
        while self._departed:
            client, departure = next(iter(self._departed.values()))
            if departure > seq:
                break
            del self._departed[client.id]
