"""Taps: copies of the frames that go to a chain and come from it, each for one reader, bounded in bytes.

Nothing is copied while there is no tap. A tap whose reader is too slow is cut off; the chain never waits for one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import trio

from fws_pipe.ledger.feed import Taps

TAP_LIMIT_BYTES = 1024 * 1024
"""What may wait for a tap's reader."""


class Tap:
    """Frames that wait for one reader."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._size = 0
        self._changed = trio.Event()
        self.cut_off = trio.Event()
        """Set when its reader was too slow: nothing more will come."""

    def put(self, frames: bytes) -> None:
        """Copy whole frames; never waits."""
        # A reader that keeps up gets a block of any size.
        if self._size and self._size + len(frames) > TAP_LIMIT_BYTES:
            self.cut_off.set()
        if not self.cut_off.is_set():
            self._blocks.append(frames)
            self._size += len(frames)
            self._changed.set()

    async def take(self) -> bytes:
        """What has come since the last call; waits for some."""
        while not self._blocks:
            self._changed = trio.Event()
            await self._changed.wait()
        block = b"".join(self._blocks)
        self._blocks.clear()
        self._size = 0
        return block


class Joint(Protocol):
    """A place where frames pass that may be copied."""

    taps: Taps


@contextlib.contextmanager
def tapped(joints: Sequence[Joint]) -> Iterator[Tap]:
    """A tap on all of these joints, until the end of the block. There may be others."""
    tap = Tap()
    for joint in joints:
        joint.taps = (*joint.taps, tap.put)
    try:
        yield tap
    finally:
        for joint in joints:
            joint.taps = tuple(other for other in joint.taps if other != tap.put)
