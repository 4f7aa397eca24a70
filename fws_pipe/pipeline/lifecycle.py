"""When a chain that has died is started again. No I/O and no clock: the caller tells the time."""

from __future__ import annotations

START_INTERVAL_S = 1.0
"""A chain that has not served is started at most this often (s6 does the same)."""

FAILED_STARTS_LIMIT = 5
"""So many starts in a row that came to nothing, and the server stops."""


class RestartPolicy:
    """Counts the starts that failed in a row. A start has failed when the chain died before it had served.

    `limit` is how many of them it takes to give up; None: never.
    """

    def __init__(self, limit: int | None = FAILED_STARTS_LIMIT) -> None:
        self._limit = limit
        self._failed_starts = 0

    def delay_after(self, *, served: bool, started: float, died: float) -> float | None:
        """How many seconds to wait before the next start; None to give up. `started` and `died` are on one clock."""
        if served:
            self._failed_starts = 0
            return 0.0
        self._failed_starts += 1
        if self._limit is not None and self._failed_starts >= self._limit:
            return None
        return max(0.0, started + START_INTERVAL_S - died)
