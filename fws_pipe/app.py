"""Joins the front and what is behind it, and ends them in order.

Start: listen, start the chain, wait for its first tick, accept. End (docs/promises.md): stop accepting, let what was
read go through, close the clients with 1001, end the chain's input, wait for the sink; a second signal hurries.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import trio

from fws_pipe.admission.entrance import Entrance, EntranceSettings
from fws_pipe.admission.tokens import AuthSettings
from fws_pipe.broker.settings import RedisSettings
from fws_pipe.chain.commands import stage_path
from fws_pipe.chain.environment import stage_environment
from fws_pipe.chain.resolver import Command
from fws_pipe.chain.spawn import Program, Surroundings, module_program
from fws_pipe.chain.stdout import ServerStdout
from fws_pipe.chain.successor import TICK_TIMEOUT_S
from fws_pipe.chain.supervisor import SOURCE, Supervisor
from fws_pipe.chain.watch import RestlessFiles, Watch, files_named_in, programs_named_in, signatures_of
from fws_pipe.config.options import Config
from fws_pipe.counters import Count, Counters
from fws_pipe.errors import FrameError, FwsError, GaveUpError, UnfinishedError, UsageError
from fws_pipe.front.front import Front
from fws_pipe.front.limits import Limits
from fws_pipe.front.listener import accept_all, open_listeners, open_unix_listeners, quiet_libraries, url_of
from fws_pipe.front.source_link import SourceLink
from fws_pipe.ledger.link import LinkLimits
from fws_pipe.log import Log
from fws_pipe.pipes.blocks import STDIN, STDOUT, ReadBuffer, write_some
from fws_pipe.storage.base import StorageKind
from fws_pipe.system.runtime_folder import runtime_folder
from fws_pipe.system.service_manager import Handover, Notifier
from fws_pipe.system.signals import is_ignored
from fws_pipe.websocket.meter import Pace
from fws_pipe.websocket.rates import RatePolicy
from fws_pipe.websocket.rfc6455 import GOING_AWAY, INTERNAL_ERROR
from fws_pipe.websocket.tls import TlsFiles
from fws_pipe.wording import counted

_GAVE_UP_S = 2.0

_LAST_LINES_S = 2.0
"""How long stdout may take for its last lines when the chain has failed."""

_INTERRUPT_S = 0.5
"""How long after the filters' end a signal that has ended them may reach us."""

_CHAINS_SHARE_S = 2.0
"""What is left of the drain timeout for the chain to finish after the clients have gone."""

_LAGGARDS_SHARE = 0.1
"""Share of the drain timeout for clients that have sent more than is dealt with at once: a flood never ends."""

_HANDSHAKES_SHARE = 0.1
"""What part of the drain timeout those may take who shake hands when the server stops, to be told so in order."""


class Backend(Protocol):
    """What stands behind a front: a supervised chain, or our own stdin and stdout."""

    serving: trio.Event
    """Set once it has served for the first time."""

    @property
    def was_cut_off(self) -> bool:
        """Whether it was ended before it had finished by itself."""

    async def run(self) -> None:
        """Run until stopped. Raises FwsError when there is no going on."""

    def stop(self, grace_s: float) -> None:
        """Finish within `grace_s` seconds."""

    def hurry(self) -> None:
        """There is no time left."""

    def expect_stop(self) -> None:
        """A stop is near."""


Reload = Callable[[str], None]
"""Reads again what can be read again, and says so; the text is why."""


class Together:
    """Several backends as one: the chain, and the source beside it; and the stdout that they write on."""

    def __init__(self, backends: Sequence[Backend], stdout: ServerStdout, counters: Counters) -> None:
        self._backends = backends
        self._stdout = stdout
        self._counters = counters
        self.serving = trio.Event()
        self._deadline: float | None = None
        """When all must have ended, once they are stopped (trio's clock)."""
        self._hurry = trio.Event()

    @property
    def was_cut_off(self) -> bool:
        """Whether one of them was."""
        return any(backend.was_cut_off for backend in self._backends)

    def stop(self, grace_s: float) -> None:
        """Stop them all."""
        self._deadline = trio.current_time() + grace_s
        for backend in self._backends:
            backend.stop(grace_s)

    def expect_stop(self) -> None:
        """Tell them all."""
        for backend in self._backends:
            backend.expect_stop()

    def hurry(self) -> None:
        """Hurry them all."""
        self._hurry.set()
        for backend in self._backends:
            backend.hurry()

    async def run(self) -> None:
        """Run them all. Raises FwsError when one of them can't go on."""
        try:
            async with trio.open_nursery() as watching:
                watching.start_soon(self._announce)
                async with trio.open_nursery() as nursery:
                    for backend in self._backends:
                        nursery.start_soon(backend.run)
                watching.cancel_scope.cancel()  # they may have been stopped before they had served
        finally:
            await self._finish_stdout()

    async def _finish_stdout(self) -> None:
        """Let the reader of stdout have what was written before the end, within the time that is left."""
        left_s = _LAST_LINES_S if self._deadline is None else max(self._deadline - trio.current_time(), 0.0)
        self._counters.add(Count.STDOUT_DROPPED, await self._stdout.finish(left_s, self._hurry))

    async def _announce(self) -> None:
        for backend in self._backends:
            await backend.serving.wait()
        self.serving.set()


class StandardStreams:
    """fws-front's backend: events to stdout, actions from stdin.

    Both may be anything, and shared with others: a thread reads and a thread writes, and no flag of theirs is changed.
    """

    def __init__(self, front: Front, interrupted: trio.Event, log: Log) -> None:
        self._front = front
        self._interrupted = interrupted
        self._log = log
        self.serving = trio.Event()
        self._stopping = trio.Event()
        self._grace_s = 0.0
        self.was_cut_off = False
        """Whether the actions had not ended when the time was up."""

    def hurry(self) -> None:
        """There is nothing to hurry: the filters are not ours."""

    def expect_stop(self) -> None:
        """Nor is there anything to get ready."""

    def stop(self, grace_s: float) -> None:
        """End the output, and take what still comes in for so long."""
        self._grace_s = grace_s
        self._stopping.set()

    async def run(self) -> None:
        """Relay until stopped. Raises GaveUpError when either side ends first, FrameError for a broken one."""
        actions_ended = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._announce)
            nursery.start_soon(self._execute_actions, actions_ended)
            async with trio.open_nursery() as writer:
                writer.start_soon(self._write_events)
                await self._stopping.wait()
                writer.cancel_scope.cancel()
            _end_stdout()
            with trio.move_on_after(self._grace_s):
                await actions_ended.wait()
            self.was_cut_off = not actions_ended.is_set()
            nursery.cancel_scope.cancel()

    async def _announce(self) -> None:
        with trio.move_on_after(TICK_TIMEOUT_S):
            await self._front.link.ready.wait()
        if not self._front.link.ready.is_set():
            self._front.link.give_up_on_ticks()
            self._log.always(
                f"no tick has come back within {TICK_TIMEOUT_S:.0f} s: is fws-sink last, and its stdout our stdin?"
            )
        self.serving.set()

    async def _execute_actions(self, ended: trio.Event) -> None:
        await self._front.link.execute_all(_Stdin(), "stdin")
        ended.set()
        await self._give_up_unless_interrupted("the actions on stdin have ended")

    async def _write_events(self) -> None:
        try:
            await self._front.link.write_events(_Stdout())
        except OSError as error:
            await self._give_up_unless_interrupted(f"the events can't be written to stdout ({error.strerror})")

    async def _give_up_unless_interrupted(self, problem: str) -> None:
        """One side has ended. An interrupt from the keyboard ends the filters too, and may be noticed after that."""
        with trio.move_on_after(_INTERRUPT_S):
            await self._interrupted.wait()
        if not self._interrupted.is_set():
            raise GaveUpError(f"{problem}: the filters behind this front are gone")
        self._front.link.close()


class _Stdin:
    """An `Inlet` that somebody else may share: only a thread can wait for it."""

    descriptor: int | None = None
    early = b""

    def __init__(self) -> None:
        self._buffer = ReadBuffer()

    async def read(self) -> bytes:
        """The next block, or nothing at the end."""
        return await trio.to_thread.run_sync(self._buffer.read_waiting, STDIN, abandon_on_cancel=True)


class _Stdout:
    """An `Outlet` that somebody else may share: only a thread can wait for it."""

    async def write(self, data: bytes) -> None:
        """Write all of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[await trio.to_thread.run_sync(write_some, STDOUT, rest, abandon_on_cancel=True) :]

    def write_nowait(self, data: bytes) -> int:
        """Nothing is written without waiting."""
        return 0


def _end_stdout() -> None:
    """Give whoever reads our stdout the end of input; descriptor 1 stays taken, so that nothing else gets it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


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
    with _name_in_redis(redis, log), _storage_environment(config, redis) as storage:
        plain = stage_environment(environment, config.pass_env, is_clean=config.clean_env)
        if kept := sorted(environment.keys() - plain.keys()):
            log.debug(f"kept from the stages' environment: {', '.join(kept)}")
        server_stdout = ServerStdout(stdout, log)
        surroundings = Surroundings(
            {**plain, "PATH": stage_path(environment), "PYTHONUNBUFFERED": "1", **storage}, server_stdout
        )
        sink = module_program("sink", "fws_pipe.chain.sink", redis.to_environment() if redis else {})
        async with _front(config, name, log, checks_actions=False) as front:
            chain = Supervisor(_chain_programs(config, commands, sink), surroundings, front.link, log)
            sources = [
                Supervisor([source], surroundings, SourceLink(front.link, front.counters), log, SOURCE)
                for source in _source_programs(config, redis)
            ]

            def reload(why: str) -> None:
                files = front.entrance.reload()
                if files:
                    log.always(f"{why}: {files}")
                try:
                    chain.reload(_chain_programs(config, read_commands(), sink))
                except FwsError as error:
                    first, *more = error.lines
                    for line in (f"{why}: the chain stays as it is: {first}", *more):
                        log.always(line)
                else:
                    log.always(f"{why}: a new chain starts beside the one that runs")

            async with trio.open_nursery() as watching:
                stopping = trio.Event()
                if config.watch:
                    watching.start_soon(_watch_files, config, commands, read_commands, reload, stopping, log)
                await _serve(
                    config,
                    front,
                    Together([chain, *sources], server_stdout, front.counters),
                    handover,
                    stopping,
                    reload,
                    log,
                )
                watching.cancel_scope.cancel()


def _chain_programs(config: Config, commands: Sequence[Command], sink: Program) -> list[Program]:
    stages = [
        Program(
            command.label,
            [config.shell, "-c", command.shell_text],
            version=signatures_of(_files_of(command)),
        )
        for command in commands
    ]
    return [*stages, sink]


def _files_of(command: Command) -> list[str]:
    return [path for path in (command.path, *files_named_in(command.text)) if path]


async def _watch_files(
    config: Config,
    commands: Sequence[Command],
    read_commands: Callable[[], Sequence[Command]],
    reload: Reload,
    stopping: trio.Event,
    log: Log,
) -> None:
    """Reload whenever a file behind the chain has changed, until the server stops."""
    restless = RestlessFiles()
    while not stopping.is_set():
        named = [path for command in commands for path in (command.path, *programs_named_in(command.text))]
        watched = {path for path in (*named, config.file) if path is not None} - restless.found
        changed = await Watch(watched).wait_changed()
        for path in restless.note_changed(changed, trio.current_time()):
            log.always(f"--watch: {path} changes at each reload, so the chain seems to write it: it is watched no more")
        if stopping.is_set() or restless.found.issuperset(changed):
            continue
        reload("--watch")
        restless.note_reload(trio.current_time())
        with contextlib.suppress(FwsError):  # which has been told
            commands = read_commands()


@contextlib.contextmanager
def _name_in_redis(redis: RedisSettings | None, log: Log) -> Iterator[None]:
    """Have the server's name to itself. The source keeps it, and gives it back at its end. Raises FwsError."""
    if redis is None:
        yield
        return
    from fws_pipe.broker.membership import forget_server, take_name

    take_name(redis, log.always)  # it may wait: nothing runs yet
    try:
        yield
    except BaseException:
        forget_server(redis)  # there may have been no source that could
        raise


@contextlib.contextmanager
def _storage_environment(config: Config, redis: RedisSettings | None) -> Iterator[dict[str, str]]:
    """What tells the stages of their storage; a database without a path of its own lives as long as the server."""
    environment = dict(config.storage_environment)
    if config.storage == StorageKind.REDIS and redis is not None:
        environment.update(redis.to_environment())
    if config.storage != StorageKind.SQLITE:
        yield environment
        return
    with runtime_folder() as folder:
        yield {**environment, "FWS_STORAGE": f"sqlite:{folder}/storage.db"}


def _source_programs(config: Config, redis: RedisSettings | None) -> list[Program]:
    """What brings in events from outside: Redis's subscriptions, and those of the user's own storage module."""
    programs = []
    if redis is not None:
        programs.append(module_program("source", "fws_pipe.broker.source", redis.to_environment()))
    if config.storage_has_pubsub:
        programs.append(module_program("subscriber", "fws_pipe.sdk.subscriber", {}))
    return programs


async def run_front(config: Config, handover: Handover, log: Log) -> None:
    """Serve clients with events on stdout and actions on stdin until a signal. Raises FwsError."""
    stopping = trio.Event()
    async with _front(config, config.name or secrets.token_hex(3), log, checks_actions=True) as front:
        backend = StandardStreams(front, stopping, log)

        def reload(why: str) -> None:
            log.always(f"{why}: {front.entrance.reload()}")

        await _serve(config, front, backend, handover, stopping, reload, log)


@contextlib.asynccontextmanager
async def _front(config: Config, name: str, log: Log, *, checks_actions: bool) -> AsyncIterator[Front]:
    """A front, and the nursery of all its connections."""
    limits = Limits(
        max_message=config.max_message,
        max_clients=config.max_clients,
        outbox=config.outbox_limit,
        ping_interval=config.ping_interval,
        ping_timeout=config.ping_timeout,
        max_clients_per_address=config.max_clients_per_address,
        max_handshakes=config.max_handshakes,
        max_header=config.max_header,
        handshake_timeout=config.handshake_timeout,
        max_fragments=config.max_fragments,
        message_timeout=config.message_timeout,
        memory=config.memory_limit,
        idle_timeout=config.idle_timeout,
        pace=Pace(config.rate, config.rate_bytes, closes=config.rate_policy is RatePolicy.CLOSE),
    )
    link_limits = LinkLimits(
        journal=config.journal_limit,
        stall_timeout=config.stall_timeout,
        max_groups=config.max_groups,
        slow_client=config.slow_client,
        quarantine=config.quarantine,
        checks_actions=checks_actions,
    )
    entrance = Entrance(_entrance_settings(config))
    async with trio.open_nursery() as connections:
        yield Front(
            limits,
            link_limits,
            log,
            name,
            entrance,
            connections,
            intake=config.intake,
        )
        connections.cancel_scope.cancel()


def _entrance_settings(config: Config) -> EntranceSettings:
    if config.cert is None and (config.key or config.client_ca):
        raise UsageError(f"--{'key' if config.key else 'client-ca'} makes no sense without --cert")
    if config.proxy_protocol and not config.trusted_proxy:
        raise UsageError("--proxy-protocol: of which proxy? Name it: --trusted-proxy 10.0.0.0/8, or another")
    tls = TlsFiles(config.cert, config.key, config.client_ca) if config.cert else None
    takes_jwt = config.auth_jwt is not None or config.auth_jwt_secret is not None
    wants_token = config.auth_tokens is not None or takes_jwt
    if not takes_jwt and (config.auth_audience or config.auth_issuer):
        option = "audience" if config.auth_audience else "issuer"
        raise UsageError(f"--auth-{option} makes no sense without --auth-jwt or --auth-jwt-secret")
    auth = AuthSettings(
        tokens_file=config.auth_tokens,
        jwt_key_file=config.auth_jwt,
        jwt_secret_file=config.auth_jwt_secret,
        audience=config.auth_audience,
        issuer=config.auth_issuer,
        cookie=config.auth_cookie,
    )
    return EntranceSettings(
        tls,
        auth if wants_token else None,
        config.gate_timeout if config.gate else None,
        subprotocols=config.subprotocol,
        origins=config.origin,
        proxies=config.trusted_proxy,
        names=[name.lower() for name in config.host],
        has_proxy_protocol=config.proxy_protocol,
        health_path=config.health_path,
    )


async def _open_all(config: Config, inherited: Sequence[socket.socket]) -> list[socket.socket]:
    """All that we listen on. Who hands us a socket or a path wants no port, unless one is named as well."""
    wants_tcp = config.names_tcp or not (config.unix or inherited)
    listeners = [*inherited, *open_unix_listeners(config.unix, config.unix_mode)]
    try:
        return [*listeners, *(await open_listeners(config.host, config.port) if wants_tcp else [])]
    except BaseException:
        for listener in listeners:
            listener.close()
        raise


async def _serve(
    config: Config,
    front: Front,
    backend: Backend,
    handover: Handover,
    stopping: trio.Event,
    reload: Reload,
    log: Log,
) -> None:
    quiet_libraries()
    minded = [number for number in (signal.SIGINT, signal.SIGHUP) if not is_ignored(number)]
    with trio.open_signal_receiver(signal.SIGTERM, *minded) as signals:
        listeners = await _open_all(config, handover.listeners)
        async with _closing(listeners), trio.open_nursery() as nursery:
            nursery.start_soon(_watch_signals, signals, stopping, backend, front, reload, log)
            try:
                async with trio.open_nursery() as serving:
                    serving.start_soon(_run_backend, backend, front)
                    serving.start_soon(
                        _accept_and_drain, config, front, backend, listeners, handover.notifier, stopping, log
                    )
            finally:
                front.abort_all()
            nursery.cancel_scope.cancel()
    counts = front.statistics().describe()
    log.info("stopped" + (f"; counted {counts}" if counts else ""))
    _check_finished(front, backend)


_PLURALS = {"event": "events", "publish": "publishes"}


def _check_finished(front: Front, backend: Backend) -> None:
    """Raise UnfinishedError where anything is left undone."""
    left = {("event", "that the chain has not finished"): front.link.feed.unfinished}
    if backend.was_cut_off:
        left["event", "that the chain, which lets no tick through, may not have read"] = front.link.feed.untracked
    left["publish", "that Redis has not confirmed"] = front.counters[Count.PUBLISHES_LOST]
    if any(left.values()):
        what = " and ".join(
            f"{counted(count, noun, _PLURALS[noun])} {clause}" for (noun, clause), count in left.items() if count
        )
        raise UnfinishedError(f"stopped with {what}; --drain-timeout says how long that may take")


@contextlib.asynccontextmanager
async def _closing(listeners: Sequence[socket.socket]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for listener in listeners:
            listener.close()


async def _run_backend(backend: Backend, front: Front) -> None:
    try:
        await backend.run()
    except* (GaveUpError, FrameError):
        with trio.move_on_after(_GAVE_UP_S):
            await front.close_all(INTERNAL_ERROR, "the server's chain has failed")
        raise


async def _accept_and_drain(
    config: Config,
    front: Front,
    backend: Backend,
    listeners: Sequence[socket.socket],
    notifier: Notifier,
    stopping: trio.Event,
    log: Log,
) -> None:
    async with trio.open_nursery() as accepting:
        accepting.start_soon(_cancel_when, stopping, accepting)
        await backend.serving.wait()
        accepting.start_soon(front.keep_alive.run)
        accepting.start_soon(front.bounds.close_idle)
        accepting.start_soon(front.bounds.bound_memory)
        log.always("listening on " + ", ".join(url_of(listener, front.entrance.has_tls) for listener in listeners))
        for listener in listeners:
            accepting.start_soon(accept_all, listener, front.serve, log, front.lobby)
        notifier.ready()
    notifier.stopping()
    for listener in listeners:
        listener.close()
    await _drain(config, front, backend)


async def _drain(config: Config, front: Front, backend: Backend) -> None:
    deadline = trio.current_time() + config.drain_timeout
    backend.expect_stop()
    if backend.serving.is_set():
        # Clients that take all their time must not take the chain's.
        with trio.move_on_at(deadline - min(_CHAINS_SHARE_S, config.drain_timeout / 2)):
            with trio.move_on_after(config.drain_timeout * _HANDSHAKES_SHARE):
                await front.lobby.wait_empty()
            front.lift_rates()
            with trio.move_on_after(config.drain_timeout * _LAGGARDS_SHARE):
                await front.laggards.wait_none()
            # Replies to what has been read go out before the Close frames do.
            await front.link.feed.wait_settled()
            await front.close_all(GOING_AWAY, "the server is shutting down")
            front.link.feed.shut_out()  # nobody is left to hear it
            await front.link.feed.wait_settled()
    front.abort_all()
    backend.stop(max(deadline - trio.current_time(), 0.0))


async def _cancel_when(event: trio.Event, nursery: trio.Nursery) -> None:
    await event.wait()
    nursery.cancel_scope.cancel()


async def _watch_signals(
    signals: AsyncIterator[int], stopping: trio.Event, backend: Backend, front: Front, reload: Reload, log: Log
) -> None:
    had_terminal = _has_terminal()
    hurrying = False
    async for number in signals:
        name = signal.Signals(number).name
        if number == signal.SIGHUP and not (had_terminal and not _has_terminal()):
            if stopping.is_set():
                log.always("SIGHUP: too late, the server is stopping")
            else:
                reload(name)
        elif not stopping.is_set():
            log.info(f"{name}: finishing; once more and I hurry")
            stopping.set()
        elif not hurrying:
            hurrying = True
            log.info(f"{name} again: hurrying")
            backend.hurry()
            front.abort_all()
            backend.stop(0.0)


def _has_terminal() -> bool:
    """Whether there is a terminal that controls us; when it hangs up (SIGHUP) it is gone (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
