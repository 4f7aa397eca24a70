"""One route's backend: its chain and the sources beside it, with the route itself in the front."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import trio

from fws_pipe.app.programs import chain_programs, source_programs
from fws_pipe.broker.settings import RedisSettings
from fws_pipe.chain.resolver import Command
from fws_pipe.chain.spawn import Program, StageReport, Surroundings, module_program
from fws_pipe.chain.successor import Outcome
from fws_pipe.chain.supervisor import SOURCE, Supervisor
from fws_pipe.config.options import Config
from fws_pipe.errors import FwsError, first_error
from fws_pipe.front.front import Front
from fws_pipe.front.route import Route
from fws_pipe.front.source_link import SourceLink
from fws_pipe.http.routes import EVERY_PATH
from fws_pipe.ledger.link import Link
from fws_pipe.log import Log, Subject
from fws_pipe.protocol.control import FRONT

ROUTE_VARIABLE = "FWS_ROUTE"
"""The variable that tells the stages the pattern of their paths."""

_SOURCES_S = 2.0
"""The time that the sources have to leave Redis after their chain has failed."""


class RouteBackend:
    """One route's chain and sources, as one backend (`backend.Backend`)."""

    def __init__(
        self,
        route: Route,
        chain: Supervisor,
        sources: Sequence[Supervisor],
        source_links: Sequence[SourceLink],
        shown: Callable[[], str],
        log: Log,
    ) -> None:
        """`source_links` are the front's sides of `sources`. `shown` gives the route's name for messages; empty if it
        is the only one.
        """
        self.route = route
        self._shown = shown
        self.log = log
        self._chain = chain
        self._sources = sources
        self._source_links = source_links
        self.serving = trio.Event()
        """Set once the chain and the sources have served for the first time."""
        self.start = Outcome()
        """The outcome of the first start."""
        self.has_ended = trio.Event()
        """Set once the route has stopped or failed."""
        self.has_failed = False
        """Whether the chain can't go on."""

    @property
    def was_cut_off(self) -> bool:
        """Whether signals had to end the chain or a source."""
        return any(backend.was_cut_off for backend in (self._chain, *self._sources))

    @property
    def silences(self) -> list[str]:
        """That of its chain."""
        silence = self._chain.silence
        return [f"{self.name}: {silence}" if self.name else silence] if silence else []

    async def run(self) -> None:
        """Run until `stop`. Raises FwsError if the chain, or a source at its first start, can't go on."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._note_serving)
                await self._run_all()
                nursery.cancel_scope.cancel()  # it may have been stopped before it served
        except* FwsError as group:
            self.has_failed = True
            self.start.decide(f"{self.route.pattern}: {first_error(group).lines[0]}")
            raise
        finally:
            self.start.decide("the server was stopped meanwhile")
            self.has_ended.set()

    async def _run_all(self) -> None:
        failure: FwsError | None = None
        async with trio.open_nursery() as sources:
            for source in self._sources:
                sources.start_soon(source.run)
            try:
                await self._chain.run()
            except FwsError as error:
                failure = error
                for source in self._sources:
                    source.stop(_SOURCES_S)
        if failure is not None:
            raise failure

    async def _note_serving(self) -> None:
        for backend in (self._chain, *self._sources):
            await backend.serving.wait()
        self.serving.set()
        self.start.decide()

    @property
    def link(self) -> Link:
        """The front's side of its chain."""
        return self.route.link

    @property
    def programs(self) -> Sequence[Program]:
        """The programs of the running chain, the sink last."""
        return self._chain.programs

    def reload(self, programs: Sequence[Program]) -> Outcome:
        """Start a chain of these programs beside the running one, and let it take over once it serves."""
        return self._chain.reload(programs)

    def reports(self) -> list[list[StageReport]]:
        """The state of each process: a list for the front and the chain's stages, then one for each source."""
        stages = self._chain.report()
        front = StageReport(
            FRONT, os.getpid(), "up", 0, stages[-1].output, stages[0].input, self.route.link.feed.events
        )
        chains = [[front, *stages], *(source.report() for source in self._sources)]
        return [[report._replace(name=self._named(report.name)) for report in reports] for reports in chains]

    def _named(self, name: str) -> str:
        return f"{self.name}: {name}" if self.name else name

    @property
    def is_subscribed(self) -> bool:
        """Whether all its sources hear what is published; also true where there is none."""
        return all(link.is_subscribed for link in self._source_links)

    @property
    def name(self) -> str:
        """The route's name for messages; empty if it is the only one."""
        return self._shown()

    async def suspend(self) -> None:
        """Let its chain finish its events and end, and start none before `resume`."""
        await self._chain.suspend()

    def resume(self) -> None:
        """Start its chain again. Idempotent."""
        self._chain.resume()

    def expect_stop(self) -> None:
        """Prepare for a `stop` that follows soon."""
        for backend in (self._chain, *self._sources):
            backend.expect_stop()

    async def wait_taken_in(self) -> None:
        """No-op: events from sources wait in Redis."""

    def stop(self, grace_s: float) -> None:
        """Finish within `grace_s` seconds."""
        for backend in (self._chain, *self._sources):
            backend.stop(grace_s)

    def hurry(self) -> None:
        """End now."""
        for backend in (self._chain, *self._sources):
            backend.hurry()


@dataclass(frozen=True)
class RouteMaker:
    """Makes routes and their programs from the configuration."""

    config: Config
    front: Front
    surroundings: Surroundings
    redis: RedisSettings | None

    def programs(self, pattern: str, commands: Sequence[Command]) -> list[Program]:
        """The programs of a chain's stages, and its sink."""
        sink = module_program("sink", "fws_pipe.chain.sink", self._redis_environment(pattern))
        return chain_programs(self.config, commands, sink)

    def make(self, pattern: str, programs: Sequence[Program], shown: Callable[[], str], log: Log) -> RouteBackend:
        """Make a route, which takes no clients yet; `shown` is as in RouteBackend."""
        log = log.of_part(shown).about(Subject.CHAIN)
        environment = {**self.surroundings.environment, ROUTE_VARIABLE: pattern}
        surroundings = replace(self.surroundings, environment=environment)
        route = self.front.open_route(pattern, log)
        readers = source_programs(self.config, self._redis_environment(pattern))
        links = [SourceLink(route.link, self.front.counters) for _ in readers]
        sources = [
            Supervisor([program], surroundings, link, log.about(Subject.REDIS), SOURCE)
            for program, link in zip(readers, links, strict=True)
        ]
        chain = Supervisor(programs, surroundings, route.link, log)
        return RouteBackend(route, chain, sources, links, shown, log)

    def _redis_environment(self, pattern: str) -> Mapping[str, str]:
        """The environment that tells the sink and the source of Redis and of their route; empty without Redis."""
        if self.redis is None:
            return {}
        return replace(self.redis, route="" if pattern == EVERY_PATH else pattern).to_environment()
