"""Measures fws-pipe and, in turn, the peer that each row names; prints a table.

    python -m tests.benchmarks [--runs 5] [--soak 10] [--quick] [--only TEXT] [--json FILE] [--picture FILE]

The last row is a soak, see `soak.py`: does anything grow in ten minutes?

Machines are shared and noisy: trust the ratio of the medians, not a figure. A row whose peer isn't installed is
skipped, and says how to get it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.picture import SUFFIXES, draw
from tests.benchmarks.rows import BENCHMARKS, Benchmark, measure, measure_peer
from tests.benchmarks.servers import FROM_BENCH
from tests.benchmarks.soak import CLIENTS, soak


def compare(benchmark: Benchmark, ours: list[float], peers: list[float]) -> dict[str, Any]:
    """A row: single values, medians, their ratio, and the spread of each side."""
    middle, peers_middle = statistics.median(ours), statistics.median(peers)
    return {
        "benchmark": benchmark.name,
        "unit": benchmark.unit,
        "more is better": benchmark.more_is_better,
        "chain": benchmark.ours.argv[-1].replace(f"{Path(__file__).parent}/", ""),
        "peer": benchmark.peer.name,
        "versions": benchmark.peer.versions,
        "fws-pipe": middle,
        "of the peer": peers_middle,
        "ratio": middle / peers_middle if middle > 0 and peers_middle > 0 else None,
        "spread": [_spread(ours), _spread(peers)],
        "values": ours,
        "values of the peer": peers,
    }


def _spread(values: list[float]) -> float:
    return (max(values) - min(values)) / (statistics.median(values) or 1.0)


def run_row(benchmark: Benchmark, runs: int, quick: bool) -> dict[str, Any]:
    """The two servers in turn."""
    ours, peers = [], []
    for _ in range(runs):
        ours.append(measure(benchmark, quick))
        peers.append(measure_peer(benchmark, quick))
    return compare(benchmark, ours, peers)


SOAK = "soak at half load, clients coming and going"
QUICK_SOAK_MINUTES = 0.1


def run_soak(minutes: float) -> tuple[dict[str, Any], bool]:
    """What the soak has shown, and whether nothing has grown."""
    done, _, growth = soak(minutes, CLIENTS, seed=0)
    told = {"minutes": minutes, **done, **{quantity.what: [quantity.first, quantity.last] for quantity in growth}}
    print(f"| {SOAK}, {minutes:g} minutes | {'; '.join(map(str, growth))} |", flush=True)
    return told, not any(quantity.has_grown for quantity in growth)


HEAD = "| work | unit | fws-pipe | peer | | ratio | spread |\n|---|---|---:|---:|---|---:|---:|"


def show(row: dict[str, Any]) -> str:
    """A line of the table."""
    ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}"
    spread = " / ".join(f"{side:.0%}" for side in row["spread"])
    return (
        f"| {row['benchmark']} | {row['unit']} | {_figure(row['fws-pipe'])} | {_figure(row['of the peer'])} "
        f"| {row['peer']} | {ratio} | {spread} |"
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def describe(runs: int, quick: bool) -> dict[str, Any]:
    """What was measured, where, with what and when."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude", "*"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False)
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].split(":", 1)[1].strip() if models else platform.machine()
    return {
        "commit": commit.stdout.strip(),
        "machine": f"{len(os.sched_getaffinity(0))} x {model}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "runs": runs,
        "quick": quick,
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each, of which the median counts (default: 5)")
    parser.add_argument("--soak", type=float, default=10.0, metavar="MINUTES", help="how long it is (default: 10)")
    parser.add_argument("--quick", action="store_true", help="small loads: shows that it works, measures nothing")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose work or peer has this in its name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all single values there as well")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the ratios as SVG or PNG, by the suffix")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs wants 1 or more")
    if arguments.soak < 0:
        parser.error("--soak wants 0 or more")
    if arguments.quick:
        arguments.soak = min(arguments.soak, QUICK_SOAK_MINUTES)
    if arguments.picture and arguments.picture.suffix not in SUFFIXES:
        parser.error(f"--picture wants a file that ends with {' or '.join(SUFFIXES)}")
    if arguments.picture and not importlib.util.find_spec("matplotlib"):
        parser.error(f"--picture wants matplotlib: {FROM_BENCH}")
    for file in (arguments.json, arguments.picture):
        if file and not file.absolute().parent.is_dir():
            parser.error(f"there is no folder for {file}")
    wanted = arguments.only.lower()
    arguments.rows = [row for row in BENCHMARKS if wanted in row.name.lower() or wanted in row.peer.name.lower()]
    if wanted not in SOAK:
        arguments.soak = 0.0
    if not arguments.rows and not arguments.soak:
        names = [*(row.name for row in BENCHMARKS), SOAK]
        parser.error(f"--only {arguments.only!r} matches none of: " + "; ".join(names))
    return arguments


def main() -> int:
    """Run and print; returns 1 if a row failed, or something has grown in the soak."""
    arguments = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers end with the run
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # one descriptor a client, here and in the peers
    about = describe(arguments.runs, arguments.quick)
    caption = f"commit {about['commit']}, Python {about['python']}, {about['machine']}, medians of {about['runs']}"
    caption += ", quick: measures nothing" if about["quick"] else ""
    print(f"{caption}\n\n{HEAD}", flush=True)
    rows, skipped, failed = [], [], []
    for benchmark in arguments.rows:
        told = {"benchmark": benchmark.name, "peer": benchmark.peer.name}
        if not benchmark.peer.is_installed:
            skipped.append({**told, "how to get it": benchmark.peer.how_to_get})
            print(f"| {benchmark.name} | skipped: no {benchmark.peer.name}; {benchmark.peer.how_to_get} |", flush=True)
            continue
        try:
            row = run_row(benchmark, arguments.runs, arguments.quick)
        except (OSError, ValueError, AssertionError) as error:
            failed.append({**told, "error": repr(error)})
            print(f"| {benchmark.name} | failed against {benchmark.peer.name}: {error!r} |", flush=True)
            continue
        rows.append(row)
        print(show(row), flush=True)
    soaked, is_steady = run_soak(arguments.soak) if arguments.soak else (None, True)
    if arguments.json:
        result = {**about, "rows": rows, "skipped": skipped, "failed": failed, "soak": soaked}
        arguments.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    if arguments.picture and rows:
        draw(rows, caption, arguments.picture)
    return 1 if failed or not is_steady else 0


if __name__ == "__main__":
    sys.exit(main())
