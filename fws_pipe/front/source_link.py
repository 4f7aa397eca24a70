"""The front's side of the source: what other servers and programs have published comes in, and the membership goes out.

Unlike the chain's own actions, what comes in can wait: when the chain is slow the source isn't read. And what comes in
may be anybody's who may publish in Redis: nothing but messages is taken from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import trio

from fws_pipe.counters import Count, Counters
from fws_pipe.errors import SilenceError
from fws_pipe.front.membership_changes import MembershipChanges
from fws_pipe.ledger.link import Link
from fws_pipe.pipes.ends import Inlet, Outlet
from fws_pipe.protocol.actions import COUNT, ENQUEUE, SEND
from fws_pipe.protocol.codec import Frame, FrameDecoder, type_of
from fws_pipe.protocol.events import CONSUMER, TICK, consumer_event

SILENCE_S = 15.0
"""A source that has served and then leaves a tick without an answer for so long hangs."""


class SourceLink:
    """The front's side of the source (`chain.supervisor.Exchange`)."""

    def __init__(self, link: Link, counters: Counters) -> None:
        self._link = link
        self._counters = counters
        self._changes = MembershipChanges(link.clients, self._note_tick_sent)
        self.ready = trio.Event()
        self._awaits_tick = False
        self._patience = trio.CancelScope()

    async def write_events(self, pipe: Outlet, known: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Tell the source of the clients, for ever."""
        await self._changes.run(pipe.write)

    async def execute_all(self, inlet: Inlet, source: str) -> None:
        """Take what the source sends to its end. Raises FrameError for what isn't frames, SilenceError if it hangs."""
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
            self._link.clients.flush()  # what came before it need not wait with it
            await self._link.feed.put_from_outside(
                consumer_event(frame.get("channel"), frame.get("data"), frame.get("origin"))
            )
        elif kind in (SEND, ENQUEUE, COUNT):
            self._link.execute(frame)
        else:
            self._counters.add(Count.NOT_FROM_OUTSIDE)

    async def _next_block(self, inlet: Inlet, source: str) -> bytes:
        """The next block. Raises SilenceError.

        The time counts only here: when the chain is slow it is not the source that keeps us waiting.
        """
        with trio.CancelScope() as self._patience:
            if self._awaits_tick:
                self._start_the_clock()
            return await inlet.read()
        raise SilenceError(f"{source} is silent: it has not answered for {SILENCE_S:.0f} s")

    def _note_tick_sent(self) -> None:
        if not self._awaits_tick:
            self._awaits_tick = True
            self._start_the_clock()

    def _start_the_clock(self) -> None:
        # The first tick says that Redis has been reached, which may take for ever.
        self._patience.deadline = trio.current_time() + SILENCE_S if self.ready.is_set() else math.inf

    @property
    def returns_ticks(self) -> bool:
        """Never to be counted on: the first one waits for Redis."""
        return False

    async def wait_stalled(self) -> None:
        """For ever: silence is an error of `execute_all`."""
        await trio.sleep_forever()

    @property
    def ticks_under_way(self) -> tuple[int | None, int]:
        """All are back: no client waits for the source."""
        return None, 0

    def nudge(self) -> None:
        """No-op."""

    def prepare_restart(self, *, is_replaced: bool, is_changed: bool) -> list[str]:
        """The source has died: the next one is told everything again, so nothing is lost and nothing waits."""
        self.ready = trio.Event()
        self._awaits_tick = False
        return []

    def introduce(self) -> tuple[bytes, Mapping[str, bytes]]:
        """Nothing: no source is ever replaced while it serves."""
        return b"", {}

    async def wait_idle(self) -> None:
        """A source owes nothing."""

    def finish_events(self) -> None:
        """Nothing: whatever a source has missed the next one is told."""

    def give_up_on_ticks(self) -> None:
        """The source has not come up yet: the server serves without."""
