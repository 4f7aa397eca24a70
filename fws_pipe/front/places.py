"""Who may come in: how many clients there are, in all and of one address, and how many shake hands. No I/O.

The lobby holds who has connected and is no client yet. When it is full nobody is refused: the listeners accept no more
until somebody has left it, and who comes waits in the kernel's queue, where it costs no descriptor. So clients that
all reconnect at once are served in order; and who connects and says nothing is gone after the handshake's timeout.
"""

from __future__ import annotations

from collections import Counter

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


class Lobby:
    """Those who shake hands, or are being refused; `limit` 0: any number."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._changed = trio.lowlevel.ParkingLot()
        self.pauses = 0
        """How often nobody could be accepted."""

    def room(self, at_most: int) -> int:
        """How many more may come in now."""
        return min(at_most, self._limit - self._count) if self._limit else at_most

    def enter(self) -> None:
        """Somebody has connected."""
        self._count += 1

    def leave(self) -> None:
        """One of them is a client now, or has gone."""
        self._count -= 1
        self._changed.unpark_all()

    async def wait_room(self) -> None:
        """Wait until somebody may come in."""
        if not self.room(1):
            self.pauses += 1
        while not self.room(1):
            await self._changed.park()

    async def wait_empty(self) -> None:
        """Wait until nobody is there."""
        while self._count:
            await self._changed.park()
