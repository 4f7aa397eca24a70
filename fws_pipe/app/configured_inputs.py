"""Makes the inputs that the configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fws_pipe.chain.spawn import Program, Surroundings
from fws_pipe.config.options import Config
from fws_pipe.front.front import Front
from fws_pipe.inputs.command import CommandInput
from fws_pipe.inputs.inputs import Input
from fws_pipe.inputs.line_feed import LineFeed
from fws_pipe.inputs.own_stdin import CHANNEL, OwnStdin
from fws_pipe.ledger.feed import Feed
from fws_pipe.log import Log


def configured_inputs(
    config: Config, front: Front, feeds: Callable[[], Sequence[Feed]], surroundings: Surroundings, log: Log
) -> list[Input]:
    """Make an input for the server's own stdin, if --stdin was given, and for each command of --source.

    Each line goes into all feeds; `feeds` gives the present ones.
    """

    def lines_on(channel: str, label: str) -> LineFeed:
        def say(text: str) -> None:
            log.always(f"{label}: {text}")

        return LineFeed(channel, feeds, config.max_message, front.counters, say)

    inputs: list[Input] = [OwnStdin(lines_on(CHANNEL, "stdin"), log)] if config.stdin else []
    for source in config.source:
        program = Program(f'source "{source.name}"', [config.shell, "-c", source.text])
        inputs.append(CommandInput(program, surroundings, lines_on(source.name, program.label), log))
    return inputs
