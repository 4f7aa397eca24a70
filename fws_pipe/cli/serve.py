"""Runs fws-pipe and fws-front, from argv to an exit code. A FwsError becomes one line on stderr."""

from __future__ import annotations

import fcntl
import os
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import trio

from fws_pipe.app.run import run_front, run_pipe
from fws_pipe.chain.commands import SystemCommands, filter_paths, filter_summary, filters_dir, stage_path
from fws_pipe.chain.resolver import Command, resolve_chain
from fws_pipe.config.options import Config, Query, current_environment, parse_front, parse_pipe
from fws_pipe.config.topics import DEPLOY
from fws_pipe.errors import EXIT_OK, EXIT_SYSTEM, ChainError, FwsError, UsageError, first_error
from fws_pipe.http.routes import EVERY_PATH
from fws_pipe.ledger.quarantine import check_folder
from fws_pipe.log import Log
from fws_pipe.pipes.blocks import open_standard_streams
from fws_pipe.storage.base import StorageKind
from fws_pipe.system.service_manager import take_over
from fws_pipe.system.signals import die_of_interrupts, write_to_any_terminal

_DESCRIPTORS_OF_OURS = 64
"""Descriptors for the server itself: pipes, listeners, epoll, and some to spare."""

_HANDSHAKES_SHARE = 4
"""If descriptors are short, one in this many is for handshakes, which take one for a short time only."""

_DESCRIPTORS_OF_A_STAGE = 8
"""Descriptors that a stage takes while it is started."""


def pipe_main() -> None:
    """Run fws-pipe."""
    log = Log("fws-pipe")
    sys.exit(_guarded(log, lambda argv: _pipe(argv, log), sys.argv[1:]))


def front_main() -> None:
    """Run fws-front."""
    log = Log("fws-front")
    sys.exit(_guarded(log, lambda argv: _front(argv, log), sys.argv[1:]))


def server_main() -> None:
    """Run fws_server."""

    log = Log("fws_server")

    def serve(argv: Sequence[str]) -> None:
        from fws_pipe.cli.fws_server import parse_server, reworded

        environment = current_environment()
        config = parse_server(argv, environment)
        try:
            _serve_chain(config, lambda: parse_server(argv, environment), environment, log)
        except* FwsError as group:
            raise reworded(first_error(group), config) from None

    sys.exit(_guarded(log, serve, sys.argv[1:]))


def _guarded(log: Log, main: Callable[[Sequence[str]], None], argv: Sequence[str]) -> int:
    """Run `main` to an exit code, and tell in the log what has ended it."""
    # Until the server handles signals an interrupt just ends it, since nothing has been started yet.
    die_of_interrupts()
    write_to_any_terminal()
    open_standard_streams()
    try:
        main(argv)
    except* FwsError as group:
        error = first_error(group)
        log.error(error.lines)
        return_code = error.exit_code
    except* BrokenPipeError:
        # The reader of our answer, such as `head`, has read enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return_code = EXIT_OK
    except* OSError as errors:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        log.error([str(first_error(errors))])
        return_code = EXIT_SYSTEM
    else:
        return_code = EXIT_OK
    log.close()
    return return_code


def _pipe(argv: Sequence[str], log: Log) -> None:
    environment = current_environment()
    config = parse_pipe(argv, environment)
    if isinstance(config, Query):
        _answer(config, SystemCommands(stage_path(environment), config.shell))
        return

    def parse() -> Config:
        again = parse_pipe(argv, environment)
        assert isinstance(again, Config), "the same command line"
        return again

    _serve_chain(config, parse, environment, log)


def _serve_chain(config: Config, parse: Callable[[], Config], environment: dict[str, str], log: Log) -> None:
    """Serve until the end; `parse` reads the configuration again, for a reload."""
    log.configure(config.log_settings)
    handover = take_over(environment)
    # Taken early, so that it has a single digit: dash knows no others in `>&$FWS_STDOUT_FD`. Each stage gets a pipe
    # with this number, see chain/stdout.py.
    stdout = _duplicate_of_stdout()
    chains = _resolve_all(config, environment)
    if config.quarantine is not None:
        check_folder(config.quarantine)
    config = _checked(config)
    _check_sources(config, SystemCommands(stage_path(environment), config.shell))
    config = _fitting(config, sum(len(chain) + 1 for chain in chains.values()), log)

    latest = config

    def read_chains() -> Mapping[str, Sequence[Command]]:
        nonlocal latest
        latest = _parse_again(latest, parse)
        return _resolve_all(latest, environment)

    trio.run(run_pipe, config, chains, read_chains, environment, stdout, handover, log)


def _resolve_all(config: Config, environment: Mapping[str, str]) -> dict[str, Sequence[Command]]:
    """The stages of each chain, by the pattern of its paths. Raises ChainError."""
    commands = SystemCommands(stage_path(environment), config.shell)
    resolved: dict[str, Sequence[Command]] = {}
    for pattern, text in config.chains.items():
        try:
            resolved[pattern] = resolve_chain(text, commands)
        except ChainError as error:
            if pattern == EVERY_PATH:
                raise
            raise ChainError(f"route {pattern}: {error.message}", error.chain, error.position) from None
    return resolved


def _checked(config: Config) -> Config:
    """Check that the storage and Redis can be used; returns the completed configuration.

    A database without a path isn't opened, since the server makes it. Raises UsageError, SystemRefusedError.
    """
    if config.storage_module is not None:
        from fws_pipe.sdk.user_storage import check_user_storage

        # This loads the user's code, whose own errors tell best what is wrong.
        has_pubsub = check_user_storage(config.storage_module, config.server_argv)
        config = replace(config, storage_has_pubsub=has_pubsub)
    if config.storage.startswith("sqlite:"):
        from fws_pipe.storage import open_storage

        open_storage(config.storage_environment).close()
    if config.redis is not None:
        from fws_pipe.broker.connection import check_usable

        check_usable(config.redis, keeps_storage=config.storage == StorageKind.REDIS)
    return config


def _check_sources(config: Config, commands: SystemCommands) -> None:
    """Check that the commands of --source exist. Raises ChainError."""
    for source in config.source:
        try:
            resolve_chain(source.text, commands, is_source=True)
        except ChainError as error:
            raise ChainError(f"--source {source.name}: {error.message}", error.chain, error.position) from None


def _parse_again(before: Config, parse: Callable[[], Config]) -> Config:
    """Read the configuration again. Raises UsageError also if the file no longer names the chain."""
    if before.file is not None and os.path.exists(before.file) and not os.path.isfile(before.file):
        # A pipe, as of `-c <(…)`, has been read already, and opening it again could block for ever.
        if not before.chain_is_in_file:
            return before
        raise UsageError(f"{before.file} is not a regular file, so it can't be read again")
    now = parse()
    if before.chain_is_in_file and not now.names_chain:
        raise UsageError(f"{before.file} no longer names a chain")
    return now


def _duplicate_of_stdout() -> int:
    return fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)


def _front(argv: Sequence[str], log: Log) -> None:
    environment = current_environment()
    config = parse_front(argv, environment)
    log.configure(config.log_settings)
    trio.run(run_front, _fitting(config, 1, log), take_over(environment), log)


def _fitting(config: Config, processes: int, log: Log) -> Config:
    """Lower the limits on connections to the descriptors that are left beside all chains' processes."""
    _raise_descriptor_limit()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = soft - _DESCRIPTORS_OF_OURS - _DESCRIPTORS_OF_A_STAGE * processes
    wanted = (config.max_clients, config.max_handshakes)
    if soft == resource.RLIM_INFINITY or (0 not in wanted and sum(wanted) <= room):
        return config
    handshakes = min(config.max_handshakes or room, max(room // _HANDSHAKES_SHARE, 1))
    clients = min(config.max_clients or room, max(room - handshakes, 1))
    log.info(
        f"the limit of {soft} open files allows {clients} clients and {handshakes} handshakes; raise it with ulimit -n"
    )
    return replace(config, max_clients=clients, max_handshakes=handshakes)


def _raise_descriptor_limit() -> None:
    """Raise the limit on descriptors to the hard limit, since each client takes one (setrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass  # macOS reports "unlimited" and allows less; the limit stays as it is


def _answer(query: Query, commands: SystemCommands) -> None:
    if query.kind == "filters-dir":
        print(filters_dir())
    elif query.kind == "deploy-dir":
        print(DEPLOY)
    elif query.kind == "completion":
        from fws_pipe.cli.completion import completion_for

        print(completion_for(query.shell, list(filter_paths())), end="")
    elif query.kind == "list":
        width = max(len(name) for name in filter_paths())
        for name, path in filter_paths().items():
            print(f"{name:{width}}  {filter_summary(path)}")
    else:
        for command in resolve_chain(query.chain, commands):
            print(f"{command.number}  {command.text}  ->  {command.shell_text}")
    sys.stdout.flush()
