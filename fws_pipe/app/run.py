"""fws-pipe and fws-front, from a configuration to the end of the server."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace

import trio

from fws_pipe.admin.health import Health
from fws_pipe.admin.server import AdminServer
from fws_pipe.admission.entrance import Reloaded
from fws_pipe.app.admin_address import admin_listeners, admin_site, serve_admin
from fws_pipe.app.backend import ReadChains, Reload
from fws_pipe.app.configured_front import configured_front
from fws_pipe.app.configured_inputs import configured_inputs
from fws_pipe.app.control_socket import control_listener, control_of
from fws_pipe.app.reloads import Reloads
from fws_pipe.app.route_backend import RouteMaker
from fws_pipe.app.routes import Routes
from fws_pipe.app.serving import TakeOver, serve
from fws_pipe.app.standard_streams import StandardStreams
from fws_pipe.app.stopping import Stopping
from fws_pipe.app.surroundings import name_in_redis, own_folder, stage_surroundings
from fws_pipe.app.taking_over import find_old_server, take_over
from fws_pipe.app.together import Together
from fws_pipe.app.watching import watch_files
from fws_pipe.chain.resolver import Command
from fws_pipe.chain.successor import Outcome, decided
from fws_pipe.config.options import DEFAULT_CHAIN, Config
from fws_pipe.control.joints import Joints
from fws_pipe.control.stage_taps import StageTaps
from fws_pipe.errors import FwsError
from fws_pipe.front.front import Front
from fws_pipe.front.listener import Listener
from fws_pipe.front.route import Route
from fws_pipe.front.unix_socket import UnixListener
from fws_pipe.inputs.inputs import Inputs
from fws_pipe.log import Log, Subject
from fws_pipe.pipes.blocks import STDIN
from fws_pipe.system.service_manager import Handover


async def run_pipe(
    config: Config,
    chains: Mapping[str, Sequence[Command]],
    read_chains: ReadChains,
    environment: dict[str, str],
    stdout: int,
    handover: Handover,
    log: Log,
) -> None:
    """Serve clients through supervised chains, by the patterns of their paths, until a signal. Raises FwsError.

    `environment` is the stages'; `stdout` the number of the descriptor that they know as $FWS_STDOUT_FD.
    """
    name = config.name or secrets.token_hex(3)
    redis = replace(config.redis, server=name, run=secrets.token_hex(8)) if config.redis else None
    with (
        name_in_redis(redis, log.about(Subject.REDIS)),
        own_folder(config, log) as folder,
        control_listener(config, folder, log.about(Subject.CONTROL)) as listener,
    ):
        surroundings = stage_surroundings(config, redis, environment, folder, stdout, log)
        async with configured_front(config, name, log, checks_actions=False) as front:
            routes = Routes(RouteMaker(config, front, surroundings, redis), chains, config.drain_timeout, log)
            brought_in = configured_inputs(config, front, routes.feeds, surroundings, log.about(Subject.INPUT))
            inputs = Inputs(brought_in, routes.serving)
            backend = Together([routes, inputs], surroundings.stdout, front.counters)
            reload = Reloads(_reload_of(routes, read_chains, front, log), handover.notifier)
            stopping = Stopping(config.drain_over)
            async with admin_listeners(config.admin) as admin, trio.open_nursery() as watching:
                health = Health(routes.current, backend.serving.is_set, stopping.is_set)
                joints = Joints(front, routes.chains, StageTaps(lambda: listener.file or "") if listener else None)
                site = admin_site(
                    config, front, health, lambda: [*routes.chains(), inputs], joints, reload, stopping, log
                )
                watching.start_soon(serve_admin, admin, AdminServer(site, front.spawn, log), log)
                if config.watch:
                    watching.start_soon(watch_files, config, chains, read_chains, reload, stopping, log)
                watching.start_soon(_tell_guesses, config, routes.serving, log)
                control = None
                if listener is not None:
                    control = control_of(listener, front, routes, [inputs], joints, reload, stopping, log)
                takeover = _takeover_of(config, front, listener, log)
                await serve(config, front, backend, handover, stopping, reload, log, control, takeover)
                watching.cancel_scope.cancel()


def _takeover_of(config: Config, front: Front, control: UnixListener | None, log: Log) -> TakeOver | None:
    """What takes over from the server that the configuration names; None: nothing. Raises FwsError without a server."""
    if not config.takeover:
        return None
    path = find_old_server(config.takeover, control.file if control is not None else None)

    async def take() -> Sequence[Listener]:
        taken = await take_over(path, front, log)
        if control is not None and config.control == path:
            control.move_to(path)
        taken.begin()
        return taken.listeners

    return take


async def _tell_guesses(config: Config, serving: trio.Event, log: Log) -> None:
    """Log which chain serves when none was given, and that a pipe on stdin is not read unless --stdin says so."""
    await serving.wait()
    if not config.stdin and stat.S_ISFIFO(os.fstat(STDIN).st_mode):
        log.info("stdin is a pipe, and is not read; with --stdin each of its lines is a consumer event")
    if not config.names_chain:
        log.info(f'no chain was given: the default is "{DEFAULT_CHAIN}"')


def _reload_of(routes: Routes, read_chains: ReadChains, front: Front, log: Log) -> Reload:
    def reload(why: str) -> Outcome:
        if files := front.entrance.reload():
            _tell_read(files, why, log)
        try:
            chains = read_chains()
        except FwsError as error:
            first, *more = error.lines
            for line in (f"{why}: the chain stays as it is: {first}", *more):
                log.always(line)
            return decided(first)
        return routes.reload(chains, why)

    return reload


def _tell_read(files: Reloaded, why: str, log: Log) -> None:
    """Log which files were read again; that one could not be read is a warning."""
    tell = log.always if files.kept else log.notice
    tell(f"{why}: {files}")


def _only_route(front: Front) -> Route:
    """A route for every path."""
    route = front.open_route()
    front.routes.put(route.pattern, route)
    return route


async def run_front(config: Config, handover: Handover, log: Log) -> None:
    """Serve clients with events on stdout and actions on stdin until a signal. Raises FwsError."""
    stopping = Stopping(config.drain_over)
    async with configured_front(config, config.name or secrets.token_hex(3), log, checks_actions=True) as front:
        backend = StandardStreams(_only_route(front).link, stopping, log)

        def reload(why: str) -> Outcome:
            _tell_read(front.entrance.reload(), why, log)
            return decided()

        await serve(config, front, backend, handover, stopping, Reloads(reload, handover.notifier), log)
