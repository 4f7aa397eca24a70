"""The benchmarks run, and check what came back; what they measure is nobody's business here."""

from __future__ import annotations

import pytest

from tests.benchmarks.__main__ import BENCHMARKS, Benchmark, measure, start_bare, start_pipe


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_runs_against_both(benchmark: Benchmark) -> None:
    # Each raises when anything that came back is wrong, missing or out of order.
    measure(benchmark, start_pipe(benchmark.chain), quick=True)
    measure(benchmark, start_bare(benchmark.bare), quick=True)
