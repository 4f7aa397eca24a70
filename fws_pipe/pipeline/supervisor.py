"""The supervisor: keeps one chain running, for a front that it knows only as an `Exchange`.

A run of the chain ends when a process exits, when its actions break off, or when the server stops. Then
whatever had passed the dead stage is still carried out, every process is gone, and the next run gets new pipes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from fws_pipe.errors import FrameError, GaveUpError, SilenceError, StageError, SystemRefusedError
from fws_pipe.log import Log
from fws_pipe.pipeline.lifecycle import FAILED_STARTS_LIMIT, RestartPolicy
from fws_pipe.pipeline.spawn import LADDER, Program, RunningChain, Surroundings, start_chain, wait_for_any
from fws_pipe.pipes import Inlet, Outlet

TICK_TIMEOUT_S = 10.0
"""A chain that lets no tick through for so long after its start is taken to swallow them."""


_LAST_READ_S = 1.0
"""How long what dead processes have left in their pipes may take to be read."""


_LEFTOVERS_AT_THE_END_S = 3.0
"""How long what stages have started may outlive them when the server ends: `tee >(gzip >x)` has a file to finish."""


class Exchange(Protocol):
    """What a front offers to a chain."""

    @property
    def ready(self) -> trio.Event:
        """Set once a tick has come back through the run of now; a new event for each run."""

    async def write_events(self, pipe: Outlet) -> None:
        """Write events for ever."""

    async def execute_all(self, inlet: Inlet, source: str) -> None:
        """Execute actions until their end. Raises FrameError, or SilenceError when nothing comes that must."""

    def prepare_restart(self, consumed: int) -> tuple[int, int]:
        """The chain has died, having read so many bytes. Returns how many events are lost, and how many wait."""

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
        self._told_of_ticks = False
        self.serving = trio.Event()
        """Set once the first run has served."""
        self._stopping = trio.Event()
        self._hurry = trio.Event()
        self._grace_s = 0.0

    def stop(self, grace_s: float) -> None:
        """Let the chain read what has been written, then end its input; `grace_s` is how long it may take to finish."""
        self._grace_s = grace_s
        self._stopping.set()

    def hurry(self) -> None:
        """Whatever still runs is killed instead of asked."""
        self._hurry.set()

    async def run(self) -> None:
        """Run until stopped. Raises StageError when the first start comes to nothing, GaveUpError for later ones."""
        while True:
            started = trio.current_time()
            failure, served = await self._run_once()
            if self._stopping.is_set():
                return
            if not self.serving.is_set():
                raise StageError(f"{self._role.name} could not start: {failure}")
            delay = self._policy.delay_after(served=served, started=started, died=trio.current_time())
            if delay is None:
                raise GaveUpError(
                    f"{self._role.name} failed {self._role.failed_starts_limit} times in a row: {failure}"
                )
            self._log.always(f"{failure}; {self._role.name} starts again" + (f" in {delay:.1f} s" if delay else ""))
            with trio.move_on_after(delay):
                await self._stopping.wait()
            if self._stopping.is_set():
                return

    async def _run_once(self) -> tuple[str, bool]:
        """One run of the chain, to the end of its last process. Returns why it ended, and whether it had served."""
        try:
            chain = await start_chain(self._programs, self._surroundings, self._log)
        except OSError as error:
            failure = f"can't start {self._role.name} with {self._programs[0].argv[0]}: {error.strerror or error}"
            if self.serving.is_set():
                return failure, False  # descriptors or memory may be back in a second
            raise SystemRefusedError(failure) from None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(chain.watch)
                async with trio.open_nursery() as actions:
                    actions.start_soon(self._execute_actions, chain)
                    failure = await self._oversee(chain)
                    chain.kill_leftovers()
                    # With the last process the pipes' other ends have gone, and so the readers come to their end; but
                    # for a process that has left its group and holds on to them.
                    actions.cancel_scope.deadline = trio.current_time() + _LAST_READ_S
                nursery.cancel_scope.deadline = trio.current_time() + _LAST_READ_S
            served = self._exchange.ready.is_set()
            if not self._stopping.is_set():
                self._account_for(chain.consumed())
        finally:
            chain.bury()
        return failure, served

    def _account_for(self, consumed: int) -> None:
        lost, waiting = self._exchange.prepare_restart(consumed)
        if lost or waiting:
            self._log.always(f"{lost} events that the chain had read are lost, {waiting} wait for the next one")

    async def _oversee(self, chain: RunningChain) -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_events, chain)
            nursery.start_soon(self._announce, chain)
            await wait_for_any(chain.failed, self._stopping)
            nursery.cancel_scope.cancel()
        failure = ""
        if self._stopping.is_set():
            chain.leftovers_s = min(self._grace_s, _LEFTOVERS_AT_THE_END_S)
            chain.end_input()
            ladder = (LADDER[0]._replace(wait_s=self._grace_s), *LADDER[1:])
        else:
            failure = await chain.epitaph()
            chain.kill_up_to_the_dead()
            ladder = LADDER
        await chain.climb_down(ladder, self._hurry, self._role.name)
        return failure

    async def _write_events(self, chain: RunningChain) -> None:
        await self._exchange.write_events(chain.head)

    async def _execute_actions(self, chain: RunningChain) -> None:
        try:
            await self._exchange.execute_all(chain.tail, self._programs[-1].label)
        except (FrameError, SilenceError) as error:
            if not chain.failed.is_set():
                chain.fail(str(error))
            # Half a frame behind a process that died is what its death looks like.

    async def _announce(self, chain: RunningChain) -> None:
        with trio.move_on_after(TICK_TIMEOUT_S):
            await self._exchange.ready.wait()
        if not self._exchange.ready.is_set():
            self._exchange.give_up_on_ticks()
            if not self._told_of_ticks:
                self._told_of_ticks = True
                self._log.always(f"no tick has come back within {TICK_TIMEOUT_S:.0f} s: {self._role.without_ticks}")
        if self.serving.is_set():
            self._log.info(f"{self._role.name} serves again")
        self.serving.set()
