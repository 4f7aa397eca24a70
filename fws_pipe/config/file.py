"""Config files, JSON or TOML: the options by name, and the chain as a string or a list of filters.

    port = 9000
    filters = ["broadcast", "chat.room"]

    [routes]
    "/log/*" = "broadcast | stdout_log"

This module reads the text of each option and rejects what can't be one; options.py turns the text into values.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from fws_pipe.chain.commands import filter_paths
from fws_pipe.errors import UsageError
from fws_pipe.log import Level
from fws_pipe.protocol.codec import describe

_CHAIN_KEYS = ("chain", "filters")
_ROUTES_KEY = "routes"
LOUDNESS = {"verbose": Level.DEBUG, "quiet": Level.NOTICE}
"""The two keys that set the log level, as the flags of the same names do."""
_REDIS_KEYS = frozenset({"redis_url", "redis_host", "redis_port"})
_OLD_REDIS_FLAG = "redis"
"""A flag of older versions of filtered_websocket, which its README still names."""


class Given(NamedTuple):
    """An option's text, and its place in the words of a message."""

    source: str
    text: str | list[str]
    """A list for an option with several values."""


@dataclass(frozen=True)
class ConfigFile:
    """The content of a config file: the options' text by key, and the other keys."""

    path: str | None
    values: Mapping[str, Given] = field(default_factory=dict)
    chain: str | None = None
    filters: Sequence[str] | None = None
    loudness: str = ""
    """"verbose", "quiet" or neither."""
    unknown: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Other keys, with their values as words of a command line; only if the caller has asked for them."""

    @property
    def names_chain(self) -> bool:
        """Whether it names a chain, filters or routes."""
        has_routes = "route" in self.values and bool(self.values["route"].text)
        return self.chain is not None or self.filters is not None or has_routes


class _Reader:
    """Sorts one file's keys."""

    def __init__(
        self,
        path: str,
        known: Collection[str],
        flags: Collection[str],
        lists: Collection[str],
        secrets: Collection[str],
        takes_unknown: bool,
    ) -> None:
        self._path = path
        self._known = known
        self._takes_unknown = takes_unknown
        self._flags = {*flags, *LOUDNESS}
        self._lists = lists
        self._secrets = secrets
        self._loudness = ""
        self.values: dict[str, Given] = {}
        self.unknown: dict[str, Sequence[str]] = {}

    def read(self, table: Mapping[str, Any]) -> ConfigFile:
        """Sort all keys. Raises UsageError for an unknown key or a wrong value."""
        seen: dict[str, str] = {}
        for name, value in table.items():
            key = name.replace("-", "_")
            if key in seen:
                self._fail(f"{_quoted(name)} and {_quoted(seen[key])} are the same key; leave one of them out")
            seen[key] = name
            self._sort(name, key, value)
        for flag in self._texts("flags", table.get("flags", [])):
            self._old_flag(flag)
        if all(key in table for key in _CHAIN_KEYS):
            self._fail('"chain" and "filters" both name the chain; leave one of them out')
        chain = self._text("chain", table["chain"]) if "chain" in table else None
        filters = self._filters(table["filters"]) if "filters" in table else None
        return ConfigFile(self._path, self.values, chain, filters, self._loudness, self.unknown)

    def _sort(self, name: str, key: str, value: object) -> None:
        if key in (*_CHAIN_KEYS, "flags"):
            return
        if key == _ROUTES_KEY:
            self.values["route"] = Given(self._source(name), self._routes(value))
            return
        if key in LOUDNESS:
            if self._switch(name, value) == "on":
                self._be(key)
        elif key in self._flags:
            self.values[key] = Given(self._source(name), self._switch(name, value))
        elif key in self._lists:
            texts = self._texts(name, value) if isinstance(value, list) else [self._text(name, value)]
            self.values[key] = Given(self._source(name), texts)
        elif key in self._known:
            self.values[key] = Given(self._source(name), self._text(name, value))
        elif self._takes_unknown:
            self.unknown[name] = self._words(name, value)
        else:
            raise unknown_key(self._path, name, self._known)

    def _old_flag(self, flag: str) -> None:
        key = flag.replace("-", "_")
        if key in LOUDNESS:
            self._be(key)
        elif key in self._flags:
            self.values[key] = Given(self._source(f"flags: {flag}"), "on")
        elif key == _OLD_REDIS_FLAG:
            source = self._source(f"flags: {flag}")
            self.values.setdefault("storage", Given(source, "redis"))
            if _REDIS_KEYS.isdisjoint(self.values):
                self.values["redis_host"] = Given(source, "localhost")
        else:
            self._fail(f"flags: unknown flag {_quoted(flag)}{did_you_mean(flag, self._flags)}")

    def _be(self, loudness: str) -> None:
        if self._loudness not in ("", loudness):
            self._fail('"verbose" and "quiet" contradict each other')
        self._loudness = loudness

    def _switch(self, name: str, value: object) -> str:
        if isinstance(value, bool):
            return "on" if value else "off"
        return self._text(name, value, "true or false")

    def _words(self, name: str, value: object) -> list[str]:
        """A key and its value as words of a command line."""
        if not name.isprintable():
            raise unknown_key(self._path, name, self._known)
        if isinstance(value, bool):
            return [f"--{name}"] if value else []
        if isinstance(value, list):
            return [f"--{name}", *self._texts(name, value)]
        return [f"--{name}={self._text(name, value)}"]

    def _text(self, name: str, value: object, expected: str = "a string or a number") -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            self._fail(f"{name}: expected {expected}{self._got(name, value)}")
        text = str(value)
        if "\0" in text or not _is_utf8(text):
            self._fail(f"{name}: expected text that a command line can hold{self._got(name, value)}")
        return text

    def _got(self, name: str, value: object) -> str:
        """The end of a message about a wrong value; empty if the value may hold a password."""
        return "" if name.replace("-", "_") in self._secrets else f", got {describe(value)}"

    def _texts(self, name: str, value: object) -> list[str]:
        if not isinstance(value, list):
            self._fail(f"{name}: expected a list, got {describe(value)}")
        return [self._text(name, item, "a list of strings") for item in value]

    def _filters(self, value: object) -> list[str]:
        if not isinstance(value, list):
            self._fail(f'filters: expected a list, got {describe(value)}; a string goes under "chain"')
        return self._texts("filters", value)

    def _routes(self, value: object) -> list[str]:
        """The routes in the form of --route."""
        if not isinstance(value, dict):
            self._fail(f"{_ROUTES_KEY}: expected a table of paths and their chains, got {describe(value)}")
        return [f"{self._route_path(path)}={self._route_chain(path, chain)}" for path, chain in value.items()]

    def _route_path(self, path: str) -> str:
        if "=" in path:
            self._fail(f"{_ROUTES_KEY}: {_quoted(path)}: a = in a path is written as %3D")
        return path

    def _route_chain(self, path: str, chain: object) -> str:
        name = f"{_ROUTES_KEY}: {_quoted(path)}"
        if isinstance(chain, list):
            return join_stages([_stage_of(item) for item in self._texts(name, chain)])
        return self._text(name, chain, "a chain, or a list of filters")

    def _source(self, name: str) -> str:
        return f"{self._path}: {name}"

    def _fail(self, problem: str) -> NoReturn:
        raise UsageError(f"{self._path}: {problem}")


def load_config_file(
    path: str,
    known: Collection[str],
    flags: Collection[str] = (),
    lists: Collection[str] = (),
    secrets: Collection[str] = (),
    *,
    takes_unknown: bool = False,
) -> ConfigFile:
    """Read a config file.

    `known` are the options' keys: among them `flags` have no value, `lists` have several, and no message shows the
    value of `secrets`. `takes_unknown`: keep other keys, which are mistakes otherwise.

    Raises UsageError, in one line with the file, the place or the key, and what was expected.
    """
    return _Reader(path, known, flags, lists, secrets, takes_unknown).read(_table(path))


def unknown_key(path: str | None, name: str, known: Collection[str]) -> UsageError:
    """The error for an unknown key, with the nearest known one."""
    others = (*_CHAIN_KEYS, _ROUTES_KEY, *LOUDNESS, "flags")
    return UsageError(f"{path}: unknown key {_quoted(name)}{did_you_mean(name, [*known, *others])}")


def did_you_mean(name: str, known: Collection[str]) -> str:
    """`; did you mean "port"?` with the nearest known name; empty if none is near."""
    nearest = difflib.get_close_matches(name.replace("-", "_"), known, 1)
    return f'; did you mean "{nearest[0]}"?' if nearest else ""


def chain_of(file: ConfigFile) -> str | None:
    """The chain that a file names for fws-pipe, or None."""
    if file.filters is None:
        return file.chain
    return join_stages([_stage_of(item) for item in file.filters])


def join_stages(stages: Sequence[str]) -> str:
    """The chain of these stages; without any, a chain that passes everything on."""
    return " | ".join(stages) or "cat"


def module_stage(module: str) -> str:
    """The stage that hosts a Python module."""
    return f"fws-filter {shlex.quote(module)}"


def _stage_of(item: str) -> str:
    """The stage for an element of "filters": a filter or a command itself, or one that hosts a Python module."""
    parts = item.split(".")
    if not all(part.isidentifier() for part in parts):
        return item
    if len(parts) > 1 or (_is_module_here(item) and item not in filter_paths()):
        return module_stage(item)
    return item


def _is_module_here(name: str) -> bool:
    return os.path.isfile(f"{name}.py") or os.path.isfile(os.path.join(name, "__init__.py"))


def _table(path: str) -> dict[str, Any]:
    text = _content(path)
    # filtered_websocket allowed comments in JSON. An empty line in their place keeps the line numbers.
    bare = "\n".join("" if line.startswith("#") else line for line in text.split("\n"))
    try:
        if path.endswith(".json") or bare.lstrip().startswith("{"):
            return _json_table(path, bare)
        return _toml_table(path, text)
    except RecursionError:
        raise UsageError(f"{path}: brackets are nested too deeply") from None


def _content(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise UsageError(f"can't read the config file {path}: {error.strerror}") from None


def _json_table(path: str, text: str) -> dict[str, Any]:
    try:
        table = json.loads(text, object_pairs_hook=lambda pairs: _without_twins(path, pairs))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}: line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from None
    except ValueError as error:  # a number of thousands of digits
        raise UsageError(f"{path}: {error}") from None
    if not isinstance(table, dict):
        raise UsageError(f"{path}: expected an object, {{…}}, got {describe(table)}")
    return table


def _without_twins(path: str, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise UsageError(f"{path}: the key {_quoted(key)} is there twice; leave one of them out")
        table[key] = value
    return table


def _toml_table(path: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or a number of thousands of digits
        problem, _, place = str(error).partition(" (at ")
        found = re.fullmatch(r"line (\d+), column (\d+)\)", place)
        last = text.split("\n")
        line, column = found.groups() if found else (len(last), len(last[-1]) + 1)
        raise UsageError(f"{path}: line {line}, column {column}: not TOML: {problem}") from None


def _quoted(name: str) -> str:
    """A key for a message, in quotes and in one line."""
    return json.dumps(name, ensure_ascii=not name.isprintable())


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
