"""Puts the lines of one input into the feed of each chain, as `consumer` events on one channel.

An input gets as much of the chain as a client does: of its lines so much is under way at a time, and it waits for the
rest. So an input that never pauses fills neither the feed nor the pipes for everybody else, and is itself not read.
With several chains it waits for the slowest, so that each gets every line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import trio

from fws_pipe.counters import Count, Counters
from fws_pipe.ledger.feed import Feed
from fws_pipe.pipes.line_cutter import LineCutter
from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.events import consumer_event
from fws_pipe.wording import counted

UNDER_WAY_BYTES = 512 * 1024
"""How much of an input may be under way in the chain; one line may exceed it."""

EVENT_BYTES = 256
"""What an event counts beside its text: 2048 short lines are under way at most, as many as messages of a client."""

_TURN_LINES = 64
"""After so many lines other tasks have a turn: a block may hold a hundred thousand."""

_COMPLAINT_S = 10.0
"""The least time between two log lines about lines that were left out."""


class _UnderWay:
    """What of an input is under way in one chain."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._events: deque[tuple[int, int]] = deque()
        """The number and the weight of each event that may not be through the chain."""
        self._weight = 0

    async def put(self, event: Frame, weight: int) -> bool:
        """Put an event, once there is room. False when it comes too late."""
        while self._weight >= UNDER_WAY_BYTES:
            seq, done = self._events.popleft()
            await self._feed.wait_settled(seq)
            self._weight -= done
        if not await self._feed.put_from_outside(event):
            return False
        self._events.append((self._feed.last_event, weight))
        self._weight += weight
        return True


class LineFeed:
    """One input's way into all `feeds`: blocks of bytes become events on `channel`. `say` logs under its name."""

    def __init__(
        self,
        channel: str,
        feeds: Callable[[], Sequence[Feed]],
        limit: int,
        counters: Counters,
        say: Callable[[str], object],
    ) -> None:
        """`feeds` gives those of now; `limit` is the largest line, in bytes."""
        self._channel = channel
        self._feeds = feeds
        self._limit = limit
        self._cutter = LineCutter(limit)
        self._counters = counters
        self._say = say
        self._under_way: dict[Feed, _UnderWay] = {}
        self._putting = trio.Lock()
        """Held while a block is being put."""
        self._dropped = 0
        """Dropped lines that were counted: those of the cutter as of the last block."""
        self._untold = 0
        """Dropped lines that the log has not told of."""
        self._complaint_due = 0.0
        self._lost = 0
        """Lines that came too late: the server ends."""

    async def put(self, block: bytes) -> None:
        """Put the lines that end in this block; waits while the chain is slow."""
        await self._put_all(self._cutter.feed(block))

    async def finish(self) -> None:
        """The input has ended: what stands behind the last newline is a line, too."""
        await self._put_all(self._cutter.finish())
        self._tell_dropped()

    async def wait_idle(self) -> None:
        """Wait until what was given to `put` is in the feed."""
        async with self._putting:
            pass

    async def _put_all(self, lines: Iterable[bytes]) -> None:
        self._note_dropped()
        async with self._putting:
            for number, line in enumerate(lines, start=1):
                await self._put(_text_of(line))
                if number % _TURN_LINES == 0:
                    await trio.lowlevel.checkpoint()
        self._tell_lost()

    async def _put(self, line: str | bytes) -> None:
        feeds = self._feeds()
        self._under_way = {feed: self._under_way.get(feed) or _UnderWay(feed) for feed in feeds}
        event = consumer_event(self._channel, line, None)
        took = [await self._under_way[feed].put(event, len(line) + EVENT_BYTES) for feed in feeds]
        self._lost += not all(took)

    def _note_dropped(self) -> None:
        dropped, self._dropped = self._cutter.dropped - self._dropped, self._cutter.dropped
        if dropped:
            self._counters.add(Count.LINES_TOO_LONG, dropped)
            self._untold += dropped
            if trio.current_time() >= self._complaint_due:
                self._tell_dropped()

    def _tell_dropped(self) -> None:
        if self._untold:
            self._complaint_due = trio.current_time() + _COMPLAINT_S
            self._say(f"dropped {counted(self._untold, 'line')} of more than {self._limit} bytes; see --max-message")
            self._untold = 0

    def _tell_lost(self) -> None:
        if self._lost:
            self._counters.add(Count.LINES_LOST, self._lost)
            self._say(f"{counted(self._lost, 'line')} that had been read came too late: the server has stopped")
            self._lost = 0


def _text_of(line: bytes) -> str | bytes:
    """A line's text; its bytes if it isn't UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line
