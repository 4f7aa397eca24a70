"""The commands: each sees to its signals first, and only then loads what it is made of.

To load that takes some tenths of a second, in which an interrupt must not show a traceback.
"""

from __future__ import annotations

import importlib

from fws_pipe.first_process import serve_as_child
from fws_pipe.signals import die_of_interrupts


def fws_pipe() -> None:
    """Run fws-pipe."""
    serve_as_child()
    _run("cli", "pipe_main")


def fws_front() -> None:
    """Run fws-front."""
    serve_as_child()
    _run("cli", "front_main")


def fws_server() -> None:
    """Run fws_server."""
    serve_as_child()
    _run("cli", "server_main")


def fws_sink() -> None:
    """Run fws-sink."""
    _run("sink", "main")


def fws_source() -> None:
    """Run fws-source."""
    _run("source", "main")


def fws_cat() -> None:
    """Run fws-cat."""
    _run("tools", "cat_main")


def fws_emit() -> None:
    """Run fws-emit."""
    _run("tools", "emit_main")


def fws_filter() -> None:
    """Run fws-filter."""
    _run("sdk.host", "main")


def fws_python() -> None:
    """Run fws-python."""
    _run("script", "main")


def _run(module: str, function: str) -> None:
    die_of_interrupts()
    getattr(importlib.import_module(f"fws_pipe.{module}"), function)()
