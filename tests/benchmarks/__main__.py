"""Runs every benchmark against fws-pipe and a bare trio-websocket server in turn, and prints a table.

    python -m tests.benchmarks [--runs 3] [--quick] [--json FILE]

Machines are shared and noisy: trust the ratio of the medians, not a figure.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import load
from tests.harness import Server, Servers

BARE = Path(__file__).with_name("bare.py")


@dataclass(frozen=True)
class Benchmark:
    """One row of the table: `measure` gets a server, and whether to be quick."""

    name: str
    unit: str
    chain: str
    bare: str
    measure: Callable[[Server, bool], float]
    more_is_better: bool = True


def _cpu_per_echo(server: Server, quick: bool) -> float:
    count = 2_000 if quick else 20_000
    before = load.cpu_seconds(server.pid)
    load.echo(server.port, count, 32)
    return (load.cpu_seconds(server.pid) - before) / count * 1e6


def _memory_per_client(server: Server, quick: bool) -> float:
    count = 200 if quick else 2000
    with load.open_clients(server.port, 50):
        pass  # what the first clients make the server import and allocate is not theirs
    before = load.resident_bytes(server.pid)
    with load.open_clients(server.port, count):
        return (load.resident_bytes(server.pid) - before) / count / 1024


BENCHMARKS = (
    Benchmark(
        "echo, 1 client, pipelined, 32 B", "messages/s", "mirror", "echo",
        lambda server, quick: load.echo(server.port, 2_000 if quick else 20_000, 32),
    ),
    Benchmark("the same, processor time of all processes", "us/message", "mirror", "echo", _cpu_per_echo, False),
    Benchmark(
        "echo, 1 client, pipelined, 1 KiB", "messages/s", "mirror", "echo",
        lambda server, quick: load.echo(server.port, 2_000 if quick else 20_000, 1024),
    ),
    Benchmark(
        "echo, 1,000 clients, one message in flight each", "messages/s", "mirror", "echo",
        lambda server, quick: load.in_flight(server.port, 50 if quick else 1000, 1.0 if quick else 4.0),
    ),
    Benchmark(
        "round trip, 1 client, median", "us", "mirror", "echo",
        lambda server, quick: load.round_trip(server.port, 100 if quick else 1000) * 1e6, False,
    ),
    Benchmark(
        "fan-out burst, 200 x 64 B to 1,000 clients", "deliveries/s", "broadcast", "broadcast",
        lambda server, quick: load.fan_out(server.port, 50 if quick else 1000, 20 if quick else 200),
    ),
    Benchmark(
        "handshakes, 1,000 clients, 64 at a time", "handshakes/s", "mirror", "echo",
        lambda server, quick: load.handshakes(server.port, 100 if quick else 1000, 64),
    ),
    Benchmark("memory per idle client, all processes", "KiB", "mirror", "echo", _memory_per_client, False),
)  # fmt: skip


def start_up_s(servers: Servers, start: Callable[[Servers], Server]) -> float:
    """Seconds from the command to the line that says where it listens."""
    begin = time.perf_counter()
    server = start(servers)
    assert server.port
    took = time.perf_counter() - begin
    server.process.terminate()
    server.wait()
    return took


def start_pipe(chain: str) -> Callable[[Servers], Server]:
    """A starter of fws-pipe."""
    return lambda servers: servers.start("--quiet", chain)


def start_bare(kind: str) -> Callable[[Servers], Server]:
    """A starter of the peer."""
    return lambda servers: servers.start_command(sys.executable, str(BARE), kind)


def measure(benchmark: Benchmark, start: Callable[[Servers], Server], quick: bool) -> float:
    """One run, on a server of its own."""
    with tempfile.TemporaryDirectory() as folder, Servers(Path(folder)) as servers:
        return benchmark.measure(start(servers), quick)


def compare(name: str, unit: str, ours: list[float], bare: list[float]) -> dict[str, object]:
    """A row: medians, spread and ratio."""
    spread = (max(ours) - min(ours)) / statistics.median(ours)
    return {
        "benchmark": name,
        "unit": unit,
        "fws-pipe": statistics.median(ours),
        "bare trio-websocket": statistics.median(bare),
        "ratio": statistics.median(ours) / statistics.median(bare),
        "spread": spread,
    }


def run_all(runs: int, quick: bool) -> list[dict[str, object]]:
    """All benchmarks, the two servers in turn."""
    rows = []
    for benchmark in BENCHMARKS:
        ours, bare = [], []
        for _ in range(runs):
            ours.append(measure(benchmark, start_pipe(benchmark.chain), quick))
            bare.append(measure(benchmark, start_bare(benchmark.bare), quick))
        rows.append(compare(benchmark.name, benchmark.unit, ours, bare))
        print(show(rows[-1]), flush=True)
    with tempfile.TemporaryDirectory() as folder, Servers(Path(folder)) as servers:
        ours = [start_up_s(servers, start_pipe("mirror")) * 1e3 for _ in range(runs)]
        bare = [start_up_s(servers, start_bare("echo")) * 1e3 for _ in range(runs)]
    rows.append(compare("start-up, until it serves", "ms", ours, bare))
    print(show(rows[-1]), flush=True)
    return rows


def show(row: dict[str, object]) -> str:
    """A line of the table."""
    return (
        f"| {row['benchmark']} | {row['fws-pipe']:,.0f} | {row['bare trio-websocket']:,.0f} | {row['unit']} "
        f"| {row['ratio']:.2f} | {row['spread']:.0%} |"
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each, of which the median counts (default: 3)")
    parser.add_argument("--quick", action="store_true", help="small loads: shows that it works, measures nothing")
    parser.add_argument("--json", type=Path, help="write the rows there as well")
    arguments = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    machine = f"Python {platform.python_version()}, {platform.machine()}"
    print(f"commit {commit.stdout.strip()}, {machine}, medians of {arguments.runs}\n")
    print("| work | fws-pipe | bare trio-websocket | unit | ratio | spread |\n|---|---|---|---|---|---|")
    rows = run_all(arguments.runs, arguments.quick)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
