"""Puts the lines of one input into the feed of each chain, as `consumer` events on one channel.

An input has a share of the chain, as a client has: it isn't read while 512 KiB of its lines are under way. So an input
that never pauses leaves room in the feed and the pipes for the clients. With several chains it waits for the slowest,
so that each gets every line.
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
"""An input waits while this much of it is under way in a chain; one line may exceed it."""

EVENT_BYTES = 256
"""The weight of an event beside its text, so that at most 2048 short lines are under way, as many as messages of a
client.
"""

_TURN_LINES = 64
"""After this many lines other tasks get a turn: a block may hold a hundred thousand."""

_COMPLAINT_S = 10.0
"""The least time between two log lines about dropped lines."""


class _UnderWay:
    """The events of an input that are under way in one chain."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._events: deque[tuple[int, int]] = deque()
        """The number and the weight of each event that may still be under way."""
        self._weight = 0

    async def put(self, event: Frame, weight: int) -> bool:
        """Put an event once there is room. Returns False if the feed takes no more events from outside."""
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
    """Cuts an input into lines, which become events on `channel`, and puts them into all feeds."""

    def __init__(
        self,
        channel: str,
        feeds: Callable[[], Sequence[Feed]],
        limit: int,
        counters: Counters,
        say: Callable[[str], object],
    ) -> None:
        """`feeds` gives the present feeds; `limit` is the longest line, in bytes; `say` logs under the input's name."""
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
        """Lines that the feed did not take, since the server ends."""

    async def put(self, block: bytes) -> None:
        """Put the lines that end in this block; waits while the chain is slow."""
        await self._put_all(self._cutter.feed(block))

    async def finish(self) -> None:
        """Put the rest behind the last newline as a line: the input has ended."""
        await self._put_all(self._cutter.finish())
        self._tell_dropped()

    async def wait_idle(self) -> None:
        """Wait until the lines that were given to `put` are in the feeds."""
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
            self._say(f"lost {counted(self._lost, 'line')} that had been read: the server has stopped")
            self._lost = 0


def _text_of(line: bytes) -> str | bytes:
    """A line's text; its bytes if it isn't UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line
