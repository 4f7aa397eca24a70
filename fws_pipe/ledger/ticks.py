"""What ticks tell: how far the chain is, whether it serves, and whether it hangs.

A tick stands behind each batch of events, and every filter passes it on. So when the tick `n` comes back from the end
of the chain, everything before it has been through the whole chain, and what the chain has answered has been executed.

    written >= settled (back) >= done (back, and nothing before it waits for Redis)

The numbers only rise. A chain may turn out to let no tick through, as one with `jq` that holds its output back does:
then what is written counts as done, and what a crash interrupts is lost. Whether ticks come back has a state of its
own, with a total table.
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable
from types import MappingProxyType

import trio

from fws_pipe.websocket.frames import event_time, tick_frame

_STALL_CHECKS = 10
"""How many times within a stall timeout the oldest tick is looked at. Counted, not timed: when the server itself has
been stopped for a while, the chain may have been as well.
"""

FIRST = 1
"""The number of the tick that the first chain gets before all events."""


class Returning(enum.Enum):
    """Whether ticks come back."""

    UNKNOWN = enum.auto()
    """None has, yet: how long the chain's start takes is not known."""
    RETURNS = enum.auto()
    """One has: a chain that now returns none hangs."""
    SWALLOWS = enum.auto()
    """None has within the time for that: nothing is kept for a replay."""

    __hash__ = object.__hash__  # there is one object for each: no need to hash its name for each batch


class Finding(enum.Enum):
    """What is found out about ticks."""

    COMES_BACK = enum.auto()
    """A tick has come back."""
    GIVEN_UP = enum.auto()
    """The time for the first one is over."""

    __hash__ = object.__hash__


FINDINGS = MappingProxyType(
    {
        (Returning.UNKNOWN, Finding.COMES_BACK): Returning.RETURNS,
        (Returning.UNKNOWN, Finding.GIVEN_UP): Returning.SWALLOWS,
        (Returning.RETURNS, Finding.COMES_BACK): Returning.RETURNS,
        # One has come back in the very moment in which the time was over.
        (Returning.RETURNS, Finding.GIVEN_UP): Returning.RETURNS,
        # It was only slow; or there is another chain now.
        (Returning.SWALLOWS, Finding.COMES_BACK): Returning.RETURNS,
        (Returning.SWALLOWS, Finding.GIVEN_UP): Returning.SWALLOWS,
    }
)
"""What each finding leads to: total."""


class Ticks:
    """The ticks of one link, over all runs of its chain."""

    def __init__(self) -> None:
        self._returning = Returning.UNKNOWN
        self.are_swallowed = False
        """Whether the chain has been found to let none through: nothing is kept for the next one."""
        self.written = FIRST
        """The last one that was written."""
        self.settled = FIRST
        """The last one that is back, or that was written to a chain which swallows them."""
        self.done = FIRST
        """The last one before which nothing need be kept."""
        self.ready = trio.Event()
        """Set once a tick of this run has come back, or is not waited for any more; a new one for each run."""
        self.count = 0
        """How many have come back."""
        self._signs_of_life = 0
        """Other than ticks."""
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def are_returned(self) -> bool:
        """Whether one has ever come back: then a chain that returns none hangs."""
        return self._returning is Returning.RETURNS

    @property
    def pulse(self) -> int:
        """Rises with each tick that comes back, and with each other sign of life."""
        return self.count + self._signs_of_life

    def _find(self, finding: Finding) -> None:
        self._returning = FINDINGS[self._returning, finding]
        self.are_swallowed = self._returning is Returning.SWALLOWS

    def first(self) -> bytes:
        """A tick that tells, when it is back, that a chain serves.

        It repeats a number that is done with: what filters make of old numbers is suppressed.
        """
        return tick_frame(self.done, event_time(time.time()))

    def begin_run(self) -> None:
        """There is a new chain: whether it serves is not known."""
        self.ready = trio.Event()

    def note_back(self) -> None:
        """A tick that was written has come back."""
        self._find(Finding.COMES_BACK)
        self.count += 1
        self.ready.set()

    def give_up(self) -> None:
        """The time for the first one is over: serve all the same."""
        self._find(Finding.GIVEN_UP)
        self.ready.set()

    def note_life(self) -> None:
        """A filter waits for something else: the chain doesn't hang."""
        self._signs_of_life += 1

    def settle(self, seq: int) -> None:
        """What stands before this tick has been through the chain."""
        self.settled = max(seq, self.settled)
        self.tell()

    def note_done(self, seq: int) -> None:
        """Nothing before this tick need be kept."""
        self.done = max(seq, self.done)

    def tell(self) -> None:
        """Wake those who wait for a change."""
        if self._changed:
            self._changed.unpark_all()

    async def wait_change(self) -> None:
        """Wait until a tick has settled, or `tell` is called."""
        await self._changed.park()

    async def wait_stalled(self, timeout_s: float, oldest: Callable[[], int | None]) -> None:
        """Wait until no tick has come back for `timeout_s` seconds though one is owed; 0: for ever.

        `oldest` gives the oldest tick that is not back.
        """
        seen, checks = self._progress(oldest), 0
        while not timeout_s or checks < _STALL_CHECKS:
            await trio.sleep(timeout_s / _STALL_CHECKS if timeout_s else math.inf)
            now = self._progress(oldest)
            checks = checks + 1 if now[0] is not None and now == seen else 0
            seen = now

    def _progress(self, oldest: Callable[[], int | None]) -> tuple[int | None, int]:
        """The tick that is owed, if any, and what shows that the chain goes on."""
        owed = None
        if self.are_returned:
            owed = oldest() if self.ready.is_set() else self.done
        return owed, self.pulse
