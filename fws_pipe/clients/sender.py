"""A client as a sender: bounds its events in the chain, together with the replies in its outbox. No I/O of its own.

Back-pressure
-------------

A client that sends faster than the chain works, or than it reads the replies, is not read: TCP then slows it down. It
costs the others nothing, since what it may have under way is bounded:

    client -- under way in the chain --> replies in its outbox --> client
             '----------- together within its share -----------'

- The *share* bounds the bytes of both together. Replies are counted by what waits in the outbox and is the client's own
  (outbox.py); what others send it takes none of it. One message is always allowed, whatever its size, so no client
  waits for ever.
- The *window* bounds what is under way alone. What is under way can't be called back, and a filter may answer with much
  more than it was sent: 64 KiB under way may become megabytes of replies. So the window opens by what has come through
  while the replies find room, and closes by as much as they were too long, as TCP's does (RFC 5681).
- The *counts* bound how many events are under way: of one client, so that others don't wait behind it for more than
  some milliseconds, and of all together, so that a hundred of them don't do what one may not.

When something comes back, or goes out, or is lost with a chain, `discharge` and `note_room` tell the conversation that
is held.
"""

from __future__ import annotations

import trio

from fws_pipe.websocket.conversation import Held
from fws_pipe.websocket.wire import Wire

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


class Sender:
    """Counts one client's bytes and events in the chain.

    `share_limit` bounds the bytes, together with the replies in the outbox of `wire`. `load` counts the events of all
    clients.
    """

    __slots__ = ("_held", "_load", "_share", "_share_limit", "_under_way", "_under_way_count", "_window", "wire")

    def __init__(self, wire: Wire, share_limit: int, load: Load | None = None) -> None:
        self.wire = wire
        self._share_limit = share_limit
        self._load = load or Load()
        self._under_way = 0
        self._under_way_count = 0
        self._window = min(_FIRST_WINDOW_BYTES, share_limit)
        self._share: trio.lowlevel.ParkingLot | None = None
        self._held: Held | None = None
        """The object to notify of room while this client is not read."""

    def charge(self, size: int, count: int) -> None:
        """Note that `count` events of this client, of `size` bytes together, have gone to the chain."""
        self._under_way += size
        self._under_way_count += count
        self._load.events += count

    def discharge(self, size: int, count: int) -> None:
        """Note that `count` events, of `size` bytes together, have passed the chain, or are lost with it."""
        self._under_way -= size
        self._under_way_count -= count
        self._load.events -= count
        if self._window < self._share_limit or self.wire.outbox.size > self._share_limit:
            self._fit_window(size)
        if self._held is not None or self._share is not None:
            self.note_room()

    def hold(self, held: Held) -> None:
        """The client is not read from now on: notify `held` of room, until `let_go`."""
        self._held = held

    def let_go(self) -> None:
        """The client is read again, or has ended: notify no more."""
        self._held = None

    def note_room(self) -> None:
        """Called when there may be room: in the chain, or because something has gone out."""
        if self._share is not None:
            self._share.unpark_all()
        if self._held is not None:
            self._held.try_to_go_on()

    def _fit_window(self, size: int) -> None:
        """Open or close the window, now that `size` bytes have come through."""
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

    @property
    def has_under_way(self) -> bool:
        """Whether the chain is at work on anything that it has sent, or that this has caused."""
        return self._under_way_count > 0

    def must_wait(self, size: int) -> bool:
        """Whether this client's next event, of `size` bytes, must wait for its earlier ones and their replies.

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
        """Wait until a part of its share is free again."""
        if self._share is None:
            self._share = trio.lowlevel.ParkingLot()
        await self._share.park()

    def stop_waiting(self) -> None:
        """End the wait for its share, since the server stops."""
        if self._share is not None:
            self._share.unpark_all()
