"""Bounds the memory that all clients together use (--memory-limit). No I/O, no clock.

Each client has limits of its own, but thousands of clients at their limits use more than a machine has. So a few times
a second the server adds up their unfinished messages, their outboxes, the names of their groups and what is
remembered of them. When the sum exceeds the limit, the clients that hold most are closed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

SWEEP_S = 0.25
"""The seconds between two checks; bytes that arrive in between may exceed the limit."""

HolderT = TypeVar("HolderT", bound=Hashable)


def greediest(holdings: Iterable[tuple[HolderT, int]], limit: int) -> list[HolderT]:
    """The holders to close, largest first, so that the others are within `limit`. `holdings` are (holder, bytes)."""
    by_size = sorted(holdings, key=lambda holding: holding[1], reverse=True)
    excess = sum(size for _, size in by_size) - limit
    gone: list[HolderT] = []
    for holder, size in by_size:
        if excess <= 0:
            break
        gone.append(holder)
        excess -= size
    return gone
