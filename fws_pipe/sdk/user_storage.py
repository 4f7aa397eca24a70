"""A user's own storage: a Python module with a class StorageObject, which may add options to fws_server's.

This is loaded only where there is such a module: argparse is slow to load, and filters must start fast.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from fws_pipe.config.arguments import Parser
from fws_pipe.config.topics import add_help
from fws_pipe.errors import UsageError
from fws_pipe.sdk.old_names import use_old_names

MODULE_PREFIX = "module:"


def default_parser(*, with_help: bool = True) -> argparse.ArgumentParser:
    """The parser with fws_server's own options, to which a StorageObject may add."""
    parser = Parser(
        prog="fws_server",
        description="The server of filtered_websocket: its options, its modules, its config files. See also fws-pipe.",
        epilog="FWS_STORAGE or STORAGE_OBJECT_MODULE names the storage; it may add options.",
        conflict_handler="resolve",
        add_help=False,
    )
    if with_help:
        add_help(parser)
    parser.add_argument("-p", "--port", help="The listening port.", type=int, default=9000)
    parser.add_argument("-c", "--config", help="A JSON or TOML config file.")
    parser.add_argument("-f", "--filters", help="Filters to import at runtime.", nargs="*")
    parser.add_argument("-key", help="A key file (ssl).")
    parser.add_argument("-cert", help="A certificate file (ssl).")
    parser.add_argument("-token", help="The group of clients that have not chosen one.")
    parser.add_argument(
        "--host", help="An address to listen on; may be given several times (default: all).", action="append",
        dest="hosts",
    )  # fmt: skip
    return parser


def add_redis_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of the storage object for Redis; returns the parser."""
    parser.add_argument("--redis_host", default="localhost")
    parser.add_argument("--redis_port", type=int, default=6379)
    parser.add_argument("--redis_channels", help="pubsub channels to subscribe to.", nargs="*")
    parser.add_argument("--redis_key", help="A key prefix.", default="fws")
    return parser


def load_storage_class(module: str) -> Any:
    """The class StorageObject of a module (its dotted name). Raises UsageError where there is none."""
    use_old_names()
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise UsageError(_import_problem(module, error)) from error
    storage_class = getattr(found, "StorageObject", None)
    if not isinstance(storage_class, type):
        raise UsageError(f"storage module {module}: it has no class StorageObject")
    return storage_class


def _import_problem(module: str, error: Exception) -> str:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and f"{module}.".startswith(f"{missing}."):
        return f"storage module {module}: there is no such module here or installed"
    what = " ".join(f"{type(error).__name__}: {error}".split())
    place = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, SyntaxError):
        return f"storage module {module} can't be imported: {what}"
    return f"storage module {module} can't be imported: {what} ({place.filename}, line {place.lineno})"


def parser_with(storage_class: Any) -> argparse.ArgumentParser:
    """The server's parser with the options of a StorageObject; an old class may have no method `parser`."""
    add_options = getattr(storage_class, "parser", None)
    parser = default_parser()
    return parser if add_options is None else add_options(parser) or parser


def _has_pubsub(storage_class: type) -> bool:
    base: type = importlib.import_module("filtered_websocket.storage_objects.base").BasePubSubStorageObject
    return issubclass(storage_class, base)


def check_user_storage(module: str, argv: Sequence[str]) -> bool:
    """Check a storage module and its options before the server starts; returns whether it has a subscriber.

    Raises UsageError where the module can't be used, or an option is wrong.
    """
    storage_class = load_storage_class(module)
    parser_with(storage_class).parse_args(argv)
    return _has_pubsub(storage_class)


def storage_from(environment: Mapping[str, str]) -> tuple[Any, argparse.Namespace]:
    """The StorageObject of the module that FWS_STORAGE names, and its options. Raises UsageError."""
    storage_class = load_storage_class(environment["FWS_STORAGE"].removeprefix(MODULE_PREFIX))
    argv = json.loads(environment.get("FWS_SERVER_ARGV", "[]"))
    options = parser_with(storage_class).parse_args(argv)
    return storage_class(options), options


def open_user_storage() -> Any:
    """The StorageObject of the module that FWS_STORAGE names. Raises UsageError."""
    return storage_from(os.environ)[0]
