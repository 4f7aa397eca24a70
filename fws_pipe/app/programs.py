"""The programs to start behind a front: the stages and the sink, and the sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fws_pipe.chain.resolver import Command
from fws_pipe.chain.spawn import Program, module_program
from fws_pipe.chain.watch import files_named_in, signatures_of
from fws_pipe.config.options import Config


def chain_programs(config: Config, commands: Sequence[Command], sink: Program) -> list[Program]:
    """The programs of a chain's stages, and its sink."""
    stages = [
        Program(
            command.label,
            [config.shell, "-c", command.shell_text],
            version=signatures_of(_files_of(command)),
            command=command.text if command.path is None else "",
        )
        for command in commands
    ]
    return [*stages, sink]


def _files_of(command: Command) -> list[str]:
    return [path for path in (command.path, *files_named_in(command.text)) if path]


def source_programs(config: Config, redis: Mapping[str, str]) -> list[Program]:
    """The programs that bring in events from outside: for Redis, and for the user's own storage module.

    `redis` is the environment that tells the source how to reach Redis; empty: there is no Redis.
    """
    programs = []
    if redis:
        programs.append(module_program("source", "fws_pipe.broker.source", redis))
    if config.storage_has_pubsub:
        programs.append(module_program("subscriber", "fws_pipe.sdk.subscriber", {}))
    return programs
