"""fws_server: turns filtered_websocket's command line into the configuration of fws-pipe.

Each filter module becomes a stage that hosts it. A user's own storage module gets the options that it adds.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fws_pipe.config.arguments import refuse_rest
from fws_pipe.config.file import ConfigFile, Given, join_stages, module_stage, unknown_key
from fws_pipe.config.options import (
    OLD_OPTIONS,
    OPTIONS,
    Config,
    make_config,
    read_file,
    storage_module_of,
    storage_named,
)
from fws_pipe.errors import ChainError, FwsError, UsageError
from fws_pipe.sdk.user_storage import add_redis_options, default_parser, load_storage_class, parser_with
from fws_pipe.storage.base import StorageKind

_DEFAULT_FILTERS = ("filtered_websocket.filters.broadcast_messages", "filtered_websocket.filters.stdout_messages")
_ALL_INTERFACES = "0.0.0.0"  # where filtered_websocket listened

_FLAGS = {"port": "--port", "key": "-key", "cert": "-cert", "token": "-token"}
_REDIS_FLAGS = {key: f"--{key}" for key in ("redis_host", "redis_port", "redis_channels", "redis_key")}

_OPTION = re.compile(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*(?![\w-])")
_LEAVE_REDIS = "leave --redis-url and the like out"  # advice that is replaced: here Redis comes with the storage


class RewordedError(FwsError):
    """An error in the words of fws_server's options, with the exit code of the original."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def reworded(error: FwsError, config: Config) -> FwsError:
    """The error with fws_server's flags in place of those of fws-pipe, or with variables where it has no flag."""
    if isinstance(error, ChainError):  # its text is the user's own
        return error
    text = str(error)
    flags = {**_FLAGS, "host": "--host"}
    if config.storage == StorageKind.REDIS:
        flags |= {**_REDIS_FLAGS, "redis_url": "--redis_host"}
        text = text.replace(_LEAVE_REDIS, "name another storage with STORAGE_OBJECT_MODULE")
    names = {option.flag: flags.get(option.key, option.variable) for option in OPTIONS}
    return RewordedError(_OPTION.sub(lambda found: names.get(found[0], found[0]), text), error.exit_code)


def parse_server(argv: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Parse fws_server's command line. Raises UsageError; exits 0 after --help."""
    file = read_file(_config_path(argv), takes_unknown=True)
    storage = storage_named(environment, file)
    flags = {**_FLAGS, **_REDIS_FLAGS} if storage == StorageKind.REDIS else _FLAGS
    module = storage_module_of(storage)
    if module is not None:
        parser = parser_with(load_storage_class(module))
        file = _with_redis_words(file)
    else:
        parser = add_redis_options(default_parser()) if storage == StorageKind.REDIS else default_parser()
    words = [word for words in file.unknown.values() for word in words]
    arguments = _parse(parser, [*words, *argv], flags, file)
    if "route" in file.values:
        raise UsageError(f"{file.values['route'].source}: fws_server has one chain for all paths; fws-pipe has routes")
    file = _with_old_defaults(file, storage)
    filters = arguments.get("filters")
    config = make_config(_given(arguments, flags), environment, file, _chain(filters, file))
    server_argv = ["--port", str(config.port), *words, *argv]
    return replace(config, server_argv=server_argv, chain_is_in_file=filters is None and file.names_chain)


def _config_path(argv: Sequence[str]) -> str | None:
    """The config file's path, or None. It is parsed first: the file may name a storage module that adds options."""
    path: str | None = default_parser(with_help=False).parse_known_args(argv)[0].config
    return path


def _with_redis_words(file: ConfigFile) -> ConfigFile:
    """The file's content with the old keys for Redis as words for the parser of a user's own storage module."""
    words = {}
    for key, flag in _REDIS_FLAGS.items():
        if key in file.values:
            text = file.values[key].text
            words[key] = [flag, *text] if isinstance(text, list) else [f"{flag}={text}"]
    rest = {key: value for key, value in file.values.items() if key not in words}
    return replace(file, values=rest, unknown={**file.unknown, **words})


def _parse(
    parser: argparse.ArgumentParser, argv: Sequence[str], flags: Mapping[str, str], file: ConfigFile
) -> dict[str, Any]:
    """The value of each flag; None where it isn't given, so that the environment or the config file decides."""
    found, rest = parser.parse_known_args(argv, argparse.Namespace(**dict.fromkeys(flags)))
    for name in file.unknown:
        if any(word == f"--{name}" or word.startswith(f"--{name}=") for word in rest):
            known = [option.key for option in (*OPTIONS, *OLD_OPTIONS) if option.key not in _REDIS_FLAGS]
            raise unknown_key(file.path, name, known)
    refuse_rest(parser, rest)
    return vars(found)


def _given(arguments: Mapping[str, Any], flags: Mapping[str, str]) -> dict[str, Given]:
    given = {}
    for key, flag in flags.items():
        value = arguments[key]
        if value is not None:
            given[key] = Given(flag, value if isinstance(value, list) else str(value))
    if arguments.get("hosts"):  # unless a user's StorageObject has taken --host for itself
        given["host"] = Given("--host", arguments["hosts"])
    return given


def _with_old_defaults(file: ConfigFile, storage: str) -> ConfigFile:
    """The file's content with filtered_websocket's defaults where they differ from fws-pipe's; all else beats these."""
    values = {"host": Given("", [_ALL_INTERFACES]), **file.values}
    if storage == StorageKind.REDIS and not {"redis_url", "redis_host", "redis_port"} & set(values):
        values["redis_host"] = Given("", "localhost")
    return replace(file, values=values)


def _chain(filters: Sequence[str] | None, file: ConfigFile) -> str:
    """The chain of the command line's filters, else the file's, else the default ones; filters are modules."""
    if filters is None and file.filters is None and file.chain is not None:
        return file.chain
    chosen = next((names for names in (filters, file.filters) if names is not None), _DEFAULT_FILTERS)
    if not all(name.strip() for name in chosen):
        place = f"{file.path}: filters" if filters is None else "-f"
        raise UsageError(f"{place}: expected names of Python modules, got an empty one")
    return join_stages([module_stage(name) for name in chosen])
