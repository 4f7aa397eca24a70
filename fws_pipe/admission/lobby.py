"""The lobby: bounds how many handshakes are under way at once. No I/O.

It holds the connections that are no clients yet. When it is full, no connection is refused: the listeners stop
accepting until one has left, and the next ones wait in the kernel's queue, where they cost no descriptor. So clients
that all reconnect at once are served in order.

While others wait, the server ends two kinds of connections after GRACE_S: those that have sent nothing, and, of the
address with the most connections in the lobby, those that have sent only part of a request. All others have the
handshake's full time.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, Protocol

import trio

from fws_pipe.admission.proxies import group_of
from fws_pipe.http.handshake import CROWDED_OUT

GRACE_S = 1.0
"""How long the server waits for a connection's next bytes while others wait, in seconds. A client's first bytes follow
its connection at once, and the rest of its handshake soon, even on a slow network; only lost packets take longer."""


class Newcomer(Protocol):
    """A connection in the lobby."""

    @property
    def remote(self) -> tuple[str, int]:
        """The peer's (host, port)."""

    @property
    def is_silent(self) -> bool:
        """Whether no byte has arrived from it."""

    @property
    def has_unread(self) -> bool:
        """Whether bytes have arrived from it that the server has not read."""

    def dismiss(self, response: bytes) -> None:
        """End the connection now, and so take it out of the lobby; send the response if that takes no waiting."""


class _Waiting(NamedTuple):
    """A newcomer, and the time since when the server has been waiting for it (trio's clock, seconds)."""

    newcomer: Newcomer
    since: float


class AddressShares:
    """The newcomers of each group of addresses, and the largest group. Each method takes constant time."""

    def __init__(self) -> None:
        self._members: dict[str, OrderedDict[Newcomer, float]] = {}
        """Each group's newcomers and the time since when the server has been waiting for each, the earliest first."""
        self._groups_of_size: dict[int, OrderedDict[str, None]] = {}
        """A plain dict takes longer to find its first key the more have been deleted before it."""
        self.largest = 0
        """The number of newcomers in the largest group."""

    def add(self, group: str, newcomer: Newcomer, since: float) -> None:
        """Add a newcomer to a group; `since` is no earlier than that of any other."""
        members = self._members.setdefault(group, OrderedDict())
        members[newcomer] = since
        self._resize(group, len(members) - 1, len(members))

    def remove(self, group: str, newcomer: Newcomer) -> None:
        """Take a newcomer out of its group."""
        members = self._members[group]
        del members[newcomer]
        self._resize(group, len(members) + 1, len(members))
        if not members:
            del self._members[group]

    def _resize(self, group: str, before: int, now: int) -> None:
        if before:
            del self._groups_of_size[before][group]
            if not self._groups_of_size[before]:
                del self._groups_of_size[before]
        if now:
            self._groups_of_size.setdefault(now, OrderedDict())[group] = None
        if now > self.largest or self.largest not in self._groups_of_size:
            self.largest = now  # sizes change by one: the largest group is one smaller now, or no group is left

    def oldest_of_largest(self) -> _Waiting:
        """Of the largest group, the newcomer that the server has waited for longest. Raises KeyError without one."""
        return _Waiting(*next(iter(self._members_of_largest().items())))

    def postpone_oldest_of_largest(self, now: float) -> None:
        """Let the time of that newcomer begin again, now."""
        members = self._members_of_largest()
        newcomer, _ = members.popitem(last=False)
        members[newcomer] = now

    def _members_of_largest(self) -> OrderedDict[Newcomer, float]:
        return self._members[next(iter(self._groups_of_size[self.largest]))]


class Lobby:
    """The connections whose handshake or refusal is under way: at most `limit`; 0: any number.

    `tell` is called with the (host, port) of each connection that is turned out, and the reason.
    """

    def __init__(
        self, limit: int, tell: Callable[[tuple[str, int], str], object] = lambda remote, reason: None
    ) -> None:
        self._limit = limit
        self._tell = tell
        self._groups: dict[Newcomer, str | None] = {}
        """All newcomers, and the group of addresses that each counts for; None: for no group."""
        self._shares = AddressShares()
        self._unheard: OrderedDict[Newcomer, float] = OrderedDict()
        """The newcomers that had sent nothing at the last look, oldest first, and the time when each came."""
        self._changed = trio.lowlevel.ParkingLot()
        self._is_shut = False
        """Whether no connection is let in."""
        self.pauses = 0
        """How often accepting has paused because the lobby was full."""
        self.silent_turned_out = 0
        """How many connections were ended because they sent nothing while others waited."""
        self.crowded_out = 0
        """How many connections of the largest group were ended because they were slow while others waited."""

    def __len__(self) -> int:
        return len(self._groups)

    def room(self, at_most: int) -> int:
        """How many more connections may come in now, `at_most` at most."""
        if self._is_shut:
            return 0
        return min(at_most, self._limit - len(self._groups)) if self._limit else at_most

    def shut(self) -> None:
        """Let no connection in until `reopen`: they wait in the kernel's queue."""
        self._is_shut = True

    def reopen(self) -> None:
        """Let connections in again."""
        self._is_shut = False
        self._changed.unpark_all()

    def enter(self, newcomer: Newcomer, host: str | None) -> None:
        """Add a new connection. `host` is its client's address; None while only that of its proxy is known."""
        now = trio.current_time()
        self._unheard[newcomer] = now
        self._count_for(newcomer, host, now)

    def recognise(self, newcomer: Newcomer, host: str | None) -> None:
        """Count a newcomer for the address that its proxy has told; a no-op for one that has left."""
        if newcomer in self._groups:
            self._count_no_more(newcomer)
            self._count_for(newcomer, host, trio.current_time())
            self._changed.unpark_all()  # its group may be the largest now

    def leave(self, newcomer: Newcomer) -> None:
        """Take out a newcomer that is a client now, or has gone."""
        self._count_no_more(newcomer)
        self._unheard.pop(newcomer, None)
        self._changed.unpark_all()

    def _count_for(self, newcomer: Newcomer, host: str | None, now: float) -> None:
        group = self._groups[newcomer] = None if host is None else group_of(host)
        if group is not None:
            self._shares.add(group, newcomer, now)

    def _count_no_more(self, newcomer: Newcomer) -> None:
        group = self._groups.pop(newcomer)
        if group is not None:
            self._shares.remove(group, newcomer)

    async def wait_room(self) -> None:
        """Wait until a connection may come in. While this waits, newcomers that take too long are turned out."""
        if not self.room(1):
            self.pauses += 1
        while not self.room(1):
            until = self._make_room(trio.current_time())
            with trio.move_on_at(until):
                if not self.room(1):
                    await self._changed.park()

    def _make_room(self, now: float) -> float:
        """Turn out a newcomer that has taken too long; returns the time when, if nothing changes, there may be one."""
        silent = self._oldest_silence()
        if silent is not None and silent.since + GRACE_S <= now:
            self.silent_turned_out += 1
            self._turn_out(silent.newcomer, "said nothing while others waited", b"")
            return now
        slow = self._oldest_of_the_largest(now)
        if slow is not None and slow.since + GRACE_S <= now:
            self.crowded_out += 1
            self._turn_out(slow.newcomer, CROWDED_OUT.text, CROWDED_OUT.encode())
            return now
        return min((waiting.since + GRACE_S for waiting in (silent, slow) if waiting is not None), default=math.inf)

    def _turn_out(self, newcomer: Newcomer, reason: str, response: bytes) -> None:
        self._tell(newcomer.remote, reason)
        newcomer.dismiss(response)

    def _oldest_silence(self) -> _Waiting | None:
        """The oldest newcomer that has still sent nothing."""
        while self._unheard:
            waiting = _Waiting(*next(iter(self._unheard.items())))
            if waiting.newcomer.is_silent:
                return waiting
            del self._unheard[waiting.newcomer]
        return None

    def _oldest_of_the_largest(self, now: float) -> _Waiting | None:
        """Of the largest group, the newcomer that the server has waited for longest; None: no group has two.

        While a newcomer's bytes are unread the server isn't waiting for it, so its time begins again.
        """
        while self._shares.largest > 1:
            waiting = self._shares.oldest_of_largest()
            if waiting.since + GRACE_S > now or not waiting.newcomer.has_unread:
                return waiting
            self._shares.postpone_oldest_of_largest(now)
        return None

    async def wait_empty(self) -> None:
        """Wait until no connection is left."""
        while self._groups:
            await self._changed.park()
