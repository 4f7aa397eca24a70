"""What has been written to the chain and may not have been read by it. No I/O.

A batch stays until its tick is back: what comes before a tick has been through the whole chain. Batches are kept as the
bytes that were written, so keeping them costs nothing; only when the chain dies are they taken apart again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from fws_pipe.protocol.codec import Frame, FrameDecoder

OwnerT = TypeVar("OwnerT")


class Charge(NamedTuple, Generic[OwnerT]):
    """How many bytes and events of a batch are an owner's."""

    owner: OwnerT
    size: int
    events: int


class Batch(NamedTuple, Generic[OwnerT]):
    """Events that were written at once, closed by the tick `seq`. `end` is the offset in the pipe behind them."""

    data: bytes
    seq: int
    end: int
    charges: list[Charge[OwnerT]]


class Journal(Generic[OwnerT]):
    """The batches of one run of a chain, oldest first."""

    def __init__(self) -> None:
        self._batches: deque[Batch[OwnerT]] = deque()
        self._end = 0

    def add(self, data: bytes, seq: int, charges: list[Charge[OwnerT]]) -> None:
        """Keep a batch that is about to be written."""
        self._end += len(data)
        self._batches.append(Batch(data, seq, self._end, charges))

    def charges(self) -> Iterator[Charge[OwnerT]]:
        """All charges of what is kept."""
        for batch in self._batches:
            yield from batch.charges

    def acknowledge(self, seq: int) -> Iterator[Charge[OwnerT]]:
        """The tick `seq` is back: forget all up to it; yields what its owners are free of."""
        while self._batches and self._batches[0].seq <= seq:
            yield from self._batches.popleft().charges

    def forget_before(self, offset: int) -> None:
        """Forget the batches that end at or before this offset: a chain that swallows ticks has read so far."""
        while self._batches and self._batches[0].end <= offset:
            self._batches.popleft()

    def end(self, consumed: int) -> tuple[list[Kept], list[Kept]]:
        """The chain is dead, having read `consumed` bytes. Returns the events that it had read, then those it hadn't.

        A frame that it had read in part counts as unread: nobody can have acted on it.
        """
        read: list[Kept] = []
        unread: list[Kept] = []
        for batch in self._batches:
            offset = batch.end - len(batch.data)
            for kept in frames_of([batch.data]):
                offset += len(kept.raw)
                (read if offset <= consumed else unread).append(kept)
        self._batches.clear()
        self._end = 0
        return read, unread


class Kept(NamedTuple):
    """An event that was kept, and its bytes."""

    event: Frame
    raw: bytes


def frames_of(blocks: Iterable[bytes]) -> Iterator[Kept]:
    """Take blocks of whole frames of our own apart."""
    decoder = FrameDecoder("our own journal")
    for block in blocks:
        decoder.feed(block)
        for event, raw in decoder:
            yield Kept(event, raw)
