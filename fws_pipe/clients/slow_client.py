"""The policies for a slow client. No I/O."""

from __future__ import annotations

import enum


class SlowClient(enum.StrEnum):
    """What to do about a client whose outbox is full (--slow-client)."""

    CLOSE = "close"
    """The client is closed with 1013, and so knows that it has missed messages."""
    DROP_OLDEST = "drop-oldest"
    """The messages that have waited longest are dropped: for clients that want the newest."""
    DROP_NEWEST = "drop-newest"
    """The new message is dropped."""
