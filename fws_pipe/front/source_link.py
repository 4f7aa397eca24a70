"""The front's side of the source: takes what other servers and programs have published, and tells of the membership.

Unlike the chain's own actions, published data can wait: while the chain is slow the source isn't read. And it may come
from any program that may publish in Redis: so no actions but sends, enqueues and counts are taken from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import trio

from fws_pipe.broker import FOUND_BY_SOURCE, LOST_BY_SOURCE
from fws_pipe.counters import Count, Counters
from fws_pipe.errors import SilenceError
from fws_pipe.front.membership_changes import MembershipChanges
from fws_pipe.ledger.link import Link
from fws_pipe.pipes.ends import Inlet, Outlet
from fws_pipe.protocol.actions import COUNT, ENQUEUE, SEND
from fws_pipe.protocol.codec import Frame, FrameDecoder, type_of
from fws_pipe.protocol.events import CONSUMER, TICK, consumer_event

SILENCE_S = 15.0
"""A source that has served hangs if it then leaves a tick unanswered for this long."""


class SourceLink:
    """The front's side of the source (`chain.supervisor.Exchange`)."""

    def __init__(self, link: Link, counters: Counters) -> None:
        self._link = link
        self._counters = counters
        self._changes = MembershipChanges(link.clients, self._note_tick_sent)
        self.ready = trio.Event()
        self._has_lost_redis = False
        self._awaits_tick = False
        self._patience = trio.CancelScope()

    @property
    def is_subscribed(self) -> bool:
        """Whether the source hears what is published."""
        return self.ready.is_set() and not self._has_lost_redis

    async def write_events(self, pipe: Outlet, known: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Tell the source of the clients, until cancelled."""
        await self._changes.run(pipe.write)

    async def execute_all(self, inlet: Inlet, source: str) -> None:
        """Execute the source's frames until it ends. Raises FrameError for bytes that aren't frames, SilenceError."""
        decoder = FrameDecoder(source)
        while block := await self._next_block(inlet, source):
            decoder.feed(block)
            for frame, _ in decoder:
                await self._execute(frame)
            self._link.clients.flush()
        decoder.finish()

    async def _execute(self, frame: Frame) -> None:
        kind = type_of(frame)
        if kind == TICK:
            self._awaits_tick = False
            self.ready.set()
        elif kind == CONSUMER:
            self._link.clients.flush()  # earlier messages need not wait until the feed has room
            await self._link.feed.put_from_outside(
                consumer_event(frame.get("channel"), frame.get("data"), frame.get("origin"))
            )
        elif kind in (SEND, ENQUEUE, COUNT):
            if kind == COUNT and frame.get("name") in (LOST_BY_SOURCE, FOUND_BY_SOURCE):
                self._has_lost_redis = frame["name"] == LOST_BY_SOURCE
            self._link.execute(frame)
        else:
            self._counters.add(Count.NOT_FROM_OUTSIDE)

    async def _next_block(self, inlet: Inlet, source: str) -> bytes:
        """Wait for the next block. Raises SilenceError if the source hangs.

        The time runs only in here: while the front waits for a slow chain, the source isn't to blame.
        """
        with trio.CancelScope() as self._patience:
            if self._awaits_tick:
                self._start_the_clock()
            return await inlet.read()
        raise SilenceError(f"{source} hangs: it has not answered for {SILENCE_S:.0f} s")

    def _note_tick_sent(self) -> None:
        if not self._awaits_tick:
            self._awaits_tick = True
            self._start_the_clock()

    def _start_the_clock(self) -> None:
        # The first tick tells that the source has reached Redis, which may take any time.
        self._patience.deadline = trio.current_time() + SILENCE_S if self.ready.is_set() else math.inf

    @property
    def returns_ticks(self) -> bool:
        """Always False: the first tick waits for Redis, for any time."""
        return False

    async def wait_stalled(self) -> None:
        """Wait for ever: a source that hangs is an error of `execute_all`."""
        await trio.sleep_forever()

    @property
    def ticks_under_way(self) -> tuple[int | None, int]:
        """No tick counts as under way: no client waits for the source."""
        return None, 0

    def nudge(self) -> None:
        """No-op."""

    def prepare_restart(self, *, is_replaced: bool, is_changed: bool) -> list[str]:
        """Prepare for the next source, which is told of all clients again. Returns no notes: nothing is lost."""
        self.ready = trio.Event()
        self._has_lost_redis = False
        self._awaits_tick = False
        return []

    def introduce(self) -> tuple[bytes, Mapping[str, bytes]]:
        """Always empty: a source is never replaced while it serves."""
        return b"", {}

    async def wait_idle(self) -> None:
        """No-op: a source owes no tick."""

    def finish_events(self) -> None:
        """No-op: the next source is told of all clients again."""

    def give_up_on_ticks(self) -> None:
        """No-op: the server serves while the source waits for Redis."""
