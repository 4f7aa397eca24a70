"""What has been written to the chain and may not have been read by it. No I/O.

A batch stays until its tick is back: what comes before a tick has been through the whole chain. When the chain dies,
the front asks for the frames that nobody has read to their end; they go to the next chain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

OwnerT = TypeVar("OwnerT")


@dataclass(slots=True)
class Entry(Generic[OwnerT]):
    """One event: its frame, its type, and whose it is (None: nobody's)."""

    frame: bytes
    kind: str
    owner: OwnerT | None
    is_charged: bool = True
    """Whether it still counts as the owner's share of the chain."""


@dataclass(slots=True)
class Batch(Generic[OwnerT]):
    """Entries that were written at once, closed by the tick `seq`. `start` and `end` are offsets in the pipe."""

    entries: list[Entry[OwnerT]]
    seq: int
    start: int
    end: int


class Journal(Generic[OwnerT]):
    """The batches of one run of a chain, oldest first."""

    def __init__(self) -> None:
        self._batches: deque[Batch[OwnerT]] = deque()
        self._end = 0

    def add(self, entries: list[Entry[OwnerT]], tick: bytes, seq: int) -> bytes:
        """Keep a batch; returns the bytes to write."""
        data = b"".join([*(entry.frame for entry in entries), tick])
        self._batches.append(Batch(entries, seq, self._end, self._end + len(data)))
        self._end += len(data)
        return data

    def entries(self) -> Iterator[Entry[OwnerT]]:
        """All entries that are kept, oldest first."""
        for batch in self._batches:
            yield from batch.entries

    def acknowledge(self, seq: int) -> Iterator[Entry[OwnerT]]:
        """The tick `seq` is back: forget all up to it; yields the entries."""
        while self._batches and self._batches[0].seq <= seq:
            yield from self._batches.popleft().entries

    def forget_before(self, offset: int) -> None:
        """Forget the batches that end at or before this offset: a chain that swallows ticks has read so far."""
        while self._batches and self._batches[0].end <= offset:
            self._batches.popleft()

    def end(self, consumed: int) -> tuple[list[Entry[OwnerT]], list[Entry[OwnerT]]]:
        """The chain is dead, having read `consumed` bytes. Returns the entries that it had read, then those it hadn't.

        A frame that it had read in part counts as unread: nobody can have acted on it.
        """
        read: list[Entry[OwnerT]] = []
        unread: list[Entry[OwnerT]] = []
        for batch in self._batches:
            offset = batch.start
            for entry in batch.entries:
                offset += len(entry.frame)
                (read if offset <= consumed else unread).append(entry)
        self._batches.clear()
        self._end = 0
        return read, unread
