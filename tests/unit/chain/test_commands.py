"""The commands of this system, and the PATH on which stages find them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fws_pipe.chain.commands import SystemCommands, filter_paths, filter_summary, filters_dir, stage_path
from fws_pipe.chain.first_line import START_BYTES


def program(folder: Path, name: str, text: str = "#!/bin/sh\n") -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_shipped_filters_are_programs_with_a_summary() -> None:
    paths = filter_paths()
    assert list(paths) == sorted(paths)
    assert {"broadcast", "mirror", "stdout_log"} <= paths.keys()
    for path in paths.values():
        assert os.access(path, os.X_OK)
        assert filter_summary(path).endswith(".")


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ('#!/usr/bin/env fws-python\n"""Sends it back.\n\nMore."""\n', "Sends it back."),
        ("#!/bin/sh\n# Counts lines.\n# More.\nexec cat -n\n", "Counts lines."),
        ("#!/bin/sh\nexec cat\n", ""),
    ],
)
def test_a_summary_is_the_first_line_of_docstring_or_comment(tmp_path: Path, text: str, summary: str) -> None:
    assert filter_summary(program(tmp_path, "it", text)) == summary


def test_stages_find_the_users_commands_first_and_the_shipped_filters_last() -> None:
    parts = stage_path({"PATH": "/own:/other", "VIRTUAL_ENV": "/venv"}).split(os.pathsep)
    assert parts[:2] == ["/own", "/other"]
    assert parts[-1] == str(filters_dir())
    assert (Path(parts[2]) / "fws-python").exists()


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="needs a virtual environment")
def test_an_environment_that_is_not_activated_comes_first() -> None:
    parts = stage_path({"PATH": "/own"}).split(os.pathsep)
    assert parts[1:] == ["/own", str(filters_dir())]
    assert (Path(parts[0]) / "fws-python").exists()


def test_commands_are_found_by_name_on_path_and_by_their_path(tmp_path: Path) -> None:
    there = program(tmp_path, "there", "#!/bin/sh\n# " + "x" * 2 * START_BYTES)
    plain = tmp_path / "plain"
    plain.write_text("no program")
    commands = SystemCommands(str(tmp_path))
    assert [commands.is_executable(name) for name in ("there", str(there), "plain", str(plain), "nonesuch")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert [commands.exists(path) for path in (str(plain), str(tmp_path), "x" * 10_000)] == [True, False, False]
    assert commands.start_of("there") == there.read_bytes()[:START_BYTES]
    assert commands.start_of("nonesuch") == b""


def test_a_shipped_filter_has_a_path_and_another_command_has_none() -> None:
    commands = SystemCommands("")
    assert commands.filter_path("mirror") == str(filters_dir() / "mirror")
    assert commands.filter_path("sed") is None
    assert "mirror" in commands.names()


def test_whether_the_shell_knows_dollar_quotes_is_asked_of_the_shell(tmp_path: Path) -> None:
    assert SystemCommands("", str(program(tmp_path, "yes", "#!/bin/sh\nexit 0\n"))).has_dollar_quotes()
    assert not SystemCommands("", str(program(tmp_path, "no", "#!/bin/sh\nexit 1\n"))).has_dollar_quotes()
    assert not SystemCommands("", str(tmp_path / "nonesuch")).has_dollar_quotes()
