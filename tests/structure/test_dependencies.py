"""What the package imports is what pyproject.toml declares: nothing is there by luck, as somebody else's dependency."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from tests.structure.test_layers import MODULES, TREES, imports_of, name_of

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

OPTIONAL = {"jwt": "PyJWT"}
"""Modules that are loaded by name where an extra is installed, and the extra's package."""

LOADED_BY_NAME = re.compile(r'import_module\("([A-Za-z0-9_.]+)"\)')


def names_of(requirements: list[str]) -> set[str]:
    """The packages of some requirements, as modules are called."""
    found = (re.match(r"[A-Za-z0-9_-]+", requirement) for requirement in requirements)
    return {name[0].lower().replace("-", "_") for name in found if name}


def imported() -> set[str]:
    """The packages that are not Python's own, nor this one."""
    paths = [path for path in MODULES if "legacy" not in path.parts]  # these import each other by relative names
    names = {name.split(".")[0] for path in paths for name in imports_of(TREES[name_of(path)])}
    names |= {name.split(".")[0] for path in paths for name in LOADED_BY_NAME.findall(path.read_text())}
    return names - sys.stdlib_module_names - {"fws_pipe", "filtered_websocket", ""}


def test_all_that_is_imported_is_declared_and_all_that_is_declared_is_imported() -> None:
    assert imported() - OPTIONAL.keys() == names_of(PROJECT["dependencies"])


def test_what_is_optional_is_declared_as_an_extra() -> None:
    extras = names_of([name for extra in PROJECT["optional-dependencies"].values() for name in extra])
    assert {package.lower() for package in OPTIONAL.values()} <= extras


def test_each_command_has_an_entry_that_sees_to_its_signals_first() -> None:
    assert all(entry == f"fws_pipe.cli.entry:{name.replace('-', '_')}" for name, entry in PROJECT["scripts"].items())
