"""Every file in filters/ keeps the contract."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fws_pipe.chain.commands import filter_paths, filter_summary
from fws_pipe.sdk.testing import FRAMES, JSON_LINES, check_filter
from tests.harness import COMMAND_PATH, FILTERS

ENVIRONMENT = {**os.environ, "PATH": COMMAND_PATH}
PROGRAMS = {
    "map": ["cat"],
    "per_client": ["cat"],
    # Without --ack ticks overtake what goes through the program.
    "json": ["--ack", "sed", "-u", 'a {"type":"tick"}'],
    "lines": ["sed", "-n", ""],
    "jsonrpc": ["sed", "-n", ""],
}
"""What the adapters run."""
FORMS = {"to_json": (FRAMES, JSON_LINES), "from_json": (JSON_LINES, FRAMES)}


@pytest.mark.parametrize("name", sorted(path.name for path in FILTERS.iterdir() if path.is_file()))
def test_every_shipped_filter(name: str) -> None:
    reads, writes = FORMS.get(name, (FRAMES, FRAMES))
    check_filter([str(FILTERS / name), *PROGRAMS.get(name, [])], reads=reads, writes=writes, environment=ENVIRONMENT)


def test_every_filter_is_executable_and_says_what_it_does() -> None:
    paths = filter_paths()
    assert set(paths) == {path.name for path in FILTERS.iterdir() if path.is_file()}
    for path in paths.values():
        assert filter_summary(path).endswith(".")
        assert len(path.read_text().splitlines()) <= 60


def test_no_filter_takes_a_system_commands_name() -> None:
    for name in filter_paths():
        assert not any((Path(folder) / name).exists() for folder in ("/bin", "/usr/bin", "/sbin", "/usr/sbin"))


def test_summaries_of_other_languages(tmp_path: Path) -> None:
    script = tmp_path / "count"
    script.write_text("#!/bin/sh\n# Counts the frames.\n# And more.\nexec cat\n")
    assert filter_summary(script) == "Counts the frames."


def test_a_filter_loads_nothing_that_takes_long() -> None:
    slow = {"argparse", "asyncio", "inspect", "redis", "trio"}
    script = f"import sys, fws_pipe.sdk; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"[]\n"
