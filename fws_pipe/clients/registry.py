"""Who is connected, who is in which group, and what an action does to them. No I/O of its own: wires have that."""

from __future__ import annotations

import enum
import itertools
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import trio

from fws_pipe.http.handshake import Refusal
from fws_pipe.protocol.actions import EVERYONE
from fws_pipe.protocol.codec import Frame
from fws_pipe.websocket.conversation import Held
from fws_pipe.websocket.frames import event_tail
from fws_pipe.websocket.outbox import OBJECT_BYTES
from fws_pipe.websocket.rfc6455 import TRY_AGAIN_LATER, encode_message
from fws_pipe.websocket.wire import Wire


class Ping(NamedTuple):
    """A ping that was sent at the `check`th keep-alive check, and the last sign of life before it (trio's clock)."""

    since: float
    check: int


class Verdict(NamedTuple):
    """What the chain has answered to a handshake: `refusal` is None when the client may come in."""

    refusal: Refusal | None
    auth: dict[str, object] | None = None
    subprotocol: str | None = None


_ANY_SIZE = 1 << 62

_FIRST_WINDOW_BYTES = 64 * 1024
"""What a new client may have under way in the chain: one read. It grows while the replies find room."""

UNDER_WAY_LIMIT = 2048
"""How many events one client may have in the chain: some milliseconds of its time, so that others don't wait long."""

ALL_UNDER_WAY_LIMIT = 8 * 1024
"""How many events all clients together may have in the chain before each may only have a few: so that many who send as
fast as they can don't keep others waiting for longer than one of them would."""

_WHOLE_READ = 2 * UNDER_WAY_LIMIT
"""As many messages as a read has, but for tiny ones."""

FEW_UNDER_WAY = 8
"""How many events a client may have in the chain whatever others have there."""


class Load:
    """How many events of clients are in the chain."""

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events = 0


class Client:
    """One connection.

    `share_limit` bounds, in bytes, what it has under way in the chain and the replies to that in its outbox. What is
    under way can't be called back, and a filter may answer with much more than it was sent. So a window bounds it as
    well, as TCP's does (RFC 5681): it opens by what has come through, and closes by as much as the replies were too
    long.

    `load` counts what all clients have under way.
    """

    __slots__ = (
        "_held",
        "_judged",
        "_load",
        "_share",
        "_share_limit",
        "_under_way",
        "_under_way_count",
        "_window",
        "addressed",
        "auth",
        "event_tail",
        "groups",
        "id",
        "is_barred",
        "is_open",
        "open_event",
        "pinged",
        "subprotocol",
        "verdict",
        "wire",
    )

    def __init__(self, client_id: str, wire: Wire, share_limit: int, load: Load | None = None) -> None:
        self.id = client_id
        self.event_tail = event_tail(client_id)
        """What all its events have in common (frames.py)."""
        self.wire = wire
        self.groups: set[str] | frozenset[str] = frozenset()
        self.open_event = b""
        """The `open` that told the chain of this client, as it was written; repeated in snapshots."""
        self.auth: dict[str, Any] | None = None
        """Who it is, as far as anybody has found out."""
        self.subprotocol: str | None = None
        """What it speaks within WebSocket; None: nothing has been agreed on."""
        self.is_open = False
        """Whether its handshake is over; with a gate the chain knows of it before."""
        self.is_barred = False
        """Whether its `open` has killed the chain again and again: the feed takes no event of it any more."""
        self.verdict: Verdict | None = None
        self._judged: trio.Event | None = None
        self._share_limit = share_limit
        self._load = load or Load()
        self._under_way = 0
        self._under_way_count = 0
        self._window = min(_FIRST_WINDOW_BYTES, share_limit)
        self._share: trio.lowlevel.ParkingLot | None = None
        self._held: Held | None = None
        """What is told of room while this client is not read."""
        self.pinged: Ping | None = None
        """The last ping."""
        self.addressed = -math.inf
        """When the keep-alive last saw that something had been sent to it, or waited for that (trio's clock)."""

    def judge(self, verdict: Verdict) -> None:
        """The chain has answered; the first answer counts."""
        if not self.is_open and self.verdict is None:
            self.verdict = verdict
            if self._judged is not None:
                self._judged.set()

    async def wait_judged(self) -> None:
        """Wait for the chain's answer."""
        self._judged = trio.Event()
        if self.verdict is None:
            await self._judged.wait()

    def charge(self, size: int, count: int) -> None:
        """So many bytes and events of this client have gone to the chain."""
        self._under_way += size
        self._under_way_count += count
        self._load.events += count

    def discharge(self, size: int, count: int) -> None:
        """So many bytes and events of this client are through the chain, or lost with it."""
        self._under_way -= size
        self._under_way_count -= count
        self._load.events -= count
        if self._window < self._share_limit or self.wire.outbox.size > self._share_limit:
            self._fit_window(size)
        if self._held is not None or self._share is not None:
            self.note_room()

    def hold(self, held: Held) -> None:
        """What it sends is not read: tell this of room, until `let_go`."""
        self._held = held

    def let_go(self) -> None:
        """It is read again, or has ended."""
        self._held = None

    def note_room(self) -> None:
        """Called when there may be room: in the chain, or because something has gone out."""
        if self._share is not None:
            self._share.unpark_all()
        if self._held is not None:
            self._held.try_to_go_on()

    def _fit_window(self, size: int) -> None:
        """So many bytes have come through: how much may be under way from now on?"""
        replies = self.wire.outbox.own
        if replies > self._share_limit:
            if not self._under_way_count:  # now they have all come
                self._window = max(self._window * self._share_limit // replies, 1)
        elif replies <= self._share_limit // 2:
            self._window = min(self._window + size, self._share_limit)

    @property
    def budget(self) -> int:
        """How many bytes of messages it may send now; one message of any size is always allowed."""
        if self.wire.is_closing:
            return self._share_limit
        used = self._under_way + self.wire.outbox.own
        if used:
            return min(self._share_limit - used, self._window - self._under_way)
        return _ANY_SIZE if self._window >= min(_FIRST_WINDOW_BYTES, self._share_limit) else self._window

    @property
    def count_budget(self) -> int:
        """How many messages it may send now; 0 or less: none."""
        if self.wire.is_closing:
            return UNDER_WAY_LIMIT
        own = UNDER_WAY_LIMIT - self._under_way_count
        in_all = ALL_UNDER_WAY_LIMIT - self._load.events
        if own > 0 and in_all > _WHOLE_READ:
            return _WHOLE_READ  # as long as there is room for others a read isn't cut in two: that would cost both
        return own if own <= in_all else max(in_all, FEW_UNDER_WAY - self._under_way_count)

    def must_wait(self, size: int) -> bool:
        """Whether this client's next event, of so many bytes, must wait for its earlier ones and their replies.

        A client that sends faster than it reads the replies is so held back, and leaves room for what others send it;
        and none can fill the chain alone. One event is always allowed.
        """
        used = self._under_way + self.wire.outbox.own
        if (
            self.count_budget > 0
            and (not used or used + size <= self._share_limit)
            and (not self._under_way or self._under_way + size <= self._window)
        ):
            return False
        return not self.wire.is_closing

    async def wait_share(self) -> None:
        """Wait until something of its share is free again."""
        if self._share is None:
            self._share = trio.lowlevel.ParkingLot()
        await self._share.park()

    def stop_waiting(self) -> None:
        """There is no time left: let go whoever waits for its share."""
        if self._share is not None:
            self._share.unpark_all()


def weight_of_group(name: str) -> int:
    """About how much memory it takes that a client is in a group, in bytes: each keeps the name for itself."""
    return sys.getsizeof(name) + 2 * OBJECT_BYTES


_Target = tuple[str | list[str] | None, str | None, str | list[str] | None, bool]
"""`to`, `group`, `except` of a send, and whether it is for the clients of other servers as well."""

_NOBODY: _Target = (None, None, None, False)

_JOINED_BYTES = 64 * 1024
"""How much for the same receivers is queued as one."""


class SlowClient(enum.StrEnum):
    """What becomes of a client for which more waits than may."""

    CLOSE = "close"
    """It is closed, with 1013: it knows then that it has missed something."""
    DROP_OLDEST = "drop-oldest"
    """What has waited longest is dropped: for those who want the newest."""
    DROP_NEWEST = "drop-newest"
    """What has just come is dropped."""


def _nobodys(seqs: Sequence[object]) -> list[Client | None]:
    return [None] * len(seqs)


class Clients:
    """All clients of this server that the chain knows of, by id, and the groups.

    `owners_of` tells whose events these `seq`s are, as long as the chain is at work on them.
    """

    def __init__(
        self,
        slow_client: SlowClient = SlowClient.CLOSE,
        owners_of: Callable[[Sequence[object]], list[Client | None]] = _nobodys,
        max_groups: int = 0,
    ) -> None:
        self._slow_client = slow_client
        self._owners_of = owners_of
        self._max_groups = max_groups
        self._by_id: dict[str, Client] = {}
        self._before_the_gate = 0
        self._followers: list[Callable[[Client], object]] = []
        self._groups: dict[str, dict[str, Client]] = {}
        self.groups_weight = 0
        """About how much memory it takes who is in which group, in bytes."""
        self._touched: set[Wire] = set()
        self._target: _Target = _NOBODY
        self._frames: list[bytes] = []
        self._sends: list[Frame] = []
        """The actions that these frames are from."""
        self._frames_size = 0
        self.counters: Counter[str] = Counter()
        """What was dropped, by reason: `gone` (the client has left), `slow` (it was closed for a full outbox), and the
        messages that were dropped for slow clients that stay."""

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

    def follow(self, follower: Callable[[Client], object]) -> None:
        """Call this whenever a client has come, has gone, or is in other groups."""
        self._followers.append(follower)

    def _tell(self, client: Client) -> None:
        for follower in self._followers:
            follower(client)

    def open(self, client: Client) -> None:
        """A client's handshake is over."""
        client.is_open = True
        self._before_the_gate -= 1
        self._tell(client)

    def remove(self, client: Client) -> None:
        """A client has gone; nobody finds it in its groups any more. It keeps the names: see `Feed.leaving`."""
        del self._by_id[client.id]
        self._before_the_gate -= not client.is_open
        for group in client.groups:
            self._forget_member(client, group)
        self._tell(client)

    def get(self, client_id: str) -> Client | None:
        """The client of an id, or None."""
        return self._by_id.get(client_id)

    def of(self, client_id: str) -> Client | None:
        """The client of an id; None, and counted, when it has gone."""
        client = self._by_id.get(client_id)
        if client is None:
            self.counters["gone"] += 1
        return client

    def may_join(self, client: Client, group: str) -> bool:
        """Whether a client is in this group, or may be put into it beside those that it is in."""
        return not 0 < self._max_groups <= len(client.groups) or group in client.groups

    def join(self, client_id: str, group: str) -> None:
        """Put a client into a group; nothing happens when it has left."""
        client = self.of(client_id)
        if client is not None and group not in client.groups:
            client.groups = {*client.groups, group}
            self.groups_weight += weight_of_group(group)
            self._groups.setdefault(group, {})[client_id] = client
            self._tell(client)

    def leave(self, client_id: str, group: str) -> None:
        """Take a client out of a group; nothing happens when it isn't in there."""
        client = self.of(client_id)
        if client is not None and group in client.groups:
            client.groups = client.groups - {group}
            self._forget_member(client, group)
            self._tell(client)

    def _forget_member(self, client: Client, group: str) -> None:
        self.groups_weight -= weight_of_group(group)
        members = self._groups[group]
        del members[client.id]
        if not members:
            del self._groups[group]

    def send(self, action: Frame) -> None:
        """Queue a `send` action; `flush` writes.

        Encoded once, whoever gets it; and what goes to the same receivers one after the other is queued as one.
        """
        data = action["data"]
        if data == []:
            return  # no message at all
        target = (action.get("to"), action.get("group"), action.get("except"), "everywhere" in action)
        if target != self._target:
            self.deliver()
            self._target = target
        self._sends.append(action)
        if type(data) is list:
            frames = [encode_message(message) for message in data]
            self._frames += frames
            self._frames_size += sum(map(len, frames))
        else:
            frame = encode_message(data)
            self._frames.append(frame)
            self._frames_size += len(frame)
        if self._frames_size >= _JOINED_BYTES:
            self.deliver()

    def deliver(self) -> None:
        """Put what has been sent into the outboxes: before anything else happens to who is here."""
        if self._frames:
            self._touched.update([client.wire for client in self._pass_on(at_once=False)])

    def _pass_on(self, *, at_once: bool) -> list[Client]:
        """Give what has been sent to the wires of its receivers, to be queued or to be written; returns these."""
        frames, self._frames, self._frames_size = self._frames, [], 0
        sends, self._sends = self._sends, []
        to, group, without, is_everywhere = self._target
        self._target = _NOBODY
        block = frames[0] if len(frames) == 1 else b"".join(frames)
        is_run = len(frames) > 1
        # Of clients everywhere most are other servers': that they are not here is not worth a count.
        receivers = self._receivers(to, group, without, 0 if is_everywhere else len(frames))
        weight = len(block) // len(receivers) + 1 if receivers else 0
        owners: list[Client | None] | None = None
        for client in receivers:
            wire = client.wire
            if is_run and len(block) > wire.outbox.limit:
                is_taken = False
            else:
                is_taken = wire.write(block, weight) if at_once else wire.post(block, weight)
            if not is_taken:
                if owners is None:
                    owners = self._owners(sends)
                self._pass_on_behind(client, frames, owners, block, weight)
        return receivers

    def _owners(self, sends: Iterable[Frame]) -> list[Client | None]:
        """Whose event each message of these actions has been caused by, as far as that is known."""
        seqs: list[object] = []
        for action in sends:
            data, seq = action["data"], action.get("seq")
            count = len(data) if type(data) is list else 1
            seqs += seq if type(seq) is list else [seq] * count
        return self._owners_of(seqs)

    def _pass_on_behind(
        self, client: Client, frames: list[bytes], owners: list[Client | None], block: bytes, weight: int
    ) -> None:
        """Queue frames, which are a block together, for a client that is behind."""
        # One that still waits at the gate can't read anything.
        count_own = owners.count(client) if client.is_open else 0
        if not count_own:
            self._post_run(client, frames, block, weight, is_own=False)
        elif count_own == len(frames):
            self._post_run(client, frames, block, 0, is_own=True)
        else:
            for is_own, run in itertools.groupby(zip(frames, owners, strict=True), lambda each: each[1] is client):
                part = [frame for frame, _ in run]
                self._post_run(client, part, b"".join(part), 0, is_own=is_own)

    def _post_run(self, client: Client, frames: list[bytes], block: bytes, weight: int, *, is_own: bool) -> None:
        is_too_long = not is_own and len(frames) > 1 and len(block) > client.wire.outbox.limit
        if not is_too_long and client.wire.post_behind(block, weight, is_own=is_own):
            self._touched.add(client.wire)
        elif client.wire.is_closing:
            self.counters["gone"] += len(frames)
        else:
            for frame in frames:  # a part of it may fit
                self._post(client, frame, is_own=is_own)

    def _receivers(
        self, to: str | list[str] | None, group: str | None, without: str | list[str] | None, messages: int
    ) -> list[Client]:
        candidates: Iterable[Client]
        if type(to) is str and without is None and to in self._by_id:
            return [self._by_id[to]]
        if group is not None:
            members = self._groups.get(group, {}).values()
            candidates = [client for client in members if client.is_open]
        elif to == EVERYONE:
            candidates = self._everyone()
        else:
            candidates = self._named(to or [], messages)
        if without is None:
            return list(candidates)
        if isinstance(without, str):
            excluded_client = self._by_id.get(without)
            return [client for client in candidates if client is not excluded_client]
        excluded = set(without)
        return [client for client in candidates if client.id not in excluded]

    def _everyone(self) -> Iterable[Client]:
        if not self._before_the_gate:
            return self._by_id.values()
        return [client for client in self._by_id.values() if client.is_open]

    def _named(self, to: str | list[str], messages: int = 1) -> Iterator[Client]:
        """The clients of these ids; for each that has gone so many messages are counted."""
        for client_id in [to] if isinstance(to, str) else to:
            client = self._by_id.get(client_id)
            if client is not None:
                yield client
            else:
                self.counters["gone"] += messages

    def _post(self, client: Client, frame: bytes, *, is_own: bool) -> None:
        if client.wire.post_behind(frame, is_own=is_own):
            self._touched.add(client.wire)
        elif client.wire.is_closing:
            self.counters["gone"] += 1
        elif not client.is_open:
            client.judge(Verdict(Refusal(503, "More waits for you than may.")))
        else:
            self._too_slow(client, frame)

    def _too_slow(self, client: Client, frame: bytes) -> None:
        """A client's outbox is full."""
        wire = client.wire
        if self._slow_client is SlowClient.CLOSE:
            self.counters["slow"] += 1
            wire.outbox.drop_unstarted()
            wire.fail(TRY_AGAIN_LATER, "too slow: more waits for you than may")
            return
        if self._slow_client is SlowClient.DROP_OLDEST:
            self.counters["dropped for slow clients"] += wire.outbox.make_room(len(frame))
            if wire.post_behind(frame, is_own=False):
                return
        self.counters["dropped for slow clients"] += 1

    def close(self, action: Frame) -> None:
        """Carry out a `close` action."""
        to = action["to"]
        text = "The chain has closed this connection."
        targets = list(self._everyone() if to == EVERYONE else self._named(to))
        for client in targets:
            if client.is_open:
                client.wire.begin_close(action.get("code", 1000), action.get("reason", ""))
            else:
                client.judge(Verdict(Refusal(403, action.get("reason") or text, reason="the chain has closed it")))

    def flush(self) -> None:
        """Write to each client that got something since the last flush."""
        if self._frames and not self._touched:
            self._pass_on(at_once=True)  # nothing else waits: no need to queue it first
        else:
            self.deliver()
        for wire in self._touched:
            wire.flush()
        self._touched.clear()
