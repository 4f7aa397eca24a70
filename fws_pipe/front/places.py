"""Who may come in: how many clients there are, in all and of one address, and how many shake hands. No I/O.

The lobby holds who has connected and is no client yet. When it is full nobody is refused: the listeners accept no more
until somebody has left it, and who comes waits in the kernel's queue, where it costs no descriptor. So clients that
all reconnect at once are served in order. Who connects and says nothing keeps nobody out for long: it makes room for
those who wait. Who has begun to say something has the handshake's time for it.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from typing import Protocol

import trio

from fws_pipe.front.handshake import FULL, Refusal, full_for_address
from fws_pipe.proxies import UNIX, group_of


class Places:
    """The clients' places; 0: any number."""

    def __init__(self, in_all: int, per_address: int) -> None:
        self._in_all = in_all
        self._per_address = per_address
        self._taken = 0
        self._by_address: Counter[str] = Counter()

    def refusal_for(self, host: str) -> Refusal | None:
        """Why a client from there can't have a place just now."""
        if 0 < self._in_all <= self._taken:
            return FULL
        if 0 < self._per_address <= self._by_address[group_of(host)] and host != UNIX:
            return full_for_address(self._per_address)
        return None

    def take(self, host: str) -> None:
        """A client has come."""
        self._taken += 1
        self._by_address[group_of(host)] += 1

    def give_back(self, host: str) -> None:
        """It has gone."""
        self._taken -= 1
        group = group_of(host)
        self._by_address[group] -= 1
        if not self._by_address[group]:
            del self._by_address[group]


SILENCE_S = 1.0
"""How long who has connected may say nothing while others wait. A client's first bytes follow its connection at once,
whatever way it has; only lost ones take longer."""


class Newcomer(Protocol):
    """A connection in the lobby."""

    @property
    def is_silent(self) -> bool:
        """Whether nothing at all has arrived from it."""

    def abort(self) -> None:
        """End it now; it leaves the lobby by that."""


class Lobby:
    """Those who shake hands, or are being refused; `limit` 0: any number."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._unheard: OrderedDict[Newcomer, float] = OrderedDict()
        """Those who had said nothing when they were last looked at, oldest first, and when they came."""
        self._changed = trio.lowlevel.ParkingLot()
        self.pauses = 0
        """How often nobody could be accepted."""
        self.turned_out = 0
        """How many have been ended because they said nothing while others waited."""

    def room(self, at_most: int) -> int:
        """How many more may come in now."""
        return min(at_most, self._limit - self._count) if self._limit else at_most

    def enter(self, newcomer: Newcomer) -> None:
        """Somebody has connected."""
        self._count += 1
        self._unheard[newcomer] = trio.current_time()

    def leave(self, newcomer: Newcomer) -> None:
        """One of them is a client now, or has gone."""
        self._count -= 1
        self._unheard.pop(newcomer, None)
        self._changed.unpark_all()

    async def wait_room(self) -> None:
        """Wait until somebody may come in. Somebody is waiting to: who has been silent for too long makes room."""
        if not self.room(1):
            self.pauses += 1
        while not self.room(1):
            since = self._oldest_silence()
            if since + SILENCE_S <= trio.current_time():
                self.turned_out += 1
                next(iter(self._unheard)).abort()
            else:
                with trio.move_on_at(since + SILENCE_S):
                    await self._changed.park()

    def _oldest_silence(self) -> float:
        """When the first of `_unheard` came, which says nothing still; infinity: there is none."""
        while self._unheard:
            newcomer, since = next(iter(self._unheard.items()))
            if newcomer.is_silent:
                return since
            del self._unheard[newcomer]
        return math.inf

    async def wait_empty(self) -> None:
        """Wait until nobody is there."""
        while self._count:
            await self._changed.park()
