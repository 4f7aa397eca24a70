"""The server's counters and gauges. No I/O.

The front's own counters are an enum. Filters and the other processes count under names of their own (`count` actions).
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
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


class Counters:
    """The counters of one server. They only rise."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        """The front's own counters, and refusals by status."""
        self._named: Counter[str] = Counter()
        """The counters of filters and other processes; their names may be the same as the front's."""

    def add(self, count: Count, by: int = 1) -> int:
        """Add to a counter; returns its new value."""
        self._counts[count] += by
        return self._counts[count]

    def add_refusal(self, status: int) -> None:
        """Count a handshake that was refused with this HTTP status."""
        self._counts[f"refused {status}"] += 1

    def add_named(self, name: str, by: int) -> None:
        """Add to a counter of a filter; to FURTHER_NAMES for a new name beyond MOST_NAMES of them."""
        is_known = name in self._named or len(self._named) < MOST_NAMES
        self._named[name if is_known else Count.FURTHER_NAMES.value] += by

    def __getitem__(self, count: Count) -> int:
        return self._counts[count]

    def copy(self) -> Mapping[str, int]:
        """An immutable copy of all counters; a missing one is 0."""
        together = self._counts.copy()
        together.update(self._named)
        return MappingProxyType(together)
