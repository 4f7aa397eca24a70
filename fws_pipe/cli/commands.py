"""All commands with their command lines, for shells' completions and for the man pages."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from fws_pipe.broker import source
from fws_pipe.cli import fws_cat, fws_check, fws_ctl, fws_emit, fws_otlp, fws_replay, fws_test, fws_top
from fws_pipe.config.options import front_parser, pipe_parser
from fws_pipe.protocol.actions import ACTION_TYPES
from fws_pipe.protocol.events import EVENT_TYPES
from fws_pipe.sdk import host
from fws_pipe.sdk.user_storage import default_parser

_SINK = """usage: fws-sink

Ends a chain that is composed by hand: reads events and actions on stdin, drops the events, writes the actions for the
front on stdout, and publishes those for Redis, if FWS_REDIS_URL names one. fws-pipe runs it by itself.

  mkfifo back; fws-front <back | broadcast | fws-sink >back
"""

_PYTHON = """usage: fws-python FILE [ARGUMENT…]

Runs a Python script in the environment that fws-pipe is installed in, so that it can import fws_pipe. A filter's first
line is:

  #!/usr/bin/env fws-python

Without a FILE it is that environment's Python.
"""


@dataclass(frozen=True)
class Command:
    """A command: its parser, or else what its --help prints, and the words that its arguments may be."""

    name: str
    summary: str
    parser: argparse.ArgumentParser | None = None
    help: str = ""
    words: Sequence[str] = ()


def all_commands() -> list[Command]:
    """Each command of the package."""
    return [
        Command("fws-pipe", "a WebSocket server whose behaviour is a Unix pipeline of filters", pipe_parser()),
        Command("fws-front", "the WebSocket side of fws-pipe alone", front_parser()),
        Command("fws_server", "fws-pipe with the command line of filtered_websocket", default_parser()),
        Command("fws-sink", "ends a chain that is composed by hand", help=_SINK),
        Command("fws-source", "turns what is published in Redis into events", help=source.HELP),
        Command("fws-cat", "shows frames as lines of JSON", fws_cat.make_parser()),
        Command(
            "fws-emit", "makes frames of arguments, or of lines of JSON", help=fws_emit.HELP,
            words=sorted(EVENT_TYPES | ACTION_TYPES),
        ),
        Command("fws-filter", "hosts filters from Python modules", help=host.HELP),
        Command("fws-python", "runs a Python script that imports fws_pipe", help=_PYTHON),
        Command("fws-ctl", "asks a running server", fws_ctl.make_parser()),
        Command("fws-top", "shows a running server in a terminal", fws_top.make_parser()),
        Command("fws-otlp", "sends traces to an OpenTelemetry collector", fws_otlp.make_parser()),
        Command("fws-check", "tries whether a filter keeps the contract", fws_check.make_parser()),
        Command("fws-test", "runs a chain on lines of JSON, without a server", help=fws_test.HELP),
        Command("fws-replay", "plays a recording to a chain or to a server", fws_replay.make_parser()),
    ]  # fmt: skip


def subcommands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a command's own commands, by name; none for most."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in actions_of(parser):
        if isinstance(action, argparse._SubParsersAction):  # argparse has no public name for it
            found.update(action.choices)
    return found


def actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """A parser's options and arguments in the order of its help, without those that the help leaves out."""
    groups = parser._action_groups  # argparse has no public name for these
    actions = [action for group in groups for action in group._group_actions]
    return [action for action in actions if action.help != argparse.SUPPRESS]


def takes_value(action: argparse.Action) -> bool:
    """Whether an option is followed by a value."""
    return action.nargs != 0
