"""Commands that exist on this system: the shipped filters, those of this Python environment, those on PATH."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from fws_pipe.chain.first_line import START_BYTES

_PACKAGE = Path(__file__).resolve().parent.parent


def filters_dir() -> Path:
    """The directory of the shipped filters: inside the package when installed, beside it in a checkout."""
    inside = _PACKAGE / "filters"
    return inside if inside.is_dir() else _PACKAGE.parent / "filters"


def filter_paths() -> dict[str, Path]:
    """The shipped filters by name, in alphabetical order."""
    return {
        path.name: path
        for path in sorted(filters_dir().iterdir())
        if path.is_file() and not path.name.startswith((".", "_")) and os.access(path, os.X_OK)
    }


def filter_summary(path: Path) -> str:
    """A filter's summary: the first line of its Python docstring, or else of its first comment."""
    text = path.read_text(encoding="utf-8")
    try:
        summary = ast.get_docstring(ast.parse(text))
    except SyntaxError:
        comments = (line.lstrip("# ") for line in text.splitlines() if line.startswith("# "))
        summary = next(comments, None)
    return (summary or "").partition("\n")[0]


def stage_path(environment: Mapping[str, str]) -> str:
    """PATH as the stages see it: the user's own, then this Python environment's commands, then the shipped filters.

    This environment's commands come first where it is a virtual environment and none is activated: so a filter that
    begins with `#!/usr/bin/env python3` can import fws_pipe.
    """
    own = environment.get("PATH", os.defpath)
    scripts = str(_scripts_dir())
    unactivated = sys.prefix != sys.base_prefix and "VIRTUAL_ENV" not in environment
    parts = [scripts, own] if unactivated else [own, scripts]
    return os.pathsep.join([*parts, str(filters_dir())])


def _scripts_dir() -> Path:
    """The directory of this environment's fws-python, which the first line of each shipped filter names."""
    candidates = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts")), Path(sys.argv[0]).resolve().parent]
    return next((folder for folder in candidates if (folder / "fws-python").exists()), candidates[0])


class SystemCommands:
    """The commands that exist on this system (`resolver.Commands`)."""

    def __init__(self, path: str, shell: str = "/bin/sh") -> None:
        self._path = path
        self._shell = shell
        self._filters = filter_paths()

    def filter_path(self, name: str) -> str | None:
        """The path of a shipped filter, or None."""
        path = self._filters.get(name)
        return None if path is None else str(path)

    def is_executable(self, name: str) -> bool:
        """Whether a command of this name is on PATH, or this path is an executable file."""
        return shutil.which(name, path=self._path) is not None

    def exists(self, path: str) -> bool:
        """Whether there is a regular file at this path."""
        return os.path.isfile(path)  # unlike Path.is_file it accepts a name of any length

    def start_of(self, name: str) -> bytes:
        """The first bytes of a command's file, empty where it can't be read."""
        try:
            with open(shutil.which(name, path=self._path) or name, "rb") as file:
                return file.read(START_BYTES)
        except OSError:
            return b""

    def names(self) -> Sequence[str]:
        """The names of the shipped filters, which are the only commands worth suggesting."""
        return list(self._filters)

    def has_dollar_quotes(self) -> bool:
        """Whether the stages' shell reads $'…' as a quotation: bash and most others do, dash does not."""
        try:
            return subprocess.run([self._shell, "-c", "test $'a' = a"], check=False).returncode == 0
        except OSError:
            return False  # starting the chain will report what is wrong with the shell
