"""Who is connected, who is in which group, and what an action does to them. No I/O of its own: wires have that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import trio

from fws_pipe.front.handshake import Refusal
from fws_pipe.front.rfc6455 import TRY_AGAIN_LATER, encode_message
from fws_pipe.front.wire import Wire
from fws_pipe.protocol.actions import EVERYONE
from fws_pipe.protocol.codec import Frame


class Ping(NamedTuple):
    """A ping that was sent at `sent` because there had been no sign of life since `since` (trio's clock)."""

    since: float
    sent: float


class Verdict(NamedTuple):
    """What the chain has answered to a handshake: `refusal` is None when the client may come in."""

    refusal: Refusal | None
    auth: dict[str, object] | None = None


class Client:
    """One connection. `share_limit` bounds, in bytes, what it has under way in the chain and in its outbox."""

    def __init__(self, client_id: str, wire: Wire, share_limit: int) -> None:
        self.id = client_id
        self.wire = wire
        self.groups: set[str] = set()
        self.open_event: Frame | None = None
        """The `open` that told the chain of this client; repeated in snapshots."""
        self.is_open = False
        """Whether its handshake is over; with a gate the chain knows of it before."""
        self.verdict: Verdict | None = None
        self.judged = trio.Event()
        """Set when the chain has given its verdict."""
        self._share_limit = share_limit
        self._under_way = 0
        self.share = trio.lowlevel.ParkingLot()
        """Where its next event waits while the share is used up."""
        self.pinged: Ping | None = None
        """The last ping."""
        wire.on_room = self.share.unpark_all

    def judge(self, verdict: Verdict) -> None:
        """The chain has answered; the first answer counts."""
        if not self.is_open and self.verdict is None:
            self.verdict = verdict
            self.judged.set()

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
    """All clients of this server that the chain knows of, by id, and the groups."""

    def __init__(self) -> None:
        self._by_id: dict[str, Client] = {}
        self._before_the_gate = 0
        self.on_change: Callable[[Client], object] = lambda client: None
        """Called when a client has come, has gone, or is in other groups."""
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
        """The chain knows of a client. Until `open` it gets only what is for itself."""
        self._by_id[client.id] = client
        self._before_the_gate += 1

    def open(self, client: Client) -> None:
        """A client's handshake is over."""
        client.is_open = True
        self._before_the_gate -= 1
        self.on_change(client)

    def remove(self, client: Client) -> None:
        """A client has gone; it leaves its groups."""
        del self._by_id[client.id]
        self._before_the_gate -= not client.is_open
        for group in list(client.groups):
            self._leave(client, group)
        self.on_change(client)

    def get(self, client_id: str) -> Client | None:
        """The client of an id, or None."""
        return self._by_id.get(client_id)

    def of(self, client_id: str) -> Client | None:
        """The client of an id; None, and counted, when it has gone."""
        client = self._by_id.get(client_id)
        if client is None:
            self.counters["gone"] += 1
        return client

    def join(self, client_id: str, group: str) -> None:
        """Put a client into a group; nothing happens when it has left."""
        client = self.of(client_id)
        if client is not None and group not in client.groups:
            client.groups.add(group)
            self._groups.setdefault(group, {})[client_id] = client
            self.on_change(client)

    def leave(self, client_id: str, group: str) -> None:
        """Take a client out of a group; nothing happens when it isn't in there."""
        client = self.of(client_id)
        if client is not None and group in client.groups:
            self._leave(client, group)
            self.on_change(client)

    def _leave(self, client: Client, group: str) -> None:
        client.groups.discard(group)
        members = self._groups[group]
        del members[client.id]
        if not members:
            del self._groups[group]

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
            candidates = self._everyone()
        else:
            candidates = self._named(action["to"])
        return [client for client in candidates if client.id not in excluded] if excluded else list(candidates)

    def _everyone(self) -> Iterable[Client]:
        if not self._before_the_gate:
            return self._by_id.values()
        return [client for client in self._by_id.values() if client.is_open]

    def _named(self, to: str | list[str]) -> Iterator[Client]:
        for client_id in [to] if isinstance(to, str) else to:
            client = self.of(client_id)
            if client is not None:
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
        targets = list(self._everyone() if to == EVERYONE else self._named(to))
        for client in targets:
            if client.is_open:
                client.wire.begin_close(action.get("code", 1000), action.get("reason", ""))
            else:
                client.judge(Verdict(Refusal(403, action.get("reason") or "The chain has closed this connection.")))

    def flush(self) -> None:
        """Write to each client that got something since the last flush."""
        for client in self._touched:
            client.wire.flush()
        self._touched.clear()
