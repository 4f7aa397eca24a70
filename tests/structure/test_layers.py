"""Who may import whom, and what each module must say of itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent.parent / "fws_pipe"
MODULES = sorted(PACKAGE.rglob("*.py"))

SANS_IO = (
    "protocol/codec.py",
    "protocol/events.py",
    "protocol/actions.py",
    "protocol/json_form.py",
    "pipeline/parser.py",
    "pipeline/resolve.py",
    "pipeline/lifecycle.py",
    "pipeline/delay.py",
    "front/journal.py",
    "protocol/progress.py",
    "protocol/life.py",
    "front/suspicion.py",
    "front/outbox.py",
    "front/rfc6455.py",
    "front/handshake.py",
    "front/key_forms.py",
    "front/proxy_protocol.py",
    "front/frames.py",
    "protocol/relay.py",
    "front/meter.py",
    "arguments.py",
    "origins.py",
    "proxies.py",
    "rates.py",
    "stage_environment.py",
    "sdk/joined_sends.py",
    "terminal.py",
)
IO_MODULES = {"trio", "os", "socket", "subprocess", "time", "redis", "select", "threading", "asyncio"}

# From the top down: each layer may import those below it, and itself.
LAYERS = (
    ("entry",),
    ("cli",),
    ("server_command", "app"),
    ("sink", "source", "tools", "script"),
    ("legacy", "front", "pipeline", "abroad"),
    ("sdk", "publisher", "membership"),
    ("storage", "pacing"),
    ("redis_link", "config"),
    ("arguments",),
    ("config_file", "redis_settings", "origins", "proxies", "rates", "stage_environment"),
    ("machine",),
    ("log", "pipes", "scratch", "service_manager", "watch"),
    ("protocol",),
    ("errors", "signals", "first_process", "__init__"),
    ("terminal",),
)


def layer_of(module: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if module in names)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("relative", SANS_IO)
def test_sans_io_modules_import_nothing_that_does_io(relative: str) -> None:
    assert IO_MODULES.isdisjoint(name.split(".")[0] for name in imports_of(PACKAGE / relative))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    own = name_of(path)
    for imported in imports_of(path):
        if imported.startswith("fws_pipe."):
            other = imported.split(".")[1]
            same_layer = layer_of(other) == layer_of(own)
            assert other == own or (layer_of(other) > layer_of(own) and not same_layer), f"{own} imports {other}"


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
