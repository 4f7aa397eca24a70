"""The options: each is declared once, for the flag, the environment variable, the check and the help.

A flag beats its environment variable, which beats the default.
"""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from fws_pipe import __version__
from fws_pipe.errors import EXIT_CODES, UsageError
from fws_pipe.log import Level
from fws_pipe.protocol.codec import FRAME_LIMIT_BYTES

DEFAULT_CHAIN = "broadcast | stdout_log"

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def parse_size(text: str) -> int:
    """Bytes, with K, M or G for binary multiples: "64M". Raises ValueError."""
    cleaned = text.strip().lower().removesuffix("ib").removesuffix("b")
    unit = cleaned[-1:] if cleaned[-1:] in _UNITS else ""
    number = cleaned.removesuffix(unit) if unit else cleaned
    if not number.isascii() or not number.isdecimal():
        raise ValueError("expected a size in bytes such as 65536, 64K or 1M")
    return int(number) * _UNITS[unit]


def parse_seconds(text: str) -> float:
    """Seconds, 0 or more. Raises ValueError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError("expected a number of seconds, 0 or more")
    return seconds


def parse_count(text: str) -> int:
    """A whole number, 0 or more. Raises ValueError."""
    if not text.isascii() or not text.isdecimal():
        raise ValueError("expected a whole number, 0 or more")
    return int(text)


def parse_port(text: str) -> int:
    """A TCP port. Raises ValueError."""
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise ValueError("expected a port, 0 to 65535")
    return int(text)


def parse_message_size(text: str) -> int:
    """A size that leaves room for the rest of a frame. Raises ValueError."""
    size = parse_size(text)
    if not 0 < size <= FRAME_LIMIT_BYTES // 2:
        raise ValueError(f"expected a size of 1 to {FRAME_LIMIT_BYTES // 2} bytes")
    return size


def parse_outbox_size(text: str) -> int:
    """A size that isn't nothing. Raises ValueError."""
    size = parse_size(text)
    if size <= 0:
        raise ValueError("expected a size of 1 byte or more")
    return size


def parse_name(text: str) -> str:
    """A server's name: it stands in ids, logs and channels. Raises ValueError."""
    if not text or len(text) > 32 or not all(character.isalnum() or character in "._" for character in text):
        raise ValueError("expected 1 to 32 letters, digits, dots and underscores")
    return text


def parse_text(text: str) -> str:
    """Any text that isn't empty. Raises ValueError."""
    if not text:
        raise ValueError("expected something")
    return text


@dataclass(frozen=True)
class Option:
    """One setting. `parse` turns text into the value, and raises ValueError with what it had expected."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    default_text: str
    help: str
    metavar: str
    short: str | None = None
    is_list: bool = False
    for_front: bool = True

    @property
    def flag(self) -> str:
        """`--max-message`."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """`FWS_MAX_MESSAGE`."""
        return "FWS_" + self.name.replace("-", "_").upper()

    @property
    def key(self) -> str:
        """`max_message`."""
        return self.name.replace("-", "_")


OPTIONS = (
    Option("port", parse_port, 9000, "9000", "the port to listen on; 0 picks a free one", "PORT", short="p"),
    Option(
        "host", parse_text, ("127.0.0.1",), "127.0.0.1",
        "an address or name to listen on; may be given several times (in the environment: with commas)", "HOST",
        is_list=True,
    ),
    Option("name", parse_name, None, "random", "this server's name: every client's id begins with it", "NAME"),
    Option(
        "max-message", parse_message_size, 1024**2, "1M",
        "the largest message from a client; a larger one closes it with 1009", "BYTES",
    ),
    Option(
        "ping-interval", parse_seconds, 25.0, "25",
        "a client that has been silent for so long is pinged (proxies give up after 30 to 60); 0: never", "SECONDS",
    ),
    Option(
        "ping-timeout", parse_seconds, 20.0, "20",
        "a pinged client that stays silent for so long is closed with 1011; 0: never", "SECONDS",
    ),
    Option(
        "max-clients", parse_count, 16384, "16384",
        "clients at a time; a further one gets 503, which beats running out of descriptors; 0: any number", "COUNT",
    ),
    Option(
        "outbox-limit", parse_outbox_size, 1024**2, "1M",
        "what may wait for a client that reads slowly; one more message and it is closed with 1013", "BYTES",
    ),
    Option(
        "drain-timeout", parse_seconds, 10.0, "10",
        "how long clients and chain have to finish after SIGTERM or SIGINT", "SECONDS",
    ),
    Option(
        "shell", parse_text, "/bin/sh", "/bin/sh", "the shell that runs each stage, as SHELL -c", "PATH",
        for_front=False,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What the user has asked for; the fields are the options."""

    port: int
    host: Sequence[str]
    name: str | None
    max_message: int
    ping_interval: float
    ping_timeout: float
    max_clients: int
    outbox_limit: int
    drain_timeout: float
    shell: str
    level: Level
    chain: str = DEFAULT_CHAIN


@dataclass(frozen=True)
class Query:
    """Instead of serving: answer `list`, `filters-dir` or `check` (of `chain`) on stdout."""

    kind: str
    chain: str = ""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def parse_pipe(argv: Sequence[str], environment: Mapping[str, str]) -> Config | Query:
    """Parse fws-pipe's command line. Raises UsageError; exits 0 after --help and --version."""
    parser = _parser("fws-pipe", "A WebSocket server whose behaviour is a Unix pipeline of filters.", OPTIONS)
    parser.add_argument(
        "chain", nargs="?", metavar="CHAIN", help=f'the filters, as in a shell: "A | B | C" (default: {DEFAULT_CHAIN})'
    )
    asked = parser.add_argument_group("instead of serving").add_mutually_exclusive_group()
    asked.add_argument("--list", action="store_true", help="list the filters, with a line about each")
    asked.add_argument("--filters-dir", action="store_true", help="print the filters' directory, for a shell's PATH")
    asked.add_argument("--check", metavar="CHAIN", help="parse and resolve a chain, print its stages, start nothing")
    arguments = parser.parse_args(argv)
    if arguments.list:
        return Query("list")
    if arguments.filters_dir:
        return Query("filters-dir")
    if arguments.check is not None:
        return Query("check", arguments.check)
    config = _config(arguments, OPTIONS, environment)
    return Config(**config, chain=DEFAULT_CHAIN if arguments.chain is None else arguments.chain)


def parse_front(argv: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Parse fws-front's command line. Raises UsageError; exits 0 after --help and --version."""
    about = (
        "The front alone: events on stdout, actions on stdin. mkfifo back; fws-front <back | broadcast | fws-sink >back"
    )
    options = [option for option in OPTIONS if option.for_front]
    arguments = _parser("fws-front", about, options).parse_args(argv)
    return Config(**_config(arguments, options, environment), shell="/bin/sh")


def _parser(program: str, about: str, options: Sequence[Option]) -> _Parser:
    codes = "".join(f"\n  {code}  {meaning}" for code, meaning in EXIT_CODES.items())
    parser = _Parser(
        prog=program,
        description=about,
        epilog=f"exit codes:{codes}",
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    for option in options:
        names = ([f"-{option.short}"] if option.short else []) + [option.flag]
        text = f"{option.help} (default: {option.default_text}; {option.variable})"
        action = "append" if option.is_list else "store"
        parser.add_argument(*names, dest=option.key, action=action, metavar=option.metavar, help=text)
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument(
        "-v", "--verbose", action="store_true", help="tell of each client that comes and goes as well"
    )
    loudness.add_argument("-q", "--quiet", action="store_true", help="tell only what goes wrong")
    parser.add_argument("--version", action="version", version=f"{program} {__version__}")
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Leaves the exit codes as they stand, and wraps the description."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("exit codes:"):
            return super()._fill_text(text, width, indent)
        return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent)


def _config(arguments: argparse.Namespace, options: Sequence[Option], environment: Mapping[str, str]) -> dict[str, Any]:
    level = Level.DEBUG if arguments.verbose else Level.WARNING if arguments.quiet else Level.INFO
    values = {option.key: _value(option, getattr(arguments, option.key), environment) for option in options}
    return {**values, "level": level}


def _value(option: Option, given: str | list[str] | None, environment: Mapping[str, str]) -> Any:
    source = option.flag
    if given is None and environment.get(option.variable):
        source = option.variable
        text = environment[option.variable]
        given = [item.strip() for item in text.split(",")] if option.is_list else text
    if given is None:
        return option.default
    try:
        return tuple(option.parse(item) for item in given) if isinstance(given, list) else option.parse(given)
    except ValueError as error:
        raise UsageError(f"{source}: {error}, got {given!r}") from None


def current_environment() -> dict[str, str]:
    """A copy of the environment, for the parsers and for the stages."""
    return dict(os.environ)
