"""Who may import whom, and what each module must say of itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent.parent / "fws_pipe"
MODULES = sorted(PACKAGE.rglob("*.py"))

ROOMS: dict[str, tuple[str, ...]] = {
    "cli": ("entry", "serve", "fws_server", "fws_python", "fws_cat", "fws_emit"),
    "app": (),
    "front": ("source_link", "membership_changes", "front", "reception", "bounds", "limits", "listener", "unix_socket"),
    "legacy": (),
    "sdk": (
        "testing",
        "subscriber",
        "host",
        "user_storage",
        "old_names",
        "classes",
        "token_groups",
        "__init__",
        "functions",
        "joined_sends",
    ),
    "config": ("options", "arguments", "file"),
    "ledger": ("link", "feed", "quarantine", "journal", "blame", "progress"),
    "clients": ("keep_alive", "registry", "client", "memory"),
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
    "http": ("request", "refusals", "handshake", "head", "site"),
    "websocket": (
        "readers",
        "conversation",
        "library",
        "meter",
        "frames",
        "rates",
        "wire",
        "tls",
        "transport",
        "outbox",
        "rfc6455",
        "busy_polling",
    ),
    "chain": (
        "supervisor",
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
    ),
    "storage": ("sqlite", "redis_sets", "__init__", "memory", "base"),
    "broker": ("source", "redis_broker", "relay", "publisher", "pacing", "membership", "connection", "settings"),
    "counters": (),
    "log": (),
    "pipes": ("ends", "json_lines", "blocks"),
    "system": ("first_process", "service_manager", "runtime_folder", "signals"),
    "protocol": ("outgoing", "json_form", "life", "actions", "events", "codec"),
    "errors": (),
    "terminal": (),
    "wording": (),
    "__init__": (),
}
"""From the top down, the rooms and the modules in each: every module may import only what stands below it."""

SANS_IO = {
    "config": ("arguments",),
    "ledger": ("journal", "blame", "progress"),
    "clients": ("memory",),
    "admission": ("key_forms", "proxy_protocol", "proxies", "origins"),
    "http": ("handshake", "head", "site"),
    "websocket": ("meter", "frames", "rates", "outbox", "rfc6455", "busy_polling"),
    "chain": ("parser", "resolver", "lifecycle", "delay", "environment"),
    "sdk": ("joined_sends",),
    "broker": ("relay",),
    "protocol": ("outgoing", "json_form", "life", "actions", "events", "codec"),
    "counters": ("",),
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


def imports_of(path: Path) -> Iterator[str]:
    """What a module imports by statements; a module that is imported from its package by its own full name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            for alias in node.names:
                full = f"{module}.{alias.name}"
                yield full if full.removeprefix("fws_pipe.") in NAMES else module


def own_imports_of(path: Path) -> Iterator[str]:
    """Those of this package, by their names below it."""
    for imported in imports_of(path):
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
        assert IO_MODULES.isdisjoint(part.split(".")[0] for part in imports_of(NAMES[found])), found
        waiting += [other for other in own_imports_of(NAMES[found]) if other not in seen]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    own = name_of(path)
    for imported in own_imports_of(path):
        is_old = own.startswith("legacy.") and imported.startswith("legacy.")
        assert is_old or place_of(imported) > place_of(own), f"{own} imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_stand_at_the_top_and_each_module_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    inner = [
        node
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    assert inner == []


def test_no_private_name_of_a_library_is_touched() -> None:
    """The wire is a seam because it needs nothing but trio-websocket's public API."""
    for path in MODULES:
        for imported in imports_of(path):
            assert not any(part.startswith("_") and part != "__future__" for part in imported.split(".")), imported
