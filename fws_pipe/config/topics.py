"""The documents in fws_pipe/docs, which `--help TOPIC` prints unchanged."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fws_pipe.broker.settings import without_passwords
from fws_pipe.errors import UsageError

TOPICS = {
    "operations": "run it for real: service managers, proxies, limits, reload, signals, exit codes",
    "security": "TLS, tokens, the gate, origins, what stages may see",
    "options": "every option with its variable and default, and the config file",
    "frames": "the wire format: events, actions, and what a filter must do",
    "filters": "the shipped filters, the chain's syntax, filters of your own",
    "adapters": "filters from programs that read and write lines, not frames",
    "redis": "several servers that share one Redis",
    "promises": "what is promised about order, crashes, slow clients and shutdown, and what is not",
    "speed": "measurements beside other servers",
    "source": "a tour of the source, its rooms and its theory",
}
"""Each topic with its line in the help; its text is the file TOPIC.md."""

DOCS = Path(__file__).resolve().parent.parent / "docs"

DEPLOY = DOCS / "deploy"
"""The files for service managers, containers and proxies."""


def text_of(topic: str) -> str:
    """The document on a topic, in Markdown. Raises UsageError for an unknown topic, and names the nearest one."""
    if topic not in TOPICS:
        near = difflib.get_close_matches(topic, TOPICS, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"no help on {without_passwords(topic)!r}; {hint}topics: {', '.join(TOPICS)}")
    return (DOCS / f"{topic}.md").read_text(encoding="utf-8")


def topics_epilog(program: str) -> str:
    """The list of topics, for the end of a program's help."""
    width = max(map(len, TOPICS))
    lines = "".join(f"\n  {topic:{width}}  {summary}" for topic, summary in TOPICS.items())
    return f"topics, for {program} --help TOPIC:{lines}"


class HelpAction(argparse.Action):
    """Prints the program's help, or the document on a TOPIC, and exits 0."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Print and exit. Raises UsageError for an unknown topic."""
        print(parser.format_help() if values is None else text_of(str(values)), end="")
        # Flushed here, where a reader that has gone, such as `head`, still means exit 0.
        sys.stdout.flush()
        parser.exit()


def add_help(parser: argparse.ArgumentParser) -> None:
    """Add the option `-h`, `--help [TOPIC]` to a parser that was made with `add_help=False`."""
    parser.add_argument(
        "-h", "--help", nargs="?", metavar="TOPIC", action=HelpAction, default=argparse.SUPPRESS,
        help=f"print this, or the document on a topic: {', '.join(TOPICS)}",
    )  # fmt: skip
