"""fws-pipe and fws-front: from argv to an exit code. A FwsError is one line on stderr, whatever it came through."""

from __future__ import annotations

import fcntl
import os
import resource
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVarTuple

import trio

from fws_pipe.app import run_front, run_pipe
from fws_pipe.config import Config, Query, current_environment, parse_front, parse_pipe
from fws_pipe.errors import EXIT_OK, FwsError
from fws_pipe.log import Log
from fws_pipe.machine import MachineCommands, filter_paths, filter_summary, filters_dir, stage_path
from fws_pipe.pipeline.resolve import resolve_chain

Arguments = TypeVarTuple("Arguments")


def pipe_main() -> None:
    """Run fws-pipe."""
    sys.exit(_guarded("fws-pipe", _pipe, sys.argv[1:]))


def front_main() -> None:
    """Run fws-front."""
    sys.exit(_guarded("fws-front", _front, sys.argv[1:]))


def _guarded(program: str, main: Callable[[Sequence[str]], None], argv: Sequence[str]) -> int:
    try:
        main(argv)
    except* FwsError as group:
        error = _first(group)
        print(f"{program}: {error}", file=sys.stderr)
        return_code = error.exit_code
    except* BrokenPipeError:
        # Whoever read our answer has read enough of it, like `head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return_code = EXIT_OK
    else:
        return_code = EXIT_OK
    return return_code


def _first(group: BaseExceptionGroup[FwsError]) -> FwsError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, FwsError)
    return error


def _pipe(argv: Sequence[str]) -> None:
    environment = current_environment()
    config = parse_pipe(argv, environment)
    commands = MachineCommands(stage_path(environment))
    if isinstance(config, Query):
        _answer(config, commands)
        return
    # The first free descriptor, which is one digit: dash knows no others in `>&$FWS_STDOUT_FD`.
    stdout = _duplicate_of_stdout()
    chain = resolve_chain(config.chain, commands)
    log = Log("fws-pipe", config.level)
    _run(log, run_pipe, config, chain, environment, stdout, log)


def _duplicate_of_stdout() -> int:
    try:
        return fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)  # we were started without a stdout


def _front(argv: Sequence[str]) -> None:
    config: Config = parse_front(argv, current_environment())
    log = Log("fws-front", config.level)
    _run(log, run_front, config, log)


def _run(log: Log, main: Callable[[*Arguments], Awaitable[None]], *arguments: *Arguments) -> None:
    _raise_descriptor_limit()
    try:
        trio.run(main, *arguments)
    finally:
        log.close()


def _raise_descriptor_limit() -> None:
    """Take as many descriptors as we may have: one a client (setrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass  # macOS says "unlimited" and means less; what we have will do


def _answer(query: Query, commands: MachineCommands) -> None:
    if query.kind == "filters-dir":
        print(filters_dir())
    elif query.kind == "list":
        width = max(len(name) for name in filter_paths())
        for name, path in filter_paths().items():
            print(f"{name:{width}}  {filter_summary(path)}")
    else:
        for command in resolve_chain(query.chain, commands):
            print(f"{command.number}  {command.text}  ->  {command.shell_text}")
    sys.stdout.flush()
