"""The man pages are those of the code, and both readers of man pages read them without a complaint."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fws_pipe.cli.commands import all_commands
from fws_pipe.config.topics import DOCS
from tests.man_pages import MAN, pages
from tests.structure.test_dependencies import PROJECT

NAMES = [f"{name}.1" for name in PROJECT["scripts"]]


def test_each_command_has_its_page() -> None:
    assert {command.name for command in all_commands()} == set(PROJECT["scripts"])
    assert {path.name for path in MAN.iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_that_of_the_code(name: str) -> None:
    assert (MAN / name).read_text() == pages()[name], "make them anew: python -m tests.man_pages"


def said_of(command: list[str], path: Path) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    return done.stderr or ("" if command[-1] == "-l" else done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_mandoc_has_nothing_to_say(name: str) -> None:
    assert said_of(["mandoc", "-T", "lint", "-W", "style"], MAN / name) == ""


@pytest.mark.parametrize("name", NAMES)
def test_man_renders_it_without_a_warning(name: str) -> None:
    assert said_of(["man", "--warnings", "-E", "UTF-8", "-l"], MAN / name) == ""


def test_zsh_is_told_of_each_command() -> None:
    first = (DOCS / "completions" / "zsh" / "_fws-pipe").read_text().split("\n")[0]
    assert first.split() == ["#compdef", *PROJECT["scripts"]]
