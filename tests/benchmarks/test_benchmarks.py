"""The benchmarks run, and check what came back; what they measure is nobody's business here."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tests.benchmarks import load
from tests.benchmarks.rows import BENCHMARKS, Benchmark, measure, measure_peer
from tests.benchmarks.soak import compare_quarters, soak
from tests.harness import run

ROOT = Path(__file__).resolve().parent.parent.parent


OURS = {benchmark.ours for benchmark in BENCHMARKS}
"""What other rows measure as ours need not run again as a peer."""


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_runs_against_its_peer(benchmark: Benchmark) -> None:
    if not benchmark.peer.is_installed:
        pytest.skip(f"no {benchmark.peer.name}: {benchmark.peer.how_to_get}")
    # Each raises when anything that came back is wrong, missing or out of order.
    measure(benchmark, quick=True)
    if benchmark.peer not in OURS:
        measure_peer(benchmark, quick=True)


def test_writes_what_it_measured(tmp_path: Path) -> None:
    drawn = importlib.util.find_spec("matplotlib") is not None
    picture = ["--picture", str(tmp_path / "ratios.svg")] if drawn else []
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--runs", "2", "--only", "start-up"]
    ended = run(*command, "--json", str(tmp_path / "rows.json"), *picture, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    [row] = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert len(row["values"]) == len(row["values of the peer"]) == 2
    assert row["benchmark"].encode() in ended.stdout
    assert not drawn or b"<svg" in (tmp_path / "ratios.svg").read_bytes()


def test_the_payload_of_merged_and_split_frames_is_joined() -> None:
    stream = b"".join(map(load.server_frame, [b"a" * 3, b"b" * 300, b"c" * 70_000, b"d" * 5]))
    assert load.joined_payload(bytearray(stream[:-1])) == b"a" * 3 + b"b" * 300 + b"c" * 70_000 + b"d" * 4
    with pytest.raises(ValueError, match="no text"):
        load.joined_payload(bytearray(b"\x88\x02\x03\xe8"))


def test_a_soak_says_what_grows() -> None:
    done, samples, growth = soak(minutes=0.05, clients=20, seed=1)
    assert done["messages"] > 0
    assert done["clients that came"] > 20
    assert len(samples.memory) == len(samples.threads) == 3
    assert [quantity.what for quantity in growth] == ["resident bytes", "descriptors", "threads", "tasks"]
    assert min(samples.tasks) > 5
    assert compare_quarters("x", [10, 10, 11, 11, 10, 10, 11, 12], 0.05).has_grown
    assert not compare_quarters("x", [10, 10, 99, 99, 99, 99, 10, 10], 0.05).has_grown
