"""The rows of the table: what is measured, of which chain, and against which peer."""

from __future__ import annotations

import resource
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks import load, usage
from tests.benchmarks.servers import (
    WEBSOCAT,
    WEBSOCKETD,
    WEBSOCKETS_TRIO,
    WEBSOCKETS_UVLOOP,
    Running,
    Subject,
    bare,
    fws_pipe,
    picows,
    started,
)

MIRROR = fws_pipe("mirror")
BROADCAST = fws_pipe("broadcast")
PER_CLIENT = fws_pipe("per_client cat")
BROADCAST_TO_SLOW_CLIENTS = fws_pipe("broadcast", "--slow-client", "drop-oldest")
PASS_ALL = f"fws-python {shlex.quote(str(Path(__file__).with_name('pass_all.py')))}"
MAP = fws_pipe("map cat | mirror")
LINES = fws_pipe("lines sed -u s/^message/send/")
JSON = fws_pipe("""json sed -uE 's/"type":"message"(.*)"id":/"type":"send"\\1"to":/'""")
"""Each an echo, by a program behind an adapter."""
IDLE_CLIENTS = 10_000
FEWER_IDLE_CLIENTS = 5_000


@dataclass(frozen=True)
class Benchmark:
    """One row of the table: `measure` gets a server, and whether to be quick."""

    name: str
    unit: str
    ours: Subject
    peer: Subject
    measure: Callable[[Running, bool], float]
    more_is_better: bool = True
    measure_peer: Callable[[Running, bool], float] | None = None
    """For a row that compares two situations, and not two servers."""


def _echo(count: int, size: int) -> Callable[[Running, bool], float]:
    def measure(server: Running, quick: bool) -> float:
        return load.echo(server.port, max(count // 20, 50) if quick else count, size, server.whole)

    return measure


def _in_flight(clients: int) -> Callable[[Running, bool], float]:
    def measure(server: Running, quick: bool) -> float:
        return load.in_flight(server.port, clients // 20 if quick else clients, 0.3 if quick else 4.0).rate

    return measure


def _p99(server: Running, quick: bool) -> float:
    return load.in_flight(server.port, 10 if quick else 100, 0.3 if quick else 4.0).p99 * 1e3


def _p99_beside_a_greedy_client(server: Running, quick: bool) -> float:
    with load.greedy_client(server.port):
        return _p99(server, quick)


def _fan_out(server: Running, quick: bool) -> float:
    with load.open_clients(server.port, 51 if quick else 1001) as clients:
        return load.fan_out(clients, 20 if quick else 200).rate


def _p99_of_fan_out(server: Running, quick: bool) -> float:
    receivers, count = (50, 10) if quick else (950, 400)
    with load.open_clients(server.port, receivers + 1) as clients:
        return load.fan_out(clients, count, size=4096, rate=40).p99 * 1e3


def _p99_of_fan_out_beside_silent_readers(server: Running, quick: bool) -> float:
    with load.open_clients(server.port, 5 if quick else 50, receive_buffer=4096):
        with load.open_clients(server.port, 2) as talkers:
            load.fan_out(talkers, 100, size=1 << 16)  # fills what the kernel keeps for them, and their outboxes
        return _p99_of_fan_out(server, quick)


def _cpu_per_echo(server: Running, quick: bool) -> float:
    count = 1_000 if quick else 20_000
    before = usage.cpu_seconds(server.pid)
    load.echo(server.port, count, 32, server.whole)
    return (usage.cpu_seconds(server.pid) - before) / count * 1e6


def _cpu_per_delivery(server: Running, quick: bool) -> float:
    receivers, count = (50, 10) if quick else (1000, 200)
    with load.open_clients(server.port, receivers + 1) as clients:
        before = usage.cpu_seconds(server.pid)
        load.fan_out(clients, count, rate=40)
        return (usage.cpu_seconds(server.pid) - before) / (receivers * count) * 1e6


def idle_clients() -> int:
    """How many clients the descriptors are enough for, here and in a server, once the limit is raised."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return FEWER_IDLE_CLIENTS if 0 <= most < IDLE_CLIENTS + 500 else IDLE_CLIENTS


def _memory_per_client(server: Running, quick: bool) -> float:
    count = 200 if quick else idle_clients()
    with load.open_clients(server.port, 50):
        pass  # what the first clients make the server import and allocate is not theirs
    before = usage.resident_bytes(server.pid)
    with load.open_clients(server.port, count):
        time.sleep(0.2 if quick else 1.0)  # the chain may still be hearing of the last
        return (usage.resident_bytes(server.pid) - before) / count / 1024


BENCHMARKS = (
    Benchmark("echo, 1 client, pipelined, 32 B", "messages/s", MIRROR, WEBSOCAT, _echo(300_000, 32)),
    Benchmark("the same, processor time of all processes", "us/message", MIRROR, bare("echo"), _cpu_per_echo, False),
    Benchmark("echo, 1 client, pipelined, 1 KiB", "messages/s", MIRROR, WEBSOCAT, _echo(100_000, 1 << 10)),
    Benchmark("echo, 1 client, pipelined, 64 KiB", "messages/s", MIRROR, WEBSOCAT, _echo(2_000, 1 << 16)),
    Benchmark(
        "echo, 1,000 clients, one 64 B message in flight each", "messages/s", MIRROR, picows("echo"), _in_flight(1000),
    ),
    Benchmark("echo, 100 clients, one 64 B message in flight each", "messages/s", MIRROR, WEBSOCKETD, _in_flight(100)),
    Benchmark(
        "a program for each client: echo, 100 clients, one 64 B message in flight each", "messages/s",
        PER_CLIENT, WEBSOCKETD, _in_flight(100),
    ),
    Benchmark("fan-out burst, 200 x 64 B to 1,000 clients", "deliveries/s", BROADCAST, picows("broadcast"), _fan_out),
    Benchmark(
        "fan-out, 40 messages/s to 1,000 clients, processor time", "us/delivery", BROADCAST, picows("broadcast"),
        _cpu_per_delivery, False,
    ),
    Benchmark(
        "round trip, 1 client, median", "us", MIRROR, WEBSOCKETS_TRIO,
        lambda server, quick: load.round_trip(server.port, 100 if quick else 1000) * 1e6, False,
    ),
    Benchmark(
        "handshakes, 1,000 clients, 64 at a time", "handshakes/s", MIRROR, WEBSOCKETS_UVLOOP,
        lambda server, quick: load.handshakes(server.port, 100 if quick else 1000, 64),
    ),
    Benchmark(
        f"memory per idle client of {idle_clients():,}, all processes", "KiB", MIRROR, bare("echo"),
        _memory_per_client, False,
    ),
    Benchmark(
        "a further stage: `cat` before mirror, echo of 32 B", "messages/s", fws_pipe("cat | mirror"), MIRROR,
        _echo(300_000, 32),
    ),
    Benchmark(
        "a further stage: a Python filter before mirror, echo of 32 B", "messages/s",
        fws_pipe(f"{PASS_ALL} | mirror"), MIRROR, _echo(300_000, 32),
    ),
    *(
        row
        for name, subject in (("map cat | mirror", MAP), ("lines sed", LINES), ("json sed", JSON))
        for row in (
            Benchmark(f"echo of 32 B by `{name}`", "messages/s", subject, MIRROR, _echo(100_000, 32)),
            Benchmark(
                f"echo of 32 B by `{name}`, processor time of all", "us/message", subject, MIRROR, _cpu_per_echo, False
            ),
        )
    ),
    Benchmark(
        "p99 of 100 clients, one message in flight each, beside one that pipelines at full speed", "ms", MIRROR,
        replace(MIRROR, name="the same without it"), _p99_beside_a_greedy_client, False, _p99,
    ),
    Benchmark(
        "p99 of a fan-out of 4 KiB, 40/s, to 950 clients, beside 50 that never read", "ms",
        BROADCAST_TO_SLOW_CLIENTS, replace(BROADCAST_TO_SLOW_CLIENTS, name="the same without them"),
        _p99_of_fan_out_beside_silent_readers, False, _p99_of_fan_out,
    ),
    Benchmark(
        "start-up, until it serves", "ms", MIRROR, bare("echo"), lambda server, quick: server.start_s * 1e3, False,
    ),
)  # fmt: skip


def measure(benchmark: Benchmark, quick: bool) -> float:
    """One run, on a server of its own."""
    with started(benchmark.ours) as server:
        return benchmark.measure(server, quick)


def measure_peer(benchmark: Benchmark, quick: bool) -> float:
    """One run of what it is compared with."""
    with started(benchmark.peer) as server:
        return (benchmark.measure_peer or benchmark.measure)(server, quick)
