"""A whole run of the fuzzer: a server, its base level, many streams, and the level when all is closed again."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.fuzz.drive import BrokenInvariantError, Innocent, drive
from tests.fuzz.streams import Stream, make_stream
from tests.harness import Server, Servers, descriptors_of, eventually, memory_of

WARM_UP_FRAMES = 10_000
"""What a server allocates and imports for its first odd clients, it keeps: the base level is taken behind them."""

MEMORY_BOUND_BYTES = 32 * 1024 * 1024
"""What all processes together may have grown by: far less than a leak of 4 KiB a connection makes of a long run."""

_FAULTS = ("Traceback", "an error in the server itself", "starts again", "exited with")


@dataclass(frozen=True)
class Level:
    """What a server and its children hold."""

    processes: tuple[int, ...]
    descriptors: int
    memory: int

    @classmethod
    def of(cls, servers: Servers) -> Level:
        """The level now."""
        pids = tuple(sorted(servers.processes()))
        return cls(pids, sum(map(descriptors_of, pids)), sum(map(memory_of, pids)))


@dataclass
class Report:
    """What was done and seen."""

    frames: int
    connections: int
    seconds: float
    outcomes: Counter[str]
    answered: int
    longest_s: float
    before: Level
    after: Level

    def __str__(self) -> str:
        ends = ", ".join(f"{how} {count:,}" for how, count in self.outcomes.most_common())
        return (
            f"{self.frames:,} frames on {self.connections:,} connections in {self.seconds:.0f} s\n"
            f"their ends: {ends}\n"
            f"the client beside them: {self.answered:,} messages answered, the slowest after {self.longest_s:.3f} s\n"
            f"descriptors {self.before.descriptors} -> {self.after.descriptors}, memory "
            f"{self.before.memory / 2**20:.1f} -> {self.after.memory / 2**20:.1f} MiB"
        )


def fuzz(servers: Servers, seed: int, frames: int, *options: str) -> Report:
    """Send so many frames to a server with these options. Raises BrokenInvariantError, see the package's docstring."""
    server = servers.start(*options, "mirror")
    port = server.port
    numbers = itertools.count(1)
    drive(port, _streams(seed, numbers, WARM_UP_FRAMES, Counter()))
    before = _level_at_rest(servers)
    sent: Counter[str] = Counter()
    start = time.monotonic()
    with Innocent(port) as innocent:
        outcomes = drive(port, _streams(seed, numbers, frames, sent))
    seconds = time.monotonic() - start
    innocent.check()
    after = _level_at_rest(servers, before.descriptors)
    _check_server(server, before, after)
    return Report(
        sent["frames"], sum(outcomes.values()), seconds, outcomes, innocent.answered, innocent.longest_s, before, after
    )


def send_one(servers: Servers, seed: int, number: int, *options: str) -> Counter[str]:
    """Send a single stream, to see again what went wrong; returns how it ended."""
    server = servers.start(*options, "mirror")
    outcomes = drive(server.port, iter([make_stream(seed, number)]))
    level = _level_at_rest(servers)
    _check_server(server, level, level)
    return outcomes


def _streams(seed: int, numbers: Iterator[int], frames: int, sent: Counter[str]) -> Iterator[Stream]:
    while sent["frames"] < frames:
        stream = make_stream(seed, next(numbers))
        sent["frames"] += stream.frames
        yield stream


def _level_at_rest(servers: Servers, descriptors: int | None = None) -> Level:
    """The level once the last connections have gone; `descriptors` is the level that it must come back to."""
    if descriptors is not None:
        eventually(lambda: Level.of(servers).descriptors <= descriptors, "the base level of descriptors")
        return Level.of(servers)
    levels = [Level.of(servers)]

    def is_still() -> bool:
        levels.append(Level.of(servers))
        return levels[-2].descriptors == levels[-1].descriptors

    eventually(is_still, "a steady number of descriptors")
    return levels[-1]


def _check_server(server: Server, before: Level, after: Level) -> None:
    told = [line for line in server.stderr.lines if any(fault in line for fault in _FAULTS)]
    if told or server.process.poll() is not None:
        raise BrokenInvariantError(f"the server told of {len(told)} faults, of which the first: {told[:3]}")
    if after.processes != before.processes:
        raise BrokenInvariantError(f"processes {before.processes} became {after.processes}")
    if after.memory > before.memory + MEMORY_BOUND_BYTES:
        raise BrokenInvariantError(f"memory grew from {before.memory:,} to {after.memory:,} bytes")
