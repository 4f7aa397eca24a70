"""Taps copy the frames that go to a chain and come from it, each for one reader, bounded in bytes.

Without a tap nothing is copied. A tap whose reader is too slow is cut off, so that the chain never waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import trio

from fws_pipe.ledger.feed import Taps

TAP_LIMIT_BYTES = 1024 * 1024
"""The most that waits for a tap's reader."""


class Tap:
    """Copied frames that wait for one reader; at most `limit` bytes of them."""

    def __init__(self, limit: int = TAP_LIMIT_BYTES) -> None:
        self._limit = limit
        self._blocks: list[bytes] = []
        self._size = 0
        self._changed = trio.Event()
        self.cut_off = trio.Event()
        """Set when the reader was too slow: the tap copies nothing more."""

    def put(self, frames: bytes) -> None:
        """Add a copy of whole frames; never waits."""
        # If nothing waits, a block of any size has room.
        if self._size and self._size + len(frames) > self._limit:
            self.cut_off.set()
        if not self.cut_off.is_set():
            self._blocks.append(frames)
            self._size += len(frames)
            self._changed.set()

    async def take(self) -> bytes:
        """Wait for frames; returns all since the last call."""
        while not self._blocks:
            self._changed = trio.Event()
            await self._changed.wait()
        block = b"".join(self._blocks)
        self._blocks.clear()
        self._size = 0
        return block


class Joint(Protocol):
    """A place where passing frames can be copied."""

    taps: Taps


@contextlib.contextmanager
def tapped(joints: Sequence[Joint]) -> Iterator[Tap]:
    """Put one tap on all of these joints until the end of the block. A joint may have several taps."""
    tap = Tap()
    with contextlib.ExitStack() as open_taps:
        for joint in joints:
            open_taps.enter_context(added(joint, tap.put))
        yield tap


@contextlib.contextmanager
def added(joint: Joint, put: Callable[[bytes], object]) -> Iterator[None]:
    """Have `put` get what passes a joint, until the end of the block."""
    joint.taps = (*joint.taps, put)
    try:
        yield
    finally:
        joint.taps = tuple(other for other in joint.taps if other != put)
