"""The successor: the next chain, which starts beside the current one and shows that it serves before it takes over.

    time ------------------------------------------------------------------------------------------>
    old   | events, actions ................. | end of events | last actions | gone
    new   | start | introduction, tick | tick is back: READY, and waits      | news, tick | events, actions ...
    feed  | events go to the old chain ...... | events wait, bounded ........ | kept events first, then these

The invariant: one chain at a time owns the events, and it owns them until its last action has been executed. A
successor gets an introduction only: an `open` with `replay` for each client, and a tick. Its answers stay unexecuted
until it takes over: in `tail.early`, and in its sink what is for Redis (FWS_STANDBY). So a successor that fails here
changes nothing for clients or other servers, and loses no event.

Schedules that would break it, and what prevents each:

- A client comes, goes or changes its groups between the introduction and the take-over. The introduction is remembered
  by client (`chain.known`), and the chain is told the difference first: a `disconnect` with `replay` for a client that
  has gone or changed, and an `open` for one that is new or changed. A client whose own `open` is still kept is left
  out; it is new to the successor when that event is replayed. So each client is open exactly once.
- The old chain doesn't finish its events in time, or dies while it does. They are still in the journal, and are written
  to the successor; actions that the old chain had already got through are suppressed (`ledger/progress.py`).
- The new chain dies while it stands ready. It is reported and dropped, and the old chain goes on; if that has begun to
  yield, its programs are started again.
- Another reload comes meanwhile. An attempt that has not yet shown that it serves is given up for the newer one; one
  that stands ready takes over first, and the newer one follows it.

What this doesn't cover: a filter that acts on the outside world by itself, such as one that writes to a database for
each `open`, runs twice while both chains do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import trio

from fws_pipe.broker import STANDBY_VARIABLE
from fws_pipe.chain.spawn import LADDER, Program, RunningChain, Surroundings, start_chain, wait_for_any
from fws_pipe.errors import FrameError
from fws_pipe.log import Log
from fws_pipe.protocol.codec import FrameDecoder, type_of
from fws_pipe.protocol.events import TICK

TICK_TIMEOUT_S = 10.0
"""How long a new chain may take to return its first tick. After that it is taken for one that swallows ticks."""


_SUPERSEDED = "a newer one has been asked for"

_ANSWER_LIMIT_BYTES = 64 * 1024 * 1024
"""How much a chain may write before its first tick is back: enough to answer some hundred thousand clients."""


class Introducer(Protocol):
    """The part of an `Exchange` that a successor needs."""

    @property
    def returns_ticks(self) -> bool:
        """Whether the current chain lets ticks through."""

    def introduce(self) -> tuple[bytes, Mapping[str, bytes]]:
        """An `open` with `replay` for each client, as frames that end with a tick; and these frames by client id."""


class Outcome:
    """What comes of a request for another chain: decided once."""

    def __init__(self) -> None:
        self._decided = trio.Event()
        self.problem = ""
        """Why the old chain goes on; empty: the new one has taken over."""

    def decide(self, problem: str = "") -> None:
        """Note what has come of it. Idempotent: the first decision counts."""
        if not self._decided.is_set():
            self.problem = problem
            self._decided.set()

    async def wait(self) -> str:
        """Wait for the decision. Returns `problem`."""
        await self._decided.wait()
        return self.problem


def decided(problem: str = "") -> Outcome:
    """What has come of a request at once."""
    outcome = Outcome()
    outcome.decide(problem)
    return outcome


class Outcomes(Outcome):
    """What comes of several requests: no problem, once none of them has one."""

    def __init__(self, parts: Sequence[Outcome]) -> None:
        super().__init__()
        self._parts = parts

    async def wait(self) -> str:
        """Wait for all of them. Returns the first problem."""
        for part in self._parts:
            self.problem = self.problem or await part.wait()
        return self.problem


class Successor:
    """Holds at most one chain that is starting or ready; of the requests that come meanwhile the last one is kept."""

    def __init__(self, surroundings: Surroundings, introducer: Introducer, log: Log) -> None:
        self._surroundings = surroundings
        self._introducer = introducer
        self._log = log
        self._wanted: tuple[Sequence[Program], Outcome] | None = None
        self._changed = trio.Event()
        self._ready: tuple[Sequence[Program], RunningChain] | None = None
        self._released = trio.Event()
        """Set when `run` has let go of a chain that was claimed."""
        self._attempt = trio.CancelScope()
        """Cancelled when a newer request makes the current attempt useless."""

    def ask_for(self, programs: Sequence[Program]) -> Outcome:
        """Ask for a chain of these programs; an earlier request is given up unless its chain is ready already."""
        if self._wanted is not None:
            self._wanted[1].decide(_SUPERSEDED)
        outcome = Outcome()
        self._wanted = programs, outcome
        self._attempt.cancel()
        self._note_change()
        return outcome

    def differs_from(self, programs: Sequence[Program]) -> bool:
        """Whether a chain is ready that runs other programs than these."""
        return self._ready is not None and list(self._ready[0]) != list(programs)

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def wait_ready(self) -> None:
        """Wait until a chain is ready."""
        while self._ready is None:
            await self._changed.wait()

    async def claim(self) -> tuple[Sequence[Program], RunningChain] | None:
        """Return the chain that is ready, with its programs, or None. The caller must watch and bury it."""
        if self._ready is None:
            return None
        ready, self._ready = self._ready, None
        self._released = trio.Event()
        self._note_change()
        await self._released.wait()
        return ready

    async def run(self) -> None:
        """Get the chains ready that are asked for, one after the other, for ever."""
        while True:
            while self._wanted is None:
                await self._changed.wait()
            (programs, outcome), self._wanted = self._wanted, None
            self._attempt = trio.CancelScope()
            outcome.decide(await self._make_ready(programs))

    async def _make_ready(self, programs: Sequence[Program]) -> str:
        """Start a chain, and keep it until it is claimed or dies. Returns why it was not claimed; empty: it was."""
        try:
            chain = await start_chain(self._standing_by(programs), self._surroundings, self._log)
        except OSError as error:
            problem = f"it can't be started: {error.strerror or error}"
            self._report_refused(problem)
            return problem
        is_claimed = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(chain.watch)
                problem = _SUPERSEDED
                with self._attempt:
                    problem = await self._prove(chain, programs[-1].label)
                if not problem:
                    self._ready = programs, chain
                    self._note_change()
                    await wait_for_any(self._wait_claimed, chain.failed.wait)
                    is_claimed = self._ready is None
                    self._ready = None
                if problem:
                    self._report_refused(problem)
                elif not is_claimed:
                    problem = f"the new chain ended before it took over: {await chain.epitaph()}"
                    self._log.always(problem)
                if not is_claimed:
                    chain.end_input()
                    await chain.climb_down(LADDER, trio.Event(), "the new chain")
                nursery.cancel_scope.cancel()
        finally:
            if is_claimed:
                self._released.set()
            else:
                chain.bury()
        return problem

    def _standing_by(self, programs: Sequence[Program]) -> Sequence[Program]:
        """The same programs, whose last one knows that they have yet to take over. Ticks will tell it when they have.

        Where the current chain lets no tick through the new one may not either. Then nothing is replayed, so nothing
        could be published twice.
        """
        if not self._introducer.returns_ticks:
            return programs
        *stages, last = programs
        return [*stages, replace(last, environment={**last.environment, STANDBY_VARIABLE: "1"})]

    def _report_refused(self, problem: str) -> None:
        self._log.always(f"the new chain does not serve, so the old one goes on: {problem}")

    async def _wait_claimed(self) -> None:
        while self._ready is not None:
            await self._changed.wait()

    async def _prove(self, chain: RunningChain, label: str) -> str:
        """Check whether a chain serves. Returns what is wrong with it; empty: nothing."""
        problem = ""
        has_answered = False

        async def introduce() -> None:
            frames, chain.known = self._introducer.introduce()
            try:
                await chain.head.write(frames)
            except OSError:
                pass  # its stdin is closed: we are about to hear why

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
            return str(await chain.epitaph())
        if not self._introducer.returns_ticks:
            return ""  # it swallows ticks as the current chain does
        return f"no tick has come back within {TICK_TIMEOUT_S:.0f} s"


async def _read_to_first_tick(chain: RunningChain, label: str) -> bool:
    """Read a chain's output up to its first tick; False: the output ended before. Raises FrameError.

    All that was read stands before what is read later (`tail.early`).
    """
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
                limit = f"{_ANSWER_LIMIT_BYTES} bytes"
                raise FrameError(f"more than {limit} came before the first tick was back", label, decoder.offset)
    finally:
        chain.tail.early = b"".join(blocks)
    return False
