"""What stands nearest to the dependencies works with the oldest version of each that pyproject.toml admits.

A fresh environment has the newest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.structure.test_dependencies import PROJECT, ROOT, names_of

FLOORS = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["jwt"]]

CHOSEN = [
    "broker/test_connection.py", "broker/test_publisher.py", "broker/test_source.py", "storage", "admission",
    "protocol/test_codec.py", "websocket",
]  # fmt: skip
"""The tests that are run, below tests/unit."""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_oldest_dependencies_will_do(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(tmp_path)]
    subprocess.run([*pip, *(floor.replace(">=", "==") for floor in FLOORS)], check=True, timeout=150)
    installed = {found.name.lower().replace("-", "_") for found in distributions(path=[str(tmp_path)])}
    assert names_of(FLOORS) <= installed
    chosen = [f"tests/unit/{name}" for name in CHOSEN]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow", "-n", "2", *chosen],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=240,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
