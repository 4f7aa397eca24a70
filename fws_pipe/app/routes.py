"""All routes of a server as one backend. Each is supervised on its own; the server ends when no route can serve.

    start     every route starts, and takes clients once it serves; until then they get 503
    reload    changed: the new chain takes over from the old one (chain/successor.py)
              added: the route takes clients once it serves; removed: it refuses new clients, closes its own, and drains
    failure   a chain can't go on: its clients are closed (1011), and new ones get 503 until a reload starts it again

Rule: whatever happens in one route leaves the others unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import trio

from fws_pipe.app.drain import CHAINS_SHARE_S, Farewell, finish_clients
from fws_pipe.app.route_backend import RouteBackend, RouteMaker
from fws_pipe.chain.resolver import Command
from fws_pipe.chain.spawn import Program, wait_for_any
from fws_pipe.chain.successor import Outcome, Outcomes, decided
from fws_pipe.errors import FwsError, first_error
from fws_pipe.http.handshake import CHAIN_FAILED, NO_ROUTE, ROUTE_STARTING
from fws_pipe.http.routes import EVERY_PATH
from fws_pipe.ledger.feed import Feed
from fws_pipe.log import Log
from fws_pipe.websocket.rfc6455 import GOING_AWAY, INTERNAL_ERROR
from fws_pipe.wording import counted

_SLOW_START_S = 2.0
"""The time that the first serving route waits for the others; a later one takes clients once it serves."""

_GAVE_UP_S = 2.0
"""The time limit for clients to answer Close frames after their chain has failed."""


_NOT_SERVED = Farewell(NO_ROUTE, GOING_AWAY, "this path is not served any more")


class Routes:
    """The routes, as one backend (`backend.Backend`). A removed route has `drain_timeout` seconds to finish."""

    def __init__(
        self, maker: RouteMaker, chains: Mapping[str, Sequence[Command]], drain_timeout: float, log: Log
    ) -> None:
        self._maker = maker
        self._front = maker.front
        self._drain_timeout = drain_timeout
        self._log = log
        self._current: dict[str, RouteBackend] = {}
        self._all: list[RouteBackend] = []
        """The current routes, and the removed ones that still drain."""
        self._nursery: trio.Nursery | None = None
        """Runs the routes while `run` runs."""
        self._is_stopping = False
        self.serving = trio.Event()
        for pattern, commands in chains.items():
            self._open(pattern, maker.programs(pattern, commands))

    def _open(self, pattern: str, programs: Sequence[Program]) -> None:
        """Open a route, which replaces an earlier one of the same pattern."""
        backend = self._maker.make(pattern, programs, lambda: self._shown(pattern), self._log)
        backend.route.refusal = ROUTE_STARTING
        self._front.routes.put(pattern, backend.route)  # no other route's chain is for its path
        self._current[pattern] = backend
        self._all.append(backend)
        if self._nursery is not None:
            self._nursery.start_soon(self._run_route, pattern, backend)

    def _shown(self, pattern: str) -> str:
        """The name of a route in log lines; empty if one chain serves every path."""
        return "" if self._current.keys() == {EVERY_PATH} else pattern

    @property
    def was_cut_off(self) -> bool:
        """Whether signals had to end any of them."""
        return any(backend.was_cut_off for backend in self._all)

    def current(self) -> list[RouteBackend]:
        """Those of now, also where their chain has failed."""
        return list(self._current.values())

    @property
    def silences(self) -> list[str]:
        """Those of the routes of now."""
        return [clause for backend in self._current.values() for clause in backend.silences]

    def chains(self) -> list[RouteBackend]:
        """The current routes that have not failed."""
        return [backend for backend in self._current.values() if not backend.has_failed]

    def feeds(self) -> list[Feed]:
        """The feeds of the routes that serve, which get the lines of inputs."""
        return [backend.route.link.feed for backend in self.chains() if backend.serving.is_set()]

    async def run(self) -> None:
        """Run until `stop`. Raises FwsError when no route can serve."""
        async with trio.open_nursery() as watching:
            watching.start_soon(self._note_serving)
            async with trio.open_nursery() as self._nursery:
                for pattern, backend in self._current.items():
                    self._nursery.start_soon(self._run_route, pattern, backend)
            watching.cancel_scope.cancel()

    async def _note_serving(self) -> None:
        """Set `serving` once the first routes serve, have failed or take long; if all fail, `run` ends."""
        first = list(self._all)
        await wait_for_any(*(backend.serving.wait for backend in first), partial(_wait_ended, first))
        with trio.move_on_after(_SLOW_START_S):
            for backend in first:
                await wait_for_any(backend.serving.wait, backend.has_ended.wait)
        if any(backend.serving.is_set() for backend in self._all):
            self.serving.set()

    async def _run_route(self, pattern: str, backend: RouteBackend) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._admit_when_serving, backend)
            try:
                await backend.run()
            except* FwsError as group:
                await self._note_failed(pattern, backend, first_error(group))
            nursery.cancel_scope.cancel()
        if self._current.get(pattern) is not backend:
            self._forget(backend)

    async def _admit_when_serving(self, backend: RouteBackend) -> None:
        await backend.serving.wait()
        if backend.route.refusal is ROUTE_STARTING:  # it has not been removed meanwhile
            backend.route.refusal = None

    async def _note_failed(self, pattern: str, backend: RouteBackend, error: FwsError) -> None:
        """Close the clients of a route whose chain can't go on. Raises its error if no other route can serve."""
        with trio.move_on_after(_GAVE_UP_S):
            await backend.route.close(CHAIN_FAILED, INTERNAL_ERROR, "the server's chain has failed")
        backend.route.abort_all()
        is_last = all(other.has_failed for other in self._current.values())
        if self._shown(pattern):
            fate = "no other route is left" if is_last else "new clients get 503 until a reload starts it again"
            backend.log.always(f"{error.lines[0]}; {_unfinished(backend)}{fate}")
        if is_last:
            raise error

    def _forget(self, backend: RouteBackend) -> None:
        """Forget a route that has drained after it was removed, or replaced after its failure."""
        self._all.remove(backend)
        self._front.end_route(backend.route)

    # Reload.

    def reload(self, chains: Mapping[str, Sequence[Command]], why: str) -> Outcome:
        """Serve these routes from now on. `why` names the cause, for the log.

        If no route is new, removed or known to have changed, every chain is replaced, since the caller has a reason.
        """
        if self._is_stopping:
            return decided("the server is stopping")
        programs = {pattern: self._maker.programs(pattern, commands) for pattern, commands in chains.items()}
        removed = [pattern for pattern in self._current if pattern not in programs]
        added = [pattern for pattern in programs if not self._has(pattern)]
        kept = [pattern for pattern in programs if self._has(pattern)]
        changed = [pattern for pattern in kept if list(self._current[pattern].programs) != programs[pattern]]
        outcomes = []
        for pattern in changed if changed or added or removed else kept:
            outcomes.append(self._current[pattern].reload(programs[pattern]))
            self._current[pattern].log.notice(f"{why}: a new chain starts beside the one that runs")
        for pattern in added:
            self._add(pattern, programs[pattern])
            outcomes.append(self._current[pattern].start)
            self._current[pattern].log.notice(f"{why}: its chain starts")
        for pattern in removed:
            self._current[pattern].log.notice(f"{why}: the route is removed, and its clients are closed")
            self._remove(pattern)
        return Outcomes(outcomes)

    def _has(self, pattern: str) -> bool:
        """Whether there is a route of this pattern that has not failed."""
        return pattern in self._current and not self._current[pattern].has_failed

    def _add(self, pattern: str, programs: Sequence[Program]) -> None:
        failed = self._current.get(pattern)
        self._open(pattern, programs)
        if failed is not None and failed.has_ended.is_set():
            self._forget(failed)

    def _remove(self, pattern: str) -> None:
        backend = self._current.pop(pattern)
        if self._front.routes.get(pattern) is backend.route:
            self._front.routes.remove(pattern)
        if backend.has_failed:
            self._forget(backend)
        elif self._nursery is not None:
            self._nursery.start_soon(self._retire, backend)

    async def _retire(self, backend: RouteBackend) -> None:
        """Let a removed route finish, as a server does at its end."""
        deadline = trio.current_time() + self._drain_timeout
        backend.expect_stop()
        with trio.move_on_at(deadline - min(CHAINS_SHARE_S, self._drain_timeout / 2)):
            await finish_clients(backend.route, self._drain_timeout, _NOT_SERVED)
        backend.route.abort_all()
        backend.stop(max(deadline - trio.current_time(), 0.0))
        await backend.has_ended.wait()
        if lost := _unfinished(backend):
            backend.log.always(f"the route is gone; {lost.removesuffix('; ')}")

    # Another server takes over.

    async def suspend(self) -> None:
        """Let all chains finish their events and end, and start none before `resume`."""
        async with trio.open_nursery() as nursery:
            for backend in self._all:
                nursery.start_soon(backend.suspend)

    def resume(self) -> None:
        """Start them again. Idempotent."""
        for backend in self._all:
            backend.resume()

    # The end.

    def expect_stop(self) -> None:
        """Tell them all; from now on nothing is reloaded."""
        self._is_stopping = True
        for backend in self._all:
            backend.expect_stop()

    async def wait_taken_in(self) -> None:
        """No-op: what sources bring in can't be lost by them."""

    def stop(self, grace_s: float) -> None:
        """Stop them all."""
        self._is_stopping = True
        for backend in self._all:
            backend.stop(grace_s)

    def hurry(self) -> None:
        """Hurry them all."""
        for backend in self._all:
            backend.hurry()


async def _wait_ended(backends: Sequence[RouteBackend]) -> None:
    for backend in backends:
        await backend.has_ended.wait()


def _unfinished(backend: RouteBackend) -> str:
    """A clause about the events that a chain has left undone; empty where there are none."""
    count = backend.route.link.feed.unfinished
    return f"{counted(count, 'event is', 'events are')} left unfinished; " if count else ""
