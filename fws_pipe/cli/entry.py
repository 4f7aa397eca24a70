"""The commands: each sees to its signals first, and only then loads what it is made of.

To load that takes some tenths of a second, in which an interrupt must not show a traceback. So this module itself loads
next to nothing: not even typing, which takes longer than Python's own start.
"""

from __future__ import annotations

import importlib

from fws_pipe.system.signals import die_of_interrupts, restore_what_a_server_needs

TYPE_CHECKING = False
"""Type checkers take it for true. The original is in typing, which must not be loaded."""
if TYPE_CHECKING:
    from collections.abc import Callable


def fws_pipe() -> None:
    """Run fws-pipe."""
    _serve("pipe_main")


def fws_front() -> None:
    """Run fws-front."""
    _serve("front_main")


def fws_server() -> None:
    """Run fws_server."""
    _serve("server_main")


def fws_sink() -> None:
    """Run fws-sink."""
    _run("chain.sink", "main")


def fws_source() -> None:
    """Run fws-source."""
    _run("broker.source", "main")


def fws_cat() -> None:
    """Run fws-cat."""
    _run("cli.fws_cat", "main")


def fws_emit() -> None:
    """Run fws-emit."""
    _run("cli.fws_emit", "main")


def fws_filter() -> None:
    """Run fws-filter."""
    _run("sdk.host", "main")


def fws_python() -> None:
    """Run fws-python."""
    _run("cli.fws_python", "main")


def _serve(function: str) -> None:
    die_of_interrupts()
    restore_what_a_server_needs()
    _load("system.first_process", "serve_as_child")()
    _load("cli.serve", function)()


def _run(module: str, function: str) -> None:
    die_of_interrupts()
    _load(module, function)()


def _load(module: str, function: str) -> Callable[[], None]:
    found: Callable[[], None] = getattr(importlib.import_module(f"fws_pipe.{module}"), function)
    return found
