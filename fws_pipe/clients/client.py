"""One client: its identity, its groups, and its share of the chain. No I/O of its own: its wire has that."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import trio

from fws_pipe.http.handshake import Refusal
from fws_pipe.websocket.conversation import Held
from fws_pipe.websocket.frames import event_tail
from fws_pipe.websocket.wire import Wire


class Ping(NamedTuple):
    """A ping that was sent at the `check`th keep-alive check, and the last sign of life before it (trio's clock)."""

    since: float
    check: int


class GateAnswer(NamedTuple):
    """What the chain answers to a handshake, with --gate; `refusal` is None when the client may come in."""

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
        "_answered",
        "_held",
        "_load",
        "_share",
        "_share_limit",
        "_under_way",
        "_under_way_count",
        "_window",
        "addressed",
        "auth",
        "event_tail",
        "gate_answer",
        "groups",
        "id",
        "is_barred",
        "is_open",
        "open_event",
        "pinged",
        "subprotocol",
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
        self.gate_answer: GateAnswer | None = None
        """The chain's answer to its handshake, once there is one."""
        self._answered: trio.Event | None = None
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

    def answer(self, answer: GateAnswer) -> None:
        """Note what the chain answers to its handshake; the first answer counts."""
        if not self.is_open and self.gate_answer is None:
            self.gate_answer = answer
            if self._answered is not None:
                self._answered.set()

    async def wait_answered(self) -> None:
        """Wait for the chain's answer."""
        self._answered = trio.Event()
        if self.gate_answer is None:
            await self._answered.wait()

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
