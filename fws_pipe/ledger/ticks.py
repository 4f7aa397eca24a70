"""Ticks: they tell how far the chain has got, whether it serves, and whether it hangs.

A tick stands behind each batch of events, and every filter passes it on. So when the tick `n` comes back from the end
of the chain, all events before it have been through the whole chain, and the chain's answers have been executed.

    written >= settled (back) >= done (back, and nothing before it waits for Redis)

The numbers only rise. A chain may let no tick through, such as one with a `jq` that buffers its output: then a written
event counts as done, and a crash loses the events under way. Whether ticks come back is a state of its own, with a
total table.
"""

from __future__ import annotations

import enum
import math
import time
from collections import deque
from collections.abc import Callable
from types import MappingProxyType

import trio

from fws_pipe.counters import Histogram
from fws_pipe.websocket.frames import event_time, tick_frame

_STALL_CHECKS = 10
"""Checks of the oldest tick per stall timeout. The checks are counted and not timed, because whatever stopped the
server for a while may have stopped the chain as well.
"""

FIRST = 1
"""The number of the tick that the first chain gets before all events."""


class Returning(enum.Enum):
    """Whether ticks come back."""

    UNKNOWN = enum.auto()
    """None has come back yet: the chain may take long to start."""
    RETURNS = enum.auto()
    """One has come back: a chain that stops returning them hangs."""
    SWALLOWS = enum.auto()
    """None has come back in time: nothing is kept for a replay."""

    __hash__ = object.__hash__  # each member is a single object, so its name need not be hashed for each batch


class Finding(enum.Enum):
    """An observation about ticks."""

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
        # A tick has come back at the very moment at which the time was over.
        (Returning.RETURNS, Finding.GIVEN_UP): Returning.RETURNS,
        # The chain was only slow, or another one runs now.
        (Returning.SWALLOWS, Finding.COMES_BACK): Returning.RETURNS,
        (Returning.SWALLOWS, Finding.GIVEN_UP): Returning.SWALLOWS,
    }
)
"""The state to which each finding leads; total."""


class Ticks:
    """The ticks of one link, over all runs of its chain. `way_round` counts how long each was under way."""

    def __init__(self, way_round: Histogram) -> None:
        self._way_round = way_round
        self._under_way: deque[tuple[int, float]] = deque()
        """The ticks that are not back, and when they were written (monotonic clock). A replay changes neither."""
        self._returning = Returning.UNKNOWN
        self.are_swallowed = False
        """Whether the chain is known to let no tick through: nothing is kept for a replay."""
        self.written = FIRST
        """The number of the last tick that was written."""
        self.settled = FIRST
        """The number of the last tick that is back, or that was written to a chain which swallows ticks."""
        self.done = FIRST
        """The number of the last tick before which nothing need be kept."""
        self.ready = trio.Event()
        """Set once a tick of this run has come back, or is given up; each run has a new one."""
        self.count = 0
        """Ticks that have come back."""
        self._signs_of_life = 0
        """Signs of life other than ticks."""
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def are_returned(self) -> bool:
        """Whether any has ever come back: then a chain that returns none hangs."""
        return self._returning is Returning.RETURNS

    @property
    def pulse(self) -> int:
        """Rises with each tick that comes back, and with each other sign of life."""
        return self.count + self._signs_of_life

    def _find(self, finding: Finding) -> None:
        self._returning = FINDINGS[self._returning, finding]
        self.are_swallowed = self._returning is Returning.SWALLOWS

    def first(self) -> bytes:
        """The tick that proves, once it is back, that a new chain serves.

        Its number is repeated from a finished tick, since answers to old numbers are suppressed.
        """
        return tick_frame(self.done, event_time(time.time()))

    def begin_run(self) -> None:
        """Begin with a new chain, which isn't known to serve yet."""
        self.ready = trio.Event()

    def note_written(self, seq: int) -> None:
        """Note that a tick is being written for the first time."""
        self.written = seq
        if not self.are_swallowed:
            self._under_way.append((seq, time.monotonic()))

    def note_back(self, seq: int) -> None:
        """Note that a tick has come back, and so have those before it."""
        now = time.monotonic()
        while self._under_way and self._under_way[0][0] <= seq:
            self._way_round.observe(now - self._under_way.popleft()[1])
        self._find(Finding.COMES_BACK)
        self.count += 1
        self.ready.set()

    @property
    def oldest_age_s(self) -> float:
        """How long the oldest tick has been under way, in seconds; 0: none is."""
        return time.monotonic() - self._under_way[0][1] if self._under_way else 0.0

    def give_up(self) -> None:
        """Serve without ticks: the time for the first one is over."""
        self._find(Finding.GIVEN_UP)
        if self.are_swallowed:
            self._under_way.clear()
        self.ready.set()

    def note_life(self) -> None:
        """Note that the chain doesn't hang, though ticks are late: a filter says that it waits for something else."""
        self._signs_of_life += 1

    def settle(self, seq: int) -> None:
        """Note that the events before this tick have been through the chain."""
        self.settled = max(seq, self.settled)
        self.tell()

    def note_done(self, seq: int) -> None:
        """Note that nothing before this tick need be kept."""
        self.done = max(seq, self.done)

    def tell(self) -> None:
        """Wake the tasks in `wait_change`."""
        if self._changed:
            self._changed.unpark_all()

    async def wait_change(self) -> None:
        """Wait until a tick has settled, or `tell` is called."""
        await self._changed.park()

    async def wait_stalled(self, timeout_s: float, oldest: Callable[[], int | None]) -> None:
        """Wait until the chain owes a tick and has returned none for `timeout_s` seconds; 0: for ever.

        `oldest` gives the number of the oldest tick that is not back.
        """
        seen, checks = self._progress(oldest), 0
        while not timeout_s or checks < _STALL_CHECKS:
            await trio.sleep(timeout_s / _STALL_CHECKS if timeout_s else math.inf)
            now = self._progress(oldest)
            checks = checks + 1 if now[0] is not None and now == seen else 0
            seen = now

    def _progress(self, oldest: Callable[[], int | None]) -> tuple[int | None, int]:
        """The tick that is owed, if any, and the pulse."""
        owed = None
        if self.are_returned:
            owed = oldest() if self.ready.is_set() else self.done
        return owed, self.pulse
