"""Who is connected, who is in which group, and what an action does to them. No I/O of its own: wires have that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import trio

from fws_pipe.front.rfc6455 import TRY_AGAIN_LATER, encode_message
from fws_pipe.front.wire import Wire
from fws_pipe.protocol.actions import EVERYONE
from fws_pipe.protocol.codec import Frame


class Ping(NamedTuple):
    """A ping that was sent at `sent` because there had been no sign of life since `since` (trio's clock)."""

    since: float
    sent: float


class Client:
    """One open connection. `share_limit` bounds, in bytes, what it has under way in the chain and in its outbox."""

    def __init__(self, client_id: str, wire: Wire, share_limit: int) -> None:
        self.id = client_id
        self.wire = wire
        self.groups: set[str] = set()
        self.open_event: Frame | None = None
        """The `open` that told the chain of this client; repeated in snapshots."""
        self._share_limit = share_limit
        self._under_way = 0
        self.share = trio.lowlevel.ParkingLot()
        """Where its next event waits while the share is used up."""
        self.pinged: Ping | None = None
        """The last ping."""
        wire.on_room = self.share.unpark_all

    def charge(self, size: int) -> None:
        """So many bytes of this client have gone to the chain."""
        self._under_way += size

    def discharge(self, size: int) -> None:
        """So many bytes of this client are through the chain, or lost with it."""
        self._under_way -= size
        self.share.unpark_all()

    def must_wait(self, size: int) -> bool:
        """Whether this client's next event, of so many bytes, must wait for its earlier ones and their replies.

        A client that sends faster than it reads the replies is so held back before its outbox overflows, and none can
        fill the chain alone. One event is always allowed.
        """
        used = self._under_way + self.wire.outbox.size
        return used > 0 and used + size > self._share_limit and not self.wire.is_closing


class Clients:
    """All open clients of this server, by id, and the groups."""

    def __init__(self) -> None:
        self._by_id: dict[str, Client] = {}
        self._groups: dict[str, dict[str, Client]] = {}
        self._touched: dict[Client, None] = {}
        self.counters: Counter[str] = Counter()
        """What was dropped, by reason: `gone` (the client has left), `slow` (it was closed for a full outbox)."""

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._by_id.values()))

    def __contains__(self, client: Client) -> bool:
        return client.id in self._by_id

    def add(self, client: Client) -> None:
        """A client is open."""
        self._by_id[client.id] = client

    def remove(self, client: Client) -> None:
        """A client has gone; it leaves its groups."""
        del self._by_id[client.id]
        for group in list(client.groups):
            self.leave(client.id, group)

    def join(self, client_id: str, group: str) -> None:
        """Put a client into a group; nothing happens when it has left."""
        client = self._by_id.get(client_id)
        if client is None:
            self.counters["gone"] += 1
            return
        client.groups.add(group)
        self._groups.setdefault(group, {})[client_id] = client

    def leave(self, client_id: str, group: str) -> None:
        """Take a client out of a group; nothing happens when it isn't in there."""
        members = self._groups.get(group, {})
        client = members.pop(client_id, None)
        if client is not None:
            client.groups.discard(group)
        if not members:
            self._groups.pop(group, None)

    def send(self, action: Frame) -> None:
        """Queue a `send` action for each of its receivers; `flush` writes. Encoded once, whoever gets it."""
        frame = encode_message(action["data"])
        for client in self._receivers(action):
            self._post(client, frame)

    def _receivers(self, action: Frame) -> Iterable[Client]:
        without = action.get("except", ())
        excluded = {without} if isinstance(without, str) else set(without)
        if "group" in action:
            candidates: Iterable[Client] = self._groups.get(action["group"], {}).values()
        elif action["to"] == EVERYONE:
            candidates = self._by_id.values()
        else:
            candidates = self._named(action["to"])
        return [client for client in candidates if client.id not in excluded] if excluded else list(candidates)

    def _named(self, to: str | list[str]) -> Iterator[Client]:
        for client_id in [to] if isinstance(to, str) else to:
            client = self._by_id.get(client_id)
            if client is None:
                self.counters["gone"] += 1
            else:
                yield client

    def _post(self, client: Client, frame: bytes) -> None:
        if client.wire.post(frame):
            self._touched[client] = None
        elif client.wire.is_closing:
            self.counters["gone"] += 1
        else:
            self.counters["slow"] += 1
            client.wire.outbox.drop_unstarted()
            client.wire.fail(TRY_AGAIN_LATER, "too slow: more waits for you than may")

    def close(self, action: Frame) -> None:
        """Carry out a `close` action."""
        to = action["to"]
        targets = list(self._by_id.values()) if to == EVERYONE else list(self._named(to))
        for client in targets:
            client.wire.begin_close(action.get("code", 1000), action.get("reason", ""))

    def flush(self) -> None:
        """Write to each client that got something since the last flush."""
        for client in self._touched:
            client.wire.flush()
        self._touched.clear()
