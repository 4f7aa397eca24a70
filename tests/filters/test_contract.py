"""Every file in filters/ keeps the contract; and the check of it can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fws_pipe.chain.commands import filter_paths, filter_summary
from fws_pipe.sdk.testing import FRAMES, JSON_LINES, ContractError, check_filter
from tests.harness import COMMAND_PATH, FILTERS

ENVIRONMENT = {**os.environ, "PATH": COMMAND_PATH}
FORMS = {"to_json": (FRAMES, JSON_LINES), "from_json": (JSON_LINES, FRAMES)}


@pytest.mark.parametrize("name", sorted(path.name for path in FILTERS.iterdir()))
def test_every_shipped_filter(name: str) -> None:
    reads, writes = FORMS.get(name, (FRAMES, FRAMES))
    check_filter([str(FILTERS / name)], reads=reads, writes=writes, environment=ENVIRONMENT)


@pytest.mark.parametrize("argv", [["cat"], ["tee", "/dev/null"], ["sh", "-c", "cat; exit 0"]])
def test_plain_commands_that_keep_it(argv: list[str]) -> None:
    if argv[0] == "sh":
        check_filter(argv, environment=ENVIRONMENT)
        return
    # The kernel ends them with SIGPIPE, as it does in any pipeline, where a filter of ours exits 0.
    with pytest.raises(ContractError, match="exits with -13 when its output has no reader"):
        check_filter(argv, environment=ENVIRONMENT)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("cat >/dev/null", "it must pass on"),
        ("cat; exit 3", "exits with 3 at the end of input"),
        ("exit 0", "ended its output"),
        ("head -c 20", "ended its output"),
        ("cat | sort", "it must pass on"),
        ("cat; sleep 1000", "does not end at the end of input"),
    ],
)
def test_the_check_can_fail(script: str, problem: str) -> None:
    with pytest.raises(ContractError, match=problem):
        check_filter(["sh", "-c", f"exec 2>/dev/null; {script}"], environment=ENVIRONMENT, timeout_s=0.5)


def test_every_filter_is_executable_and_says_what_it_does() -> None:
    paths = filter_paths()
    assert set(paths) == {path.name for path in FILTERS.iterdir()}
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
