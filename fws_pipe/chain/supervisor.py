"""The supervisor: keeps one chain running, for a front that it knows only as an `Exchange`.

A run of the chain ends when a process exits, when its actions break off, when it hangs, when another one is to take
its place, or when the server stops. Then whatever had passed the dead stage is still carried out, every process is
gone, and the next run gets new pipes. Which state of its life the chain is in, and what comes next, says the table in
`lifecycle.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from fws_pipe.chain.delay import CHECK_S, Delay
from fws_pipe.chain.lifecycle import FAILED_STARTS_LIMIT, FINAL, RUNNING, TRANSITIONS, Event, RestartPolicy, State
from fws_pipe.chain.spawn import LADDER, Program, Rung, RunningChain, Surroundings, start_chain, wait_for_any
from fws_pipe.chain.successor import TICK_TIMEOUT_S, Successor
from fws_pipe.errors import FrameError, FwsError, GaveUpError, SilenceError, StageError, SystemRefusedError
from fws_pipe.log import Log
from fws_pipe.pipes.ends import Inlet, Outlet

_YIELD_S = 10.0
"""How long a chain that is replaced has for what it has got. What it doesn't finish the next one gets again."""

_LAST_READ_S = 1.0
"""How long what dead processes have left in their pipes may take to be read."""


_LEFTOVERS_AT_THE_END_S = 3.0
"""How long what stages have started may outlive them when the server ends: `tee >(gzip >x)` has a file to finish."""


class Exchange(Protocol):
    """What a front offers to a chain."""

    @property
    def ready(self) -> trio.Event:
        """Set once a tick has come back through the run of now; a new event for each run."""

    @property
    def returns_ticks(self) -> bool:
        """Whether a tick has ever come back: then silence is a fault, and no property, of the chain."""

    async def write_events(self, pipe: Outlet, known: Mapping[str, bytes]) -> None:
        """Write events to a chain that has been told so much, until `finish_events` is called.

        Raises OSError when nobody reads them.
        """

    def finish_events(self) -> None:
        """Let `write_events` end where a frame ends."""

    def introduce(self) -> tuple[bytes, Mapping[str, bytes]]:
        """What a chain gets first that is to show that it serves, and what that tells of whom."""

    async def wait_idle(self) -> None:
        """Wait until the chain owes nothing."""

    async def execute_all(self, inlet: Inlet, source: str) -> None:
        """Execute actions until their end. Raises FrameError, or SilenceError when nothing comes that must."""

    async def wait_stalled(self) -> None:
        """Wait until the chain owes a tick for too long."""

    @property
    def ticks_under_way(self) -> tuple[int | None, int]:
        """The oldest tick that the chain has not returned, or None; and the last one that was written."""

    def nudge(self) -> None:
        """Write a tick now: it waits before a stage that does not read."""

    def prepare_restart(self, *, is_replaced: bool, is_changed: bool) -> list[str]:
        """The chain has died, or (`is_replaced`) gives way to another, which may work otherwise (`is_changed`).

        Returns what people should know of what that means, in lines.
        """

    def give_up_on_ticks(self) -> None:
        """The chain lets no tick through: serve all the same."""


@dataclass(frozen=True)
class Role:
    """What messages call the processes, and what happens when they fail."""

    name: str
    without_ticks: str
    """What it means that no tick comes back."""
    failed_starts_limit: int | None


CHAIN = Role(
    "the chain",
    "a stage swallows frames that it doesn't know, or holds its output back (jq wants --unbuffered). The chain serves; "
    "a crash will lose events",
    FAILED_STARTS_LIMIT,
)

SOURCE = Role("the source", "it is not subscribed; the server goes on without it until it is", None)


class Supervisor:
    """Runs a chain, and runs it again when it dies."""

    def __init__(
        self, programs: Sequence[Program], surroundings: Surroundings, exchange: Exchange, log: Log, role: Role = CHAIN
    ) -> None:
        self._programs = programs
        self._surroundings = surroundings
        self._exchange = exchange
        self._log = log
        self._role = role
        self._policy = RestartPolicy(role.failed_starts_limit)
        self._state = State.DOWN
        self._due = 0.0
        """When the next start is (trio's clock)."""
        self._error: FwsError | None = None
        """Why there won't be one."""
        self._consequences: list[str] = []
        """What its last death means, for people."""
        self._told_of_ticks = False
        self.serving = trio.Event()
        """Set once the first run has served."""
        self.was_cut_off = False
        """Whether the last run, asked to finish, had to be ended by signals."""
        self._stopping = trio.Event()
        self._hurry = trio.Event()
        self._ending = trio.Event()
        self._grace_s = 0.0
        self._delay = Delay()
        self._successor = Successor(surroundings, exchange, log)

    def reload(self, programs: Sequence[Program]) -> None:
        """Let a chain of these programs take the place of the one that runs, once it has shown that it serves."""
        self._successor.ask_for(programs)

    def stop(self, grace_s: float) -> None:
        """Let the chain read what has been written, then end its input; `grace_s` is how long it may take to finish."""
        self._grace_s = grace_s
        self._stopping.set()

    def hurry(self) -> None:
        """Whatever still runs is killed instead of asked."""
        self._hurry.set()
        self._ending.set()

    def expect_stop(self) -> None:
        """A stop is near: a chain that is being replaced must not use up the time of the one behind it."""
        self._ending.set()

    def _take(self, event: Event) -> None:
        self._state = TRANSITIONS[self._state][event]

    async def run(self) -> None:
        """Run until stopped. Raises StageError when the first start comes to nothing, GaveUpError for later ones."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._successor.run)
            while self._state not in FINAL:
                self._take(await self._wait_due())
                if self._state in RUNNING:
                    started = trio.current_time()
                    failure, served = await self._run_once()
                    self._take(self._judge(failure, served, started))
            nursery.cancel_scope.cancel()
        if self._error is not None:
            raise self._error

    async def _wait_due(self) -> Event:
        with trio.move_on_at(self._due):
            await self._stopping.wait()
        return Event.STOP if self._stopping.is_set() else Event.DUE

    def _judge(self, failure: str, served: bool, started: float) -> Event:
        """A run has ended: is there to be another one, and when?"""
        if self._stopping.is_set():
            self._take(Event.STOP)
            return Event.GONE
        if self._state is State.YIELDING:
            self._due = 0.0
            for line in self._consequences:
                self._log.always(line)
            return Event.GONE
        if not self.serving.is_set():
            self._error = self._error or StageError(f"{self._role.name} could not start: {failure}")
            return Event.GIVEN_UP
        now = trio.current_time()
        delay = self._policy.delay_after(served=served, started=started, died=now)
        if delay is None:
            self._error = GaveUpError(
                f"{self._role.name} failed {self._role.failed_starts_limit} times in a row: {failure}"
            )
            return Event.GIVEN_UP
        self._log.always(f"{failure}; {self._role.name} starts again" + (f" in {delay:.1f} s" if delay else ""))
        for line in self._consequences:
            self._log.always(line)
        self._due = now + delay
        return Event.GONE

    async def _run_once(self) -> tuple[str, bool]:
        """One run of the chain, to the end of its last process. Returns why it ended, and whether it had served."""
        self._consequences = []
        try:
            chain = await self._next_chain()
        except OSError as error:
            self._take(Event.REFUSED)
            failure = f"can't start {self._role.name} with {self._programs[0].argv[0]}: {error.strerror or error}"
            if not self.serving.is_set():  # later descriptors or memory may be back in a second
                self._error = SystemRefusedError(failure)
            return failure, False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(chain.watch)
                async with trio.open_nursery() as actions:
                    actions.start_soon(self._execute_actions, chain)
                    ended_by = await self._oversee(chain)
                    failure = await self._end(chain, ended_by)
                    # With the last process the pipes' other ends have gone, and so the readers come to their end; but
                    # for a process that has left its group and holds on to them.
                    actions.cancel_scope.deadline = trio.current_time() + _LAST_READ_S
                nursery.cancel_scope.deadline = trio.current_time() + _LAST_READ_S
            served = self._exchange.ready.is_set()
            if self._state in (State.DYING, State.YIELDING):
                self._consequences = self._exchange.prepare_restart(
                    is_replaced=self._state is State.YIELDING, is_changed=self._successor.differs_from(self._programs)
                )
        finally:
            chain.bury()
        return failure, served

    async def _next_chain(self) -> RunningChain:
        """The one that stands ready, or else a new one. Raises OSError."""
        ready = await self._successor.take()
        if ready is None:
            return await start_chain(self._programs, self._surroundings, self._log)
        self._programs, chain = ready
        self._policy = RestartPolicy(self._role.failed_starts_limit)  # the failures were another chain's
        self._log.info(f"{self._role.name} is replaced")
        return chain

    async def _oversee(self, chain: RunningChain) -> Event:
        """Let the chain run until it has to end. Returns what ends it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_events, chain)
            async with trio.open_nursery() as telling:
                telling.start_soon(self._tell_of_delay, chain)
                while self._state in RUNNING:
                    event = await self._wait_event(chain)
                    self._take(event)
                    self._note(event, chain)
                telling.cancel_scope.cancel()
            if self._state is State.YIELDING and self._exchange.ready.is_set():
                self._exchange.finish_events()
                nursery.cancel_scope.deadline = trio.current_time() + _YIELD_S
            else:
                nursery.cancel_scope.cancel()
        return event

    async def _tell_of_delay(self, chain: RunningChain) -> None:
        """Name the stage that keeps all clients waiting, while it does."""
        delay = self._delay
        delay.begin()
        while True:
            await trio.sleep(CHECK_S)
            delay.check(*(self._exchange.ticks_under_way if self._state is State.UP else (None, 0)))
            if delay.take_end():
                self._log.always(f"{self._role.name} keeps up again")
            if delay.seconds:
                waited_for = chain.name_waited_for()
                if delay.is_nearly_told_of:
                    self._exchange.nudge()
                if delay.take_beginning():
                    self._log.always(f"events wait in {self._role.name}, {delay.seconds:.0f} s so far: {waited_for}")

    async def _wait_event(self, chain: RunningChain) -> Event:
        """What happens next to a chain that runs."""
        starting = self._state is State.STARTING
        happened: set[Event] = set()

        async def wait(event: Event, wait: Callable[[], Awaitable[object]]) -> None:
            await wait()
            happened.add(event)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, Event.STOP, self._stopping.wait)
            nursery.start_soon(wait, Event.DIES, chain.failed.wait)
            nursery.start_soon(wait, Event.STALLS, self._exchange.wait_stalled)
            nursery.start_soon(wait, Event.REPLACE, self._successor.wait_ready)
            if starting:
                nursery.start_soon(wait, Event.SERVES, self._exchange.ready.wait)
                if not self._exchange.returns_ticks:
                    nursery.cancel_scope.deadline = trio.current_time() + TICK_TIMEOUT_S
        # More than one may have happened at once: the graver one counts.
        return next((event for event in _BY_GRAVITY if event in happened), Event.SILENT)

    def _note(self, event: Event, chain: RunningChain) -> None:
        """Tell those who must know."""
        if event is Event.STALLS:
            chain.fail(
                f"{self._role.name} hangs: it has returned no tick for too long (see --stall-timeout), "
                f"{chain.name_waited_for()}"
            )
        elif event in (Event.SERVES, Event.SILENT):
            if event is Event.SILENT:
                self._exchange.give_up_on_ticks()
                if not self._told_of_ticks:
                    self._told_of_ticks = True
                    self._log.always(f"no tick has come back within {TICK_TIMEOUT_S:.0f} s: {self._role.without_ticks}")
            if self.serving.is_set():
                self._log.info(f"{self._role.name} serves again")
            self.serving.set()

    async def _end(self, chain: RunningChain, ended_by: Event) -> str:
        """End all processes. Returns why they had to, unless they were asked to."""
        failure = ""
        ladder: Sequence[Rung] = LADDER
        hurry = self._hurry
        if self._state is State.DRAINING:
            chain.leftovers_s = min(self._grace_s, _LEFTOVERS_AT_THE_END_S)
            chain.end_input()
            ladder = (LADDER[0]._replace(wait_s=self._grace_s), *LADDER[1:])
        elif self._state is State.YIELDING:
            chain.end_input()
            hurry = self._ending
            if self._exchange.ready.is_set():
                await self._wait_finished(chain)
            else:
                ladder = LADDER[-1:]  # it has never served, and has nothing to finish
        else:
            failure = await chain.epitaph()
            chain.kill_up_to_the_dead()
            if ended_by is Event.STALLS:
                ladder = LADDER[-1:]  # one that hangs is deaf to the rest
        await chain.climb_down(ladder, hurry, self._role.name)
        self.was_cut_off = self._state is State.DRAINING and chain.was_cut_off
        chain.kill_leftovers()
        return failure

    async def _wait_finished(self, chain: RunningChain) -> None:
        """Give a chain that is replaced its time: until it owes nothing, or is gone."""
        with trio.move_on_after(_YIELD_S):
            await wait_for_any(chain.wait_gone, self._exchange.wait_idle)

    async def _write_events(self, chain: RunningChain) -> None:
        try:
            await self._exchange.write_events(chain.head, chain.known)
        except OSError:
            # Its first stage has died, which we are about to hear; or it lives, and reads no more.
            with trio.move_on_after(_LAST_READ_S):
                await chain.failed.wait()
            chain.fail_unless_dead(f"{self._programs[0].label} has closed its stdin")

    async def _execute_actions(self, chain: RunningChain) -> None:
        try:
            await self._exchange.execute_all(chain.tail, self._programs[-1].label)
        except (FrameError, SilenceError) as error:
            # Half a frame behind a process that died is what its death looks like.
            chain.fail_unless_dead(str(error))


_BY_GRAVITY = (Event.STOP, Event.DIES, Event.STALLS, Event.REPLACE, Event.SERVES)
