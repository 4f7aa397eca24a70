"""What all clients together make the server keep in memory, and what is done when that is too much. No I/O, no clock.

Each client is bounded by limits of its own, and thousands of them together are more than a machine has. So they are
weighed a few times a second: the messages that they have begun to send, what waits for them, and the names of their
groups. When that exceeds the limit those are closed that hold most.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

SWEEP_S = 0.25
"""How often they are weighed. In between the limit may be exceeded by what arrives in that time."""

HolderT = TypeVar("HolderT", bound=Hashable)


def greediest(holdings: Iterable[tuple[HolderT, int]], limit: int) -> list[HolderT]:
    """Those that hold most, as many as must go so that the others are within the limit; sizes in bytes."""
    by_size = sorted(holdings, key=lambda holding: holding[1], reverse=True)
    excess = sum(size for _, size in by_size) - limit
    gone: list[HolderT] = []
    for holder, size in by_size:
        if excess <= 0:
            break
        gone.append(holder)
        excess -= size
    return gone
