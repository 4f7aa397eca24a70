"""The chain that is to take the place of the one that runs: it starts beside it, and shows first that it serves.

It hears of all clients, as a chain does that starts after a crash, and gets a tick; what it answers until that is back
is kept for whoever takes it over. Then the old one finishes what it has, and only then the new one hears what has
changed, and gets the events that have waited: so the order of each client's events is kept. One that fails here costs
nobody anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import trio

from fws_pipe.chain.spawn import LADDER, Program, RunningChain, Surroundings, start_chain, wait_for_any
from fws_pipe.errors import FrameError
from fws_pipe.log import Log
from fws_pipe.protocol.codec import FrameDecoder, type_of
from fws_pipe.protocol.events import TICK

TICK_TIMEOUT_S = 10.0
"""A chain that lets no tick through for so long after its start is taken to swallow them."""


_ANSWER_LIMIT_BYTES = 64 * 1024 * 1024
"""What a chain may say before its first tick is back: an answer to each of some hundred thousand clients."""


class Introducer(Protocol):
    """Who tells a new chain of the clients."""

    @property
    def returns_ticks(self) -> bool:
        """Whether the chain that runs lets ticks through."""

    def introduce(self) -> tuple[bytes, Mapping[str, bytes]]:
        """A snapshot with a tick behind it, and what it tells of whom."""


class Successor:
    """At most one chain that gets ready, or stands ready. Of what is asked for meanwhile the last comes after it."""

    def __init__(self, surroundings: Surroundings, introducer: Introducer, log: Log) -> None:
        self._surroundings = surroundings
        self._introducer = introducer
        self._log = log
        self._wanted: Sequence[Program] | None = None
        self._changed = trio.Event()
        self._ready: tuple[Sequence[Program], RunningChain] | None = None
        self._released = trio.Event()
        """Set when nobody here watches the one that has been taken."""
        self._attempt = trio.CancelScope()
        """While one is to show that it serves."""

    def ask_for(self, programs: Sequence[Program]) -> None:
        """There is to be a chain of these programs, whatever was asked for before and does not stand ready."""
        self._wanted = programs
        self._attempt.cancel()
        self._note_change()

    def differs_from(self, programs: Sequence[Program]) -> bool:
        """Whether the one that stands ready is of other programs than these."""
        return self._ready is not None and list(self._ready[0]) != list(programs)

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def wait_ready(self) -> None:
        """Wait until one stands ready."""
        while self._ready is None:
            await self._changed.wait()

    async def take(self) -> tuple[Sequence[Program], RunningChain] | None:
        """The one that stands ready, if there is one; it is the caller's now, to watch and to bury."""
        if self._ready is None:
            return None
        ready, self._ready = self._ready, None
        self._released = trio.Event()
        self._note_change()
        await self._released.wait()
        return ready

    async def run(self) -> None:
        """Get them ready, one after the other, for ever."""
        while True:
            while self._wanted is None:
                await self._changed.wait()
            programs, self._wanted = self._wanted, None
            await self._make_ready(programs)

    async def _make_ready(self, programs: Sequence[Program]) -> None:
        """Start a chain, and keep it until it is taken, or has died."""
        try:
            chain = await start_chain(programs, self._surroundings, self._log)
        except OSError as error:
            self._refuse(f"it can't be started: {error.strerror or error}")
            return
        is_taken = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(chain.watch)
                problem = "another one is asked for"
                with trio.CancelScope() as self._attempt:
                    problem = await self._prove(chain, programs[-1].label)
                if not problem:
                    self._ready = programs, chain
                    self._note_change()
                    await wait_for_any(self._wait_taken, chain.failed.wait)
                    is_taken = self._ready is None
                    self._ready = None
                if problem:
                    self._refuse(problem)
                elif not is_taken:
                    self._log.always(f"the new chain has ended before it took over: {await chain.epitaph()}")
                if not is_taken:
                    chain.end_input()
                    await chain.climb_down(LADDER, trio.Event(), "the new chain")
                nursery.cancel_scope.cancel()
        finally:
            if is_taken:
                self._released.set()
            else:
                chain.bury()

    def _refuse(self, problem: str) -> None:
        self._log.always(f"the new chain does not serve, and the old one goes on: {problem}")

    async def _wait_taken(self) -> None:
        while self._ready is not None:
            await self._changed.wait()

    async def _prove(self, chain: RunningChain, label: str) -> str:
        """See whether a chain serves. Returns what is wrong with it, or nothing."""
        problem = ""
        has_answered = False

        async def introduce() -> None:
            frames, chain.known = self._introducer.introduce()
            try:
                await chain.head.write(frames)
            except OSError:
                pass  # nobody reads: we are about to hear why

        async def listen() -> None:
            nonlocal problem, has_answered
            try:
                has_answered = await _read_to_first_tick(chain, label)
            except FrameError as error:
                problem = str(error)
            if has_answered or problem:
                nursery.cancel_scope.cancel()

        with trio.move_on_after(TICK_TIMEOUT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(introduce)
                nursery.start_soon(listen)
                await chain.failed.wait()
                nursery.cancel_scope.cancel()
        if problem or has_answered:
            return problem
        if chain.failed.is_set():
            return await chain.epitaph()
        if not self._introducer.returns_ticks:
            return ""  # like the one that runs
        return f"no tick is back in {TICK_TIMEOUT_S:.0f} s"


async def _read_to_first_tick(chain: RunningChain, label: str) -> bool:
    """Read what a chain says until its first tick is back; False when it ends before. Raises FrameError."""
    decoder = FrameDecoder(label)
    blocks: list[bytes] = []
    size = 0
    try:
        while block := await chain.tail.read():
            blocks.append(block)
            size += len(block)
            decoder.feed(block)
            kinds = [type_of(frame) for frame in decoder.frames()]
            if TICK in kinds:
                return True
            if size > _ANSWER_LIMIT_BYTES:
                raise FrameError("it says more than it may before its first tick is back", label, decoder.offset)
    finally:
        chain.tail.early = b"".join(blocks)
    return False
