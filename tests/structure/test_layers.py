"""Who may import whom, and what each module must say of itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent.parent / "fws_pipe"
MODULES = sorted(PACKAGE.rglob("*.py"))

ROOMS: dict[str, tuple[str, ...]] = {
    "cli": (
        "entry",
        "serve",
        "completion",
        "commands",
        "fws_server",
        "fws_python",
        "fws_cat",
        "fws_emit",
        "fws_ctl",
        "fws_top",
        "top_view",
        "trace_events",
        "fws_otlp",
        "control_client",
        "fws_check",
        "fws_test",
        "fws_replay",
        "replay_clients",
        "pace",
    ),
    "app": (
        "run",
        "serving",
        "signals",
        "watching",
        "together",
        "control_socket",
        "handing_over",
        "taking_over",
        "routes",
        "route_backend",
        "drain",
        "standard_streams",
        "admin_address",
        "reloads",
        "watchdog",
        "stopping",
        "backend",
        "configured_front",
        "configured_inputs",
        "surroundings",
        "programs",
    ),
    "admin": (
        "server",
        "site",
        "pipeline",
        "operations",
        "taps",
        "connection",
        "shown_frames",
        "metrics",
        "process",
        "exposition",
        "health",
        "hosts",
    ),
    "control": ("server", "requests", "connection", "joints", "trace", "stage_taps", "tap"),
    "inputs": ("inputs", "command", "own_stdin", "line_feed"),
    "front": (
        "source_link",
        "membership_changes",
        "moving",
        "front",
        "reception",
        "downloads",
        "access_log",
        "route",
        "bounds",
        "limits",
        "listener",
        "unix_socket",
    ),
    "legacy": (),
    "sdk": (
        "testing",
        "trial",
        "contract",
        "subscriber",
        "host",
        "classes",
        "user_storage",
        "old_names",
        "token_groups",
        "__init__",
        "functions",
        "failures",
        "joined_sends",
    ),
    "adapters": (
        "per_client",
        "shared",
        "json_rpc",
        "rpc_form",
        "content_length",
        "text_lines",
        "json_program",
        "map_text",
        "giving",
        "pending",
        "start",
        "program",
        "guard",
        "command",
        "loop",
        "complaints",
        "cgi",
        "message_forms",
        "arguments",
        "lines",
    ),
    "config": ("options", "websocketd", "topics", "arguments", "addresses", "routes", "file"),
    "ledger": (
        "link",
        "feed",
        "phases",
        "ticks",
        "recovery",
        "introduction",
        "quarantine",
        "journal",
        "blame",
        "progress",
    ),
    "clients": ("keep_alive", "registry", "client", "remembered", "sender", "memory", "slow_client"),
    "admission": (
        "entrance",
        "lobby",
        "quotas",
        "tokens",
        "jwt_keys",
        "key_forms",
        "proxy_protocol",
        "proxies",
        "origins",
    ),
    "http": (
        "pages",
        "page_folder",
        "console",
        "trace_context",
        "request",
        "refusals",
        "handshake",
        "responses",
        "routes",
        "head",
        "conditions",
        "media_types",
        "page_path",
        "site",
    ),
    "websocket": (
        "readers",
        "conversation",
        "library",
        "backlog",
        "meter",
        "frames",
        "rates",
        "intake",
        "wire",
        "states",
        "tls",
        "transport",
        "outbox",
        "rfc6455",
        "busy_polling",
    ),
    "chain": (
        "rehearsal",
        "supervisor",
        "figures",
        "tap_stage",
        "successor",
        "spawn",
        "stdout",
        "stderr",
        "sink",
        "resolver",
        "parser",
        "lifecycle",
        "delay",
        "watch",
        "environment",
        "commands",
        "first_line",
        "buffering",
    ),
    "storage": ("__init__", "sqlite", "redis_storage", "memory", "base", "stored_form"),
    "broker": (
        "source",
        "broker",
        "redis_broker",
        "relay",
        "publisher",
        "pacing",
        "membership",
        "connection",
        "settings",
    ),
    "counters": (),
    "log": (),
    "pipes": ("ends", "json_lines", "event_faults", "blocks", "line_cutter"),
    "system": ("full_screen", "processes", "first_process", "service_manager", "runtime_folder", "signals"),
    "protocol": ("outgoing", "json_form", "control", "takeover", "life", "actions", "events", "fields", "codec"),
    "errors": (),
    "log_form": (),
    "terminal": (),
    "wording": (),
    "__init__": (),
}
"""From the top down, the rooms and the modules in each: every module may import only what stands below it."""

_AFTER_SIGNALS = "a command sees to its signals before it loads what takes tenths of a second"
_REDIS = "redis-py takes longer to load than all else, and most servers and filters do without"
_SQLITE = "most filters need no database"
_USER_STORAGE = "only fws_server and filters with a storage module of the user's need argparse and the old names"

LATE_IMPORTS: dict[str, dict[str, str]] = {
    "cli.entry": {
        "cli.fws_otlp": _AFTER_SIGNALS,
        "system.first_process": _AFTER_SIGNALS,
        "cli.serve": _AFTER_SIGNALS,
        "cli.fws_python": _AFTER_SIGNALS,
        "cli.fws_cat": _AFTER_SIGNALS,
        "cli.fws_emit": _AFTER_SIGNALS,
        "cli.fws_ctl": _AFTER_SIGNALS,
        "cli.fws_top": _AFTER_SIGNALS,
        "cli.fws_check": _AFTER_SIGNALS,
        "cli.fws_test": _AFTER_SIGNALS,
        "cli.fws_replay": _AFTER_SIGNALS,
        "chain.sink": _AFTER_SIGNALS,
        "broker.source": _AFTER_SIGNALS,
        "sdk.host": _AFTER_SIGNALS,
    },
    "cli.serve": {
        "cli.completion": "it loads all commands, and no server needs it",
        "cli.fws_server": _USER_STORAGE,
        "sdk.user_storage": _USER_STORAGE,
        "storage": _SQLITE,
        "broker.connection": _REDIS,
    },
    "cli.fws_python": {"sdk.failures": "only a script that fails needs it"},
    "cli.fws_replay": {"cli.replay_clients": "a recording that goes to a chain needs no client, and no trio"},
    "app.surroundings": {"broker.membership": _REDIS},
    "sdk.classes": {"sdk.user_storage": _USER_STORAGE},
    "storage": {"storage.sqlite": _SQLITE, "storage.redis_storage": _REDIS, "broker.settings": _REDIS},
    "broker.broker": {"broker.redis_broker": _REDIS},
    "pipes.blocks": {"log_form": "filters start without json; most say nothing, or in text"},
}
"""What a module imports inside its functions, and why: only these may, and only downwards, as at the top."""

SANS_IO = {
    "cli": ("top_view", "trace_events"),
    "admin": ("shown_frames", "exposition", "hosts"),
    "config": ("websocketd", "addresses", "arguments", "routes"),
    "ledger": ("phases", "journal", "blame", "progress"),
    "clients": ("remembered", "memory", "slow_client"),
    "admission": ("key_forms", "proxy_protocol", "proxies", "origins"),
    "http": (
        "trace_context",
        "handshake",
        "responses",
        "routes",
        "head",
        "conditions",
        "media_types",
        "page_path",
        "site",
    ),
    "websocket": ("states", "backlog", "meter", "frames", "rates", "intake", "outbox", "rfc6455", "busy_polling"),
    "chain": ("buffering", "first_line", "parser", "resolver", "lifecycle", "delay", "environment"),
    "sdk": ("contract", "joined_sends"),
    "adapters": (
        "json_rpc",
        "rpc_form",
        "content_length",
        "text_lines",
        "json_program",
        "map_text",
        "giving",
        "pending",
        "message_forms",
        "arguments",
        "lines",
    ),
    "storage": ("stored_form",),
    "broker": ("relay",),
    "protocol": ("outgoing", "json_form", "control", "takeover", "life", "actions", "events", "fields", "codec"),
    "pipes": ("line_cutter",),
    "counters": ("",),
    "log_form": ("",),
    "terminal": ("",),
    "wording": ("",),
}
"""What says "No I/O": neither these modules nor what they import may load one of IO_MODULES."""

IO_MODULES = {"trio", "os", "socket", "subprocess", "time", "redis", "select", "threading", "asyncio"}

ORDER = [
    f"{room}.{module}" if module != "__init__" else room
    for room, modules in ROOMS.items()
    for module in (modules if "__init__" in modules else (*modules, "__init__"))
]


def place_of(name: str) -> int:
    """Where a module stands in the order; the old server's modules stand together."""
    return ORDER.index("legacy" if name.split(".")[0] == "legacy" else name)


def name_of(path: Path) -> str:
    """A module's name below fws_pipe; a package's is its folder's."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


NAMES = {name_of(path): path for path in MODULES}
TREES = {name: ast.parse(path.read_text()) for name, path in NAMES.items()}


def imports_of(tree: ast.AST) -> Iterator[str]:
    """What is imported by statements, a module from its package by its own full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            for alias in node.names:
                full = f"{module}.{alias.name}"
                yield full if full.removeprefix("fws_pipe.") in NAMES else module


def own_imports_of(tree: ast.AST) -> Iterator[str]:
    """Those of this package, by their names below it."""
    for imported in imports_of(tree):
        if imported == "fws_pipe":
            yield "__init__"
        elif imported.startswith("fws_pipe."):
            yield imported.removeprefix("fws_pipe.")


def test_each_module_has_its_place() -> None:
    assert {name for name in NAMES if not name.startswith("legacy.")} == set(ORDER) - {"legacy"}


FOR_OTHER_PEOPLES_PROGRAMS = {"legacy", "storage", "sdk"}
"""Their docstrings tell how to use them."""


@pytest.mark.parametrize("room", [room for room in ROOMS if (PACKAGE / room).is_dir()])
def test_each_room_tells_its_flow_and_its_rule(room: str) -> None:
    if room not in FOR_OTHER_PEOPLES_PROGRAMS:
        assert "\nRule: " in (ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or "")


@pytest.mark.parametrize("name", [f"{room}.{module}".rstrip(".") for room in SANS_IO for module in SANS_IO[room]])
def test_what_says_no_io_does_none(name: str) -> None:
    """Nor does what it imports: errors and terminal are all that such a module needs of others."""
    waiting, seen = [name], set()
    while waiting:
        found = waiting.pop()
        seen.add(found)
        assert IO_MODULES.isdisjoint(part.split(".")[0] for part in imports_of(TREES[found])), found
        waiting += [other for other in own_imports_of(TREES[found]) if other not in seen]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    own = name_of(path)
    for imported in own_imports_of(TREES[own]):
        is_old = own.startswith("legacy.") and imported.startswith("legacy.")
        assert is_old or place_of(imported) > place_of(own), f"{own} imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_stand_at_the_top_but_for_those_that_may_come_late(path: Path) -> None:
    functions = [
        node for node in ast.walk(TREES[name_of(path)]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert {name for function in functions for name in imports_of(function)} == {
        f"fws_pipe.{name}" for name in LATE_IMPORTS.get(name_of(path), ())
    }


@pytest.mark.parametrize("name", NAMES)
def test_each_module_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(TREES[name])


def test_no_module_of_ours_is_imported_by_a_string() -> None:
    """Type checkers and the tests of this file see only statements."""
    calls = [node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    by_name = [ast.unparse(call) for call in calls if ast.unparse(call.func).endswith("import_module")]
    assert not [call for call in by_name if "fws_pipe" in call]
    assert by_name, "a user's modules, and packages that may be missing, are"


def test_no_private_name_of_a_library_is_touched() -> None:
    """The wire is a seam because it needs nothing but trio-websocket's public API."""
    for tree in TREES.values():
        for imported in imports_of(tree):
            assert not any(part.startswith("_") and part != "__future__" for part in imported.split(".")), imported
