"""The supervisor: keeps one chain running, for a front that it knows only as an `Exchange`.

A chain lives in runs. A run has its own processes and its own pipes, and ends when a process exits, when the actions
break off, when the chain hangs, when another chain is ready to replace it, or when the server stops.

    start -> introduce -> first tick -> events, actions -> end of the events -> last action -> all processes gone
      ^                                                                                                      |
      '------------------------------- prepare_restart, then the next run -----------------------------------'

Two invariants make a restart lossless; `lifecycle.py` has the states, `ledger/journal.py` the events that are kept.

1. At most one run at a time is given events, and its actions are executed to their end before the next run is given
   any. So the order of each client's events and answers survives a restart.
2. `prepare_restart` is called between two runs, never during one: the old actions have been executed, the new ones
   are unread. So the exchange knows exactly which events to write again and which of their actions to suppress.

What would break them, and what prevents it:

- A stage dies in the middle and the stages behind it still hold answers. `_end` kills only the stages before the dead
  one (`kill_up_to_the_dead`); those behind it see the end of input, write what they have, and exit. `_execute_actions`
  reads until the pipe's last writer has gone.
- A process that left its group keeps a pipe open, so its end never comes. The readers get `_LAST_READ_S` more.
- Half a frame is left on a pipe. The next run has new pipes; nothing of the old ones is read.
- Two things happen at once, such as a death and a reload. `_BY_GRAVITY` orders them: the death wins, and the chain that
  stands ready takes over by way of an ordinary restart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from fws_pipe.chain.delay import CHECK_S, TOLD_AFTER_S, Delay
from fws_pipe.chain.lifecycle import FAILED_STARTS_LIMIT, FINAL, RUNNING, TRANSITIONS, Event, RestartPolicy, State
from fws_pipe.chain.spawn import (
    LADDER,
    Epitaph,
    Program,
    Rung,
    RunningChain,
    StageReport,
    Surroundings,
    start_chain,
    wait_for_any,
)
from fws_pipe.chain.successor import TICK_TIMEOUT_S, Outcome, Successor
from fws_pipe.errors import FrameError, FwsError, GaveUpError, SilenceError, StageError, SystemRefusedError
from fws_pipe.log import Log
from fws_pipe.pipes.ends import Inlet, Outlet

_YIELD_S = 10.0
"""How long a replaced chain may take to finish its events. The next chain gets what it leaves unfinished again."""

_SLOW_START_S = 3.0
"""How long a stage may leave its first input unread before the log names it: some programs take long to start."""

_LAST_READ_S = 1.0
"""How long reading may go on after the last process has ended, while another process still holds a pipe open."""


_LEFTOVERS_AT_THE_END_S = 3.0
"""How long processes that a stage has started may outlive it when the server stops: `tee >(gzip >x)` has a file to
finish.
"""


class Exchange(Protocol):
    """The front's side of a chain: `ledger.link.Link`, or `front.source_link` for the source."""

    @property
    def ready(self) -> trio.Event:
        """Set once a tick has come back through the current run; each run has a new event."""

    @property
    def returns_ticks(self) -> bool:
        """Whether a tick has ever come back. If one has, a chain that returns none is at fault."""

    async def write_events(self, pipe: Outlet, known: Mapping[str, bytes]) -> None:
        """Write events until `finish_events` is called. `known` is what `introduce` has told this chain already.

        Raises OSError when the chain's stdin is closed.
        """

    def finish_events(self) -> None:
        """Make `write_events` return at the end of a frame."""

    def introduce(self) -> tuple[bytes, Mapping[str, bytes]]:
        """The introduction of a successor: frames that end with a tick, and the `open` in them by client id."""

    async def wait_idle(self) -> None:
        """Wait until every tick that was written has come back."""

    async def execute_all(self, inlet: Inlet, source: str) -> None:
        """Execute actions until their end. `source` names the last stage in errors.

        Raises FrameError for broken framing, SilenceError when a process that must answer does not.
        """

    async def wait_stalled(self) -> None:
        """Wait until the oldest tick has been under way for longer than the stall timeout."""

    @property
    def ticks_under_way(self) -> tuple[int | None, int]:
        """The numbers of the oldest tick that has not come back (None: all have), and of the last one written."""

    def nudge(self) -> None:
        """Write a tick now. It stays in front of the stage that does not read, which shows which stage that is."""

    def prepare_restart(self, *, is_replaced: bool, is_changed: bool) -> list[str]:
        """Prepare what the next run gets: called when a run has ended and its last action has been executed.

        `is_replaced`: the chain has made way for a successor, rather than died. `is_changed`: the successor runs other
        programs. Returns log lines about the consequences.
        """

    def give_up_on_ticks(self) -> None:
        """Serve although the chain lets no tick through; recovery is at most once from now on."""


@dataclass(frozen=True)
class Role:
    """How messages name a supervised chain, and how often it may fail to start."""

    name: str
    without_ticks: str
    """The consequence of no tick coming back, as the log tells it."""
    failed_starts_limit: int | None
    """Failed starts in a row before the supervisor gives up; None: it never does."""


CHAIN = Role(
    "the chain",
    "a stage drops unknown frames, or keeps its output back. Clients are let in, but they may get no answer, and a "
    "crash will lose events",
    FAILED_STARTS_LIMIT,
)

SOURCE = Role("the source", "it is not subscribed yet; the server runs without it until then", None)


class Supervisor:
    """Runs a chain, restarts it when it dies, and replaces it on `reload`.

    `serving` is set when the first run serves. `was_cut_off` tells, after `run`, whether signals ended the last run.
    """

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
        """When the next start is due (trio's clock)."""
        self._chain: RunningChain | None = None
        """The run of now."""
        self._restarts = 0
        """How often the chain has been started again after a failure."""
        self._error: FwsError | None = None
        """Why there will be no further start."""
        self._consequences: list[str] = []
        """Log lines about the consequences of the last death."""
        self._has_warned_of_ticks = False
        self._is_silent = False
        """Whether it serves although no tick has come back."""
        self._holder = ""
        """The stage that holds the first tick, with the cure."""
        self.serving = trio.Event()
        """Set once the first run serves."""
        self.was_cut_off = False
        """Whether the last run was asked to stop, and signals had to end it."""
        self._stopping = trio.Event()
        self._hurry = trio.Event()
        self._ending = trio.Event()
        self._grace_s = 0.0
        self._delay = Delay()
        self._successor = Successor(surroundings, exchange, log)
        self._suspended = trio.Event()
        """Set while no run may go on: another server is about to take over."""
        self._resumed = trio.Event()
        self._resting = trio.Event()
        """Set once no run goes on, and until `resume` none will."""

    async def suspend(self) -> None:
        """Let the chain finish its events as if another replaced it, and start none before `resume`."""
        self._resumed = trio.Event()
        self._suspended.set()
        await self._resting.wait()

    def resume(self) -> None:
        """Start the chain again. Idempotent."""
        self._suspended = trio.Event()
        self._resting = trio.Event()
        self._resumed.set()

    def reload(self, programs: Sequence[Program]) -> Outcome:
        """Start a chain of these programs beside the current one, which it replaces as soon as it serves."""
        return self._successor.ask_for(programs)

    @property
    def programs(self) -> Sequence[Program]:
        """Those of the current chain, the sink last."""
        return self._programs

    def report(self) -> list[StageReport]:
        """What its processes are doing."""
        state = self._state.name.lower()
        if self._chain is None:
            return [StageReport(program.label, None, state, self._restarts) for program in self._programs]
        return self._chain.report(state, self._restarts)

    def stop(self, grace_s: float) -> None:
        """End the chain's input once it has read what was written, and give it `grace_s` seconds to finish."""
        self._grace_s = grace_s
        self._stopping.set()

    def hurry(self) -> None:
        """Kill what still runs, without waiting for it to finish."""
        self._hurry.set()
        self._ending.set()

    def expect_stop(self) -> None:
        """Announce that `stop` follows soon: a chain that is being replaced is ended at once.

        Otherwise it would use up the time that its successor needs for the drain.
        """
        self._ending.set()

    async def wait_taken_in(self) -> None:
        """No-op: it reads no lines from outside."""

    def _move_on(self, event: Event) -> None:
        self._state = TRANSITIONS[self._state][event]

    async def run(self) -> None:
        """Run until `stop`.

        Raises StageError when the chain can't start, SystemRefusedError when the system has no process or descriptor
        for its first start, and GaveUpError when later starts keep failing.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._successor.run)
            while self._state not in FINAL:
                self._move_on(await self._wait_due())
                if self._state in RUNNING:
                    started = trio.current_time()
                    failure, served = await self._run_once()
                    self._move_on(self._conclude(failure, served, started))
            nursery.cancel_scope.cancel()
        self._resting.set()
        if self._error is not None:
            raise self._error

    async def _wait_due(self) -> Event:
        with trio.move_on_at(self._due):
            await self._stopping.wait()
        while self._suspended.is_set() and not self._stopping.is_set():
            self._resting.set()
            await wait_for_any(self._stopping.wait, self._resumed.wait)
        return Event.STOP if self._stopping.is_set() else Event.DUE

    def _conclude(self, failure: Epitaph, served: bool, started: float) -> Event:
        """Decide after a run whether there is another one, and when; log why. Returns GONE or GIVEN_UP."""
        if self._stopping.is_set():
            self._move_on(Event.STOP)
            return Event.GONE
        if self._state is State.YIELDING:
            self._due = 0.0
            for line in self._consequences:
                self._log.always(line)
            return Event.GONE
        if not self.serving.is_set():
            problem = f"{self._role.name} could not start: {failure.failure}"
            self._error = self._error or StageError(problem, failure.last_words)
            return Event.GIVEN_UP
        now = trio.current_time()
        delay = self._policy.delay_after(served=served, started=started, died=now)
        if delay is None:
            self._error = GaveUpError(
                f"{self._role.name} failed {self._role.failed_starts_limit} times in a row: {failure}"
            )
            return Event.GIVEN_UP
        self._restarts += 1
        self._log.always(f"{failure}; {self._role.name} starts again" + (f" in {delay:.1f} s" if delay else ""))
        for line in self._consequences:
            self._log.always(line)
        self._due = now + delay
        return Event.GONE

    async def _run_once(self) -> tuple[Epitaph, bool]:
        """Run the chain once, to the end of its last process. Returns why it ended, and whether it had served."""
        self._consequences = []
        try:
            chain = await self._next_chain()
        except OSError as error:
            self._move_on(Event.REFUSED)
            refusal = f"can't start {self._role.name} with {self._programs[0].argv[0]}: {error.strerror or error}"
            if not self.serving.is_set():  # later on, descriptors or memory may be free again in a second
                self._error = SystemRefusedError(refusal)
            return Epitaph(refusal), False
        self._chain = chain
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(chain.watch)
                async with trio.open_nursery() as actions:
                    actions.start_soon(self._execute_actions, chain)
                    ended_by = await self._oversee(chain)
                    failure = await self._end(chain, ended_by)
                    # The last process has closed the pipes' other ends, so the readers come to their end; unless a
                    # process that has left its group keeps one open.
                    actions.cancel_scope.deadline = trio.current_time() + _LAST_READ_S
                nursery.cancel_scope.deadline = trio.current_time() + _LAST_READ_S
            served = self._exchange.ready.is_set()
            if self._state in (State.DYING, State.YIELDING):
                self._consequences = self._exchange.prepare_restart(
                    is_replaced=self._state is State.YIELDING, is_changed=self._successor.differs_from(self._programs)
                )
        finally:
            self._chain = None
            chain.bury()
        return failure, served

    async def _next_chain(self) -> RunningChain:
        """The successor if it is ready, or else a new chain of the current programs. Raises OSError."""
        ready = await self._successor.claim()
        if ready is None:
            return await start_chain(self._programs, self._surroundings, self._log)
        self._programs, chain = ready
        self._policy = RestartPolicy(self._role.failed_starts_limit)  # the failures so far were the old chain's
        self._log.info(f"{self._role.name} is replaced")
        return chain

    async def _oversee(self, chain: RunningChain) -> Event:
        """Let the chain run until something ends the run. Returns that event."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_events, chain)
            async with trio.open_nursery() as watching:
                watching.start_soon(self._watch_delay, chain)
                watching.start_soon(self._watch_start, chain)
                while self._state in RUNNING:
                    event = await self._wait_event(chain)
                    self._move_on(event)
                    self._react(event, chain)
                watching.cancel_scope.cancel()
            if self._state is State.YIELDING and self._exchange.ready.is_set():
                self._exchange.finish_events()
                nursery.cancel_scope.deadline = trio.current_time() + _YIELD_S
            else:
                nursery.cancel_scope.cancel()
        return event

    async def _watch_start(self, chain: RunningChain) -> None:
        """Log which stage keeps the first tick back, once it takes long."""
        slow = trio.current_time() + _SLOW_START_S
        await trio.sleep(TOLD_AFTER_S - CHECK_S)
        while self._state is State.STARTING and not self._exchange.ready.is_set() and not self._has_warned_of_ticks:
            silent = chain.name_silent()
            if silent is None and trio.current_time() > slow:
                silent = chain.name_waited_for()
            if silent is not None:
                self._log.always(f"{self._role.name} does not serve yet: {silent}")
                return
            await trio.sleep(CHECK_S)

    async def _watch_delay(self, chain: RunningChain) -> None:
        """While events are late, log which stage they wait for."""
        delay = self._delay
        delay.begin()
        while True:
            await trio.sleep(CHECK_S)
            delay.check(*(self._exchange.ticks_under_way if self._state is State.UP else (None, 0)))
            self._check_silence()
            if delay.take_end():
                self._log.notice(f"{self._role.name} keeps up again")
            if delay.seconds:
                waited_for = chain.name_waited_for()
                if delay.is_nearly_told_of:
                    self._exchange.nudge()
                if delay.take_beginning():
                    self._log.always(f"events wait in {self._role.name}, {delay.seconds:.0f} s so far: {waited_for}")

    async def _wait_event(self, chain: RunningChain) -> Event:
        """Wait for the next event of a running chain."""
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
            nursery.start_soon(wait, Event.REPLACE, self._suspended.wait)
            if starting:
                nursery.start_soon(wait, Event.SERVES, self._exchange.ready.wait)
                if not self._exchange.returns_ticks:
                    nursery.cancel_scope.deadline = trio.current_time() + TICK_TIMEOUT_S
        # Several may have happened at once: the gravest counts.
        return next((event for event in _BY_GRAVITY if event in happened), Event.SILENT)

    def _react(self, event: Event, chain: RunningChain) -> None:
        """Do what an event asks for beside the change of state: fail a hung run, or set `serving`."""
        if event is Event.STALLS:
            chain.fail(
                f"{self._role.name} hangs: it has returned no tick for too long (see --stall-timeout); "
                f"{chain.name_waited_for()}"
            )
        elif event in (Event.SERVES, Event.SILENT):
            if event is Event.SILENT:
                self._exchange.give_up_on_ticks()
                self._is_silent = True
                if not self._has_warned_of_ticks:
                    self._warn_of_ticks(chain)
            if self.serving.is_set():
                self._log.info(f"{self._role.name} serves again")
            self.serving.set()

    def _warn_of_ticks(self, chain: RunningChain) -> None:
        """Log what follows from no tick coming back, and note which stage holds it, with the cure."""
        self._has_warned_of_ticks = True
        self._holder = chain.name_silent() or ""
        self._log.always(f"no tick has come back within {TICK_TIMEOUT_S:.0f} s: {self._role.without_ticks}")

    @property
    def silence(self) -> str:
        """What there is to say of a chain that serves although no tick has come back from it; empty: nothing."""
        if not self._is_silent or self._exchange.returns_ticks:
            return ""
        return f"{self._role.name} has answered nothing yet" + (f": {self._holder}" if self._holder else "")

    def _check_silence(self) -> None:
        """Log the first tick of a chain that has served without one."""
        if self._is_silent and self._exchange.returns_ticks:
            self._is_silent = False
            self._log.always(f"{self._role.name} has returned its first tick: it answers")

    async def _end(self, chain: RunningChain, ended_by: Event) -> Epitaph:
        """End all processes. Returns why the run failed; empty where it was asked to end."""
        failure = Epitaph("")
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
                ladder = LADDER[-1:]  # it has never served, so it has no events to finish
        else:
            failure = await chain.epitaph()
            chain.kill_up_to_the_dead()
            chain.end_input()  # where no process has died, as after broken frames
            if ended_by is Event.STALLS:
                ladder = LADDER[-1:]  # a chain that hangs reads neither its stdin's end nor a signal's request
        await chain.climb_down(ladder, hurry, self._role.name)
        self.was_cut_off = self._state is State.DRAINING and chain.was_cut_off
        chain.kill_leftovers()
        return failure

    async def _wait_finished(self, chain: RunningChain) -> None:
        """Wait until a replaced chain has returned every tick, or is gone, or its time is up."""
        with trio.move_on_after(_YIELD_S):
            await wait_for_any(chain.wait_gone, self._exchange.wait_idle)

    async def _write_events(self, chain: RunningChain) -> None:
        try:
            await self._exchange.write_events(chain.head, chain.known)
        except OSError:
            # The first stage has died, of which we are about to hear; or it lives, and has closed its stdin.
            with trio.move_on_after(_LAST_READ_S):
                await chain.failed.wait()
            chain.fail_unless_dead(f"{self._programs[0].label} has closed its stdin")

    async def _execute_actions(self, chain: RunningChain) -> None:
        try:
            await self._exchange.execute_all(chain.tail, self._programs[-1].label)
        except (FrameError, SilenceError) as error:
            # A process that dies leaves half a frame behind: then its death is the reason to tell.
            chain.fail_unless_dead(str(error))


_BY_GRAVITY = (Event.STOP, Event.DIES, Event.STALLS, Event.REPLACE, Event.SERVES)
