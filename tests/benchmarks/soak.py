"""Half load with clients coming and going, for minutes; says whether anything grows.

    python -m tests.benchmarks.soak [--minutes 10] [--clients 200] [--seed N] [--json FILE]

First the rate of these clients at full load, one message in flight each, is measured; then they send half of that. Each
turn some clients leave, by a Close frame, without a word or with a reset, and others take their places. Every reply is
compared with its message. Each second the resident memory, descriptors and threads of all the server's processes are
read, and the number of trio's tasks; in the end the medians of the first and the last quarter are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import socket
import statistics
import struct
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.benchmarks import load, usage
from tests.benchmarks.counted import tasks_in
from tests.benchmarks.servers import fws_pipe_with_counted_tasks, started

CLIENTS = 200
CALIBRATION_S = 3.0
TURN_S = 0.05
LEAVERS_A_TURN = 3
TOLERANCE = 0.05
"""How much more the last quarter may have: the allocators settle for some minutes, and clients come by chance."""

FAREWELL = load.client_frame(struct.pack("!H", 1000), opcode=8)


@dataclass
class Samples:
    """One of each a second."""

    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)

    def take(self, pid: int, tasks: int) -> None:
        """Add the values of now."""
        self.memory.append(usage.resident_bytes(pid))
        self.descriptors.append(usage.descriptors(pid))
        self.threads.append(usage.threads(pid))
        self.tasks.append(tasks)


@dataclass(frozen=True)
class Growth:
    """The medians of a quantity in the first and the last quarter."""

    what: str
    first: float
    last: float
    tolerance: float

    @property
    def has_grown(self) -> bool:
        """Whether the last is more than the first by more than the tolerance."""
        return self.last > self.first * (1 + self.tolerance)

    def __str__(self) -> str:
        verdict = "GROWS" if self.has_grown else "no growth"
        return f"{self.what}: {self.first:,.0f} -> {self.last:,.0f}, {verdict}"


def compare_quarters(what: str, values: list[int], tolerance: float) -> Growth:
    """Compare the first quarter with the last."""
    quarter = max(1, len(values) // 4)
    return Growth(what, statistics.median(values[:quarter]), statistics.median(values[-quarter:]), tolerance)


class Crowd:
    """The clients: always as many, never the same for long."""

    def __init__(self, port: int, count: int, dice: random.Random) -> None:
        self._port = port
        self._dice = dice
        self._poll = select.epoll()
        self._links: dict[int, tuple[load.Link, ExitStack, socket.socket]] = {}
        self._idle: list[int] = []
        self._buffer = bytearray(load.RECEIVE_BYTES)
        self._number = 0
        self.come = self.answered = 0
        self.owed = 0.0
        """Messages that should have been sent by now, and had no idle client."""
        self._enter(count)

    def turn(self, rate: float, until: float) -> None:
        """Send this turn's share of `rate` messages a second, and take replies until then (`perf_counter`)."""
        self.owed += rate * TURN_S
        self._change()
        while (left := until - time.perf_counter()) > 0:
            while self._idle and self.owed >= 1:
                self._send(self._idle.pop())
                self.owed -= 1
            for descriptor, _ in self._poll.poll(left):
                if self._links[descriptor][0].receive(self._buffer):
                    self.answered += 1
                    self._idle.append(descriptor)

    def close(self) -> None:
        """All leave."""
        for descriptor in list(self._links):
            self._leave(descriptor)
        self._poll.close()

    def _send(self, descriptor: int) -> None:
        link = self._links[descriptor][0]
        self._number += 1
        link.expect(b"%012d" % self._number + b"s" * 52)
        link.send(link.frame)

    def _change(self) -> None:
        leavers, self._idle = self._idle[:LEAVERS_A_TURN], self._idle[LEAVERS_A_TURN:]
        for descriptor in leavers:
            self._leave(descriptor)
        self._enter(len(leavers))

    def _enter(self, count: int) -> None:
        for _ in range(count):
            with ExitStack() as opening:
                [sock] = opening.enter_context(load.open_clients(self._port, 1))
                self._poll.register(sock.fileno(), select.EPOLLIN)
                self._links[sock.fileno()] = load.Link(sock, b"hello"), opening.pop_all(), sock
            self._idle.append(sock.fileno())
            self.come += 1

    def _leave(self, descriptor: int) -> None:
        _, opening, sock = self._links.pop(descriptor)
        self._poll.unregister(descriptor)
        way = self._dice.randrange(3)
        if way == 0:
            sock.send(FAREWELL)
        elif way == 1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        opening.close()


def soak(minutes: float, clients: int, seed: int) -> tuple[dict[str, float], Samples, list[Growth]]:
    """Returns what was done, the samples, and the comparison of the quarters."""
    samples = Samples()
    with ExitStack() as running:
        file = Path(running.enter_context(tempfile.TemporaryDirectory())) / "tasks"
        server = running.enter_context(started(fws_pipe_with_counted_tasks("mirror", file)))
        full = load.in_flight(server.port, clients, CALIBRATION_S).rate
        crowd = Crowd(server.port, clients, random.Random(seed))
        start = time.perf_counter()
        turns = round(minutes * 60 / TURN_S)
        for turn in range(1, turns + 1):
            crowd.turn(full / 2, start + turn * TURN_S)
            if turn % round(1 / TURN_S) == 0:
                samples.take(server.pid, tasks_in(file))
        took = time.perf_counter() - start
        crowd.close()
    done = {
        "full load, messages/s": full,
        "messages/s": crowd.answered / took,
        "messages": crowd.answered,
        "clients that came": crowd.come,
    }
    growth = [
        compare_quarters("resident bytes", samples.memory, TOLERANCE),
        compare_quarters("descriptors", samples.descriptors, TOLERANCE),
        compare_quarters("threads", samples.threads, 0.0),
        compare_quarters("tasks", samples.tasks, TOLERANCE),
    ]
    return done, samples, growth


def main() -> int:
    """Run and print; returns 1 if something has grown."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="how many at a time (default: 200)")
    parser.add_argument("--seed", type=int, help="who leaves how; random, and printed, unless given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there as well")
    arguments = parser.parse_args()
    seed = int.from_bytes(os.urandom(4), "big") if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    done, samples, growth = soak(arguments.minutes, arguments.clients, seed)
    for what, value in done.items():
        print(f"{what}: {value:,.0f}")
    for quantity in growth:
        print(quantity)
    if arguments.json:
        arguments.json.write_text(json.dumps({**done, "seed": seed, **asdict(samples)}, indent=2) + "\n")
    return 1 if any(quantity.has_grown for quantity in growth) else 0


if __name__ == "__main__":
    sys.exit(main())
