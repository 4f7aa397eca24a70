"""The server's counters and gauges. No I/O.

The front's own counters are an enum. Filters and the other processes count under names of their own (`count` actions).
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

MOST_NAMES = 1000
"""How many names of filters are counted: a filter that makes up a new name each time must not fill the memory."""


class Count(enum.StrEnum):
    """The front's own counters; each value is the counter's name in the log."""

    # Handshakes.
    TLS_TOO_SLOW = "TLS handshake too slow"
    TLS_FAILED = "TLS handshake failed"
    NOT_OFFERED = "accepted with a subprotocol that was not offered"
    ACCEPTING_PAUSED = "accepting paused"
    SILENT_TURNED_OUT = "silent while others waited"
    CROWDED_OUT = "slow while others waited"

    # Pages.
    FILE_TOO_SLOW = "files read too slowly"
    FILE_CUT_SHORT = "files that became shorter while they were sent"

    # Clients that are closed, or held back, for what they do.
    MESSAGE_TOO_LARGE = "message too large"
    TOO_MANY_FRAGMENTS = "too many fragments"
    MESSAGE_TOO_SLOW = "message too slow"
    TOO_FAST = "too fast"
    HELD_BACK = "held back by its rate"
    IDLE = "idle"
    SILENT = "silent"
    MEMORY_FULL = "memory full"
    NOT_SERVED = "clients that the chain can't serve"

    # What is sent to clients.
    GONE = "gone"
    """Messages and other actions for clients that have left."""
    SLOW = "slow"
    """Clients closed for a full outbox."""
    DROPPED_FOR_SLOW = "dropped for slow clients"
    """Messages dropped where slow clients aren't closed (--slow-client)."""

    # The chain.
    BAD_ACTION = "bad action"
    UNKNOWN_TYPE = "unknown type"
    MADE_UP_TICKS = "made-up ticks"
    NOT_FROM_OUTSIDE = "actions that may not come from outside"
    JOINS_OVER_LIMIT = "joins over --max-groups"
    NOT_REMEMBERED = "values over what a client may remember"
    QUARANTINED = "events quarantined"
    SKIPPED = "events skipped and not kept"
    CONSUMER_DROPPED = "consumer events dropped"
    JOURNAL_FULL = "journal full"
    SUPPRESSED = "suppressed"
    PUBLISHES_LOST = "publishes lost"
    LINES_TOO_LONG = "input lines too long"
    LINES_LOST = "input lines lost"
    """Lines that were read while the server ended, and that no chain has got."""
    STDOUT_DROPPED = "stdout lines dropped"
    FURTHER_NAMES = "counts under further names"


class Gauge(enum.StrEnum):
    """Quantities at one moment; each value is the gauge's name."""

    CLIENTS = "clients"
    HANDSHAKES = "handshakes under way"
    JOURNAL_BYTES = "bytes in the journal"
    HELD_BYTES = "bytes that clients make the server keep"


@dataclass(frozen=True)
class Statistics:
    """All counters and gauges as they were at one moment."""

    counts: Mapping[str, int]
    """The counters by name: those of `Count`, "refused STATUS", and those of filters."""
    gauges: Mapping[Gauge, int]

    def describe(self) -> str:
        """The counters above 0 as text for the log, "name: count, name: count"; empty where all are 0."""
        return ", ".join(f"{name}: {count}" for name, count in self.counts.items() if count)


CHAIN_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The histogram's bounds for a tick's way through the chain: from an idle chain of one filter to one that hangs."""


class Histogram:
    """Counts values by upper bounds, which rise. `buckets` has one more: for values above all bounds."""

    __slots__ = ("bounds", "buckets", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        """How many values lie within each bound and above the one before it."""
        self.total = 0.0
        """The sum of all values."""

    def observe(self, value: float) -> None:
        """Count one value."""
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.total += value


MOST_CODES = 64
"""How many close codes are counted one by one: clients choose among 3,000."""

OTHER_CODES = "other"


class Traffic:
    """What passes between the front and its chains, counted in runs and batches. One writer a field: the links."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        """Events for the chain, by type; those that a new chain gets again are not counted again."""
        self.actions: Counter[str] = Counter()
        """Actions that were executed, by type; a joined `send` counts once for each of its messages."""
        self.closes: Counter[str] = Counter()
        """Connections that have ended, by close code."""
        self.chain_seconds = Histogram(CHAIN_SECONDS)
        """The ticks' way round: from the front through the chain and back."""

    def note_close(self, code: int) -> None:
        """Count a connection that has ended with this code."""
        name = str(code)
        is_known = name in self.closes or len(self.closes) < MOST_CODES
        self.closes[name if is_known else OTHER_CODES] += 1


class Counters:
    """The counters of one server. They only rise."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self._counts: Counter[str] = Counter()
        """The front's own counters."""
        self._refused: Counter[int] = Counter()
        """Handshakes that were refused, by HTTP status."""
        self._named: Counter[str] = Counter()
        """The counters of filters and other processes; their names may be the same as the front's."""

    def add(self, count: Count, by: int = 1) -> int:
        """Add to a counter; returns its new value."""
        self._counts[count] += by
        return self._counts[count]

    def add_refusal(self, status: int) -> None:
        """Count a handshake that was refused with this HTTP status."""
        self._refused[status] += 1

    def add_named(self, name: str, by: int) -> None:
        """Add to a counter of a filter; to FURTHER_NAMES for a new name beyond MOST_NAMES of them."""
        is_known = name in self._named or len(self._named) < MOST_NAMES
        self._named[name if is_known else Count.FURTHER_NAMES.value] += by

    def __getitem__(self, count: Count) -> int:
        return self._counts[count]

    def copy(self) -> Mapping[str, int]:
        """An immutable copy of all counters; a missing one is 0."""
        return MappingProxyType(self._counts + self.others())

    def others(self) -> Counter[str]:
        """A copy of the counters that aren't in `Count`: "refused STATUS", and those of filters and other processes."""
        together = Counter({f"refused {status}": count for status, count in self._refused.items()})
        together.update(self._named)
        return together

    @property
    def own(self) -> Counter[str]:
        """A copy of the front's own counters."""
        return self._counts.copy()

    @property
    def refused(self) -> Mapping[int, int]:
        """The handshakes that were refused, by HTTP status."""
        return MappingProxyType(self._refused)

    @property
    def named(self) -> Mapping[str, int]:
        """The counters of filters and other processes, by name."""
        return MappingProxyType(self._named)
