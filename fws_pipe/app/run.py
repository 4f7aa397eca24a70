"""fws-pipe and fws-front, from a configuration to the end of the server."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

import trio

from fws_pipe.app.backend import Reload
from fws_pipe.app.configured_front import configured_front
from fws_pipe.app.configured_inputs import configured_inputs
from fws_pipe.app.control_socket import control_listener, control_of
from fws_pipe.app.programs import chain_programs, source_programs
from fws_pipe.app.serving import serve
from fws_pipe.app.standard_streams import StandardStreams
from fws_pipe.app.surroundings import name_in_redis, own_folder, stage_surroundings
from fws_pipe.app.together import Together
from fws_pipe.app.watching import watch_files
from fws_pipe.chain.resolver import Command
from fws_pipe.chain.spawn import Program, module_program
from fws_pipe.chain.successor import Outcome, decided
from fws_pipe.chain.supervisor import SOURCE, Supervisor
from fws_pipe.config.options import Config
from fws_pipe.errors import FwsError
from fws_pipe.front.front import Front
from fws_pipe.front.route import Route
from fws_pipe.front.source_link import SourceLink
from fws_pipe.inputs.inputs import Inputs
from fws_pipe.log import Log
from fws_pipe.system.service_manager import Handover


async def run_pipe(
    config: Config,
    commands: Sequence[Command],
    read_commands: Callable[[], Sequence[Command]],
    environment: dict[str, str],
    stdout: int,
    handover: Handover,
    log: Log,
) -> None:
    """Serve clients through a supervised chain until a signal. Raises FwsError.

    `read_commands` gives the chain as it is to be from now on, and raises FwsError; `environment` is the stages';
    `stdout` the number of the descriptor that they know as $FWS_STDOUT_FD.
    """
    name = config.name or secrets.token_hex(3)
    redis = replace(config.redis, server=name, run=secrets.token_hex(8)) if config.redis else None
    sink = module_program("sink", "fws_pipe.chain.sink", redis.to_environment() if redis else {})
    with (
        name_in_redis(redis, log),
        own_folder(config, log) as folder,
        control_listener(config, folder, log) as listener,
    ):
        surroundings = stage_surroundings(config, redis, environment, folder, stdout, log)
        async with configured_front(config, name, log, checks_actions=False) as front:
            link = _only_route(front).link
            chain = Supervisor(chain_programs(config, commands, sink), surroundings, link, log)
            sources = [
                Supervisor([source], surroundings, SourceLink(link, front.counters), log, SOURCE)
                for source in source_programs(config, redis)
            ]
            inputs = Inputs(configured_inputs(config, front, surroundings, log), chain.serving)
            backend = Together([chain, *sources, inputs], surroundings.stdout, front.counters)
            reload = _reload_of(chain, lambda: chain_programs(config, read_commands(), sink), front, log)
            stopping = trio.Event()
            async with trio.open_nursery() as watching:
                if config.watch:
                    watching.start_soon(watch_files, config, commands, read_commands, reload, stopping, log)
                control = (
                    control_of(listener, front, lambda: [chain], [*sources, inputs], reload, stopping, log)
                    if listener
                    else None
                )
                await serve(config, front, backend, handover, stopping, reload, log, control)
                watching.cancel_scope.cancel()


def _reload_of(chain: Supervisor, read_programs: Callable[[], Sequence[Program]], front: Front, log: Log) -> Reload:
    def reload(why: str) -> Outcome:
        if files := front.entrance.reload():
            log.always(f"{why}: {files}")
        try:
            outcome = chain.reload(read_programs())
        except FwsError as error:
            first, *more = error.lines
            for line in (f"{why}: the chain stays as it is: {first}", *more):
                log.always(line)
            return decided(first)
        log.always(f"{why}: a new chain starts beside the one that runs")
        return outcome

    return reload


def _only_route(front: Front) -> Route:
    """A route for every path."""
    route = front.open_route()
    front.routes.put(route.pattern, route)
    return route


async def run_front(config: Config, handover: Handover, log: Log) -> None:
    """Serve clients with events on stdout and actions on stdin until a signal. Raises FwsError."""
    stopping = trio.Event()
    async with configured_front(config, config.name or secrets.token_hex(3), log, checks_actions=True) as front:
        backend = StandardStreams(_only_route(front).link, stopping, log)

        def reload(why: str) -> Outcome:
            log.always(f"{why}: {front.entrance.reload()}")
            return decided()

        await serve(config, front, backend, handover, stopping, reload, log)
