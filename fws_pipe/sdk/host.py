"""fws-filter: hosts filters from Python modules, classes and functions, as one stage of a chain."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from fws_pipe.errors import EXIT_OK, EXIT_USAGE
from fws_pipe.pipes.blocks import say
from fws_pipe.sdk import functions
from fws_pipe.sdk.classes import ClassHost
from fws_pipe.sdk.old_names import use_old_names

HELP = """usage: fws-filter MODULE…

Runs the filters of Python modules as one stage: subclasses of WebSocketMessageFilter, WebSocketDataFilter,
WebSocketDisconnectFilter and WebSocketConsumerFilter, and functions decorated with fws_pipe.sdk.on. A MODULE is a
dotted name, looked up in the current folder first, or a file's path.

  fws-pipe "fws-filter ./chat.py | stdout_log"
"""


def main() -> None:
    """Run fws-filter."""
    modules = sys.argv[1:]
    if modules and modules[0] in ("-h", "--help"):
        print(HELP, end="")
        sys.exit(EXIT_OK)
    if not modules:
        _fail("a MODULE is missing; see fws-filter --help")
    use_old_names()
    functions.load_hosted(lambda: _load_all(modules))
    ClassHost().register()
    functions.run()


def _load_all(modules: Sequence[str]) -> None:
    for module in modules:
        _load(module)


def _load(module: str) -> None:
    if module.endswith(".py") or "/" in module:
        _load_file(module)
        return
    if not module or module.startswith("."):
        _fail(f"expected a module's dotted name, or a file's path, got {module!r}")
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise  # the module itself was found, but not one that it imports
        _fail(f"no module {module!r} here or installed; a file is given with its path: ./{module}.py")


def _load_file(path: str) -> None:
    if not os.path.isfile(path):
        _fail(f"no such file: {path}")
    name = os.path.basename(path).removesuffix(".py").replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        _fail(f"not a Python file: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec.loader.exec_module(module)


def _fail(problem: str) -> NoReturn:
    say(f"fws-filter: {problem}")
    sys.exit(EXIT_USAGE)
