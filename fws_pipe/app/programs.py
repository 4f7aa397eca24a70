"""The processes behind a front, as programs to start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fws_pipe.chain.resolver import Command
from fws_pipe.chain.spawn import Program, module_program
from fws_pipe.chain.watch import files_named_in, signatures_of
from fws_pipe.config.options import Config


def chain_programs(config: Config, commands: Sequence[Command], sink: Program) -> list[Program]:
    """The stages of a chain, and its sink."""
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
    """What brings in events from outside: Redis's subscriptions, and those of the user's own storage module.

    `redis` tells a source how to get to Redis; it is empty where there is none.
    """
    programs = []
    if redis:
        programs.append(module_program("source", "fws_pipe.broker.source", redis))
    if config.storage_has_pubsub:
        programs.append(module_program("subscriber", "fws_pipe.sdk.subscriber", {}))
    return programs
