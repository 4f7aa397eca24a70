"""The policies for a slow client. No I/O."""

from __future__ import annotations

import enum


class SlowClient(enum.StrEnum):
    """What to do about a client whose outbox is full (--slow-client)."""

    CLOSE = "close"
    """It is closed, with 1013: it knows then that it has missed something."""
    DROP_OLDEST = "drop-oldest"
    """What has waited longest is dropped: for those who want the newest."""
    DROP_NEWEST = "drop-newest"
    """What has just come is dropped."""
