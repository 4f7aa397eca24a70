"""What is done to the server and its surroundings, a small object for each kind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fws_pipe.chain.lifecycle import FAILED_STARTS_LIMIT
from fws_pipe.ledger.blame import DEATHS_ALONE, DEATHS_IN_COMPANY
from tests.chaos.crowd import Crowd
from tests.chaos.redis_side import GatedRedis
from tests.harness import PATIENCE_S, Server

DIES = "the chain starts again"
SERVES = "the chain serves again"
SKIPPED = "has killed the chain"
NOT_KEPT = "it is not kept"

_STRIKES_WITHOUT_SERVING = FAILED_STARTS_LIMIT - 2
"""The server gives up, as it should, when the chain fails to start so often in a row."""

_LONGEST_STOP_S = 5.0
_LONGEST_REDIS_ABSENCE_S = 2.0
_CHECK_S = 0.05

_SKIP_PATIENCE_S = (DEATHS_IN_COMPANY + DEATHS_ALONE) * PATIENCE_S
"""Before a message that kills is skipped the chain starts so often, which takes seconds each beside busy neighbours."""


@dataclass
class World:
    """What faults are done to, and the log of what has been done."""

    server: Server
    redis: GatedRedis
    crowd: Crowd
    dice: random.Random
    start: float = field(default_factory=time.monotonic)
    log: list[str] = field(default_factory=list)
    poisons: int = 0
    lasting: set[asyncio.Task[None]] = field(default_factory=set)
    redis_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    said_when_struck: dict[int, int] = field(default_factory=dict)
    """How much each client had said when the chain was struck last."""

    told: int = 0
    """How many of the server's lines are in the log."""

    def note(self, what: str) -> None:
        """Log what is done now."""
        self.log.append(f"{self.at(time.monotonic())}  {what}")

    def at(self, moment: float) -> str:
        """When something was, as the log says it."""
        return f"{moment - self.start:7.3f} s"

    def note_told(self) -> None:
        """Log what the server has said since the last time."""
        lines = self.server.stderr.lines[self.told :]
        self.told += len(lines)
        for line in lines:
            self.note(f"    {line}")

    def count(self, words: str) -> int:
        """How many lines of the server have these words."""
        return sum(words in line for line in self.server.stderr.lines)

    def last(self, work: Awaitable[None]) -> None:
        """Let something last while other faults are done."""
        task = asyncio.ensure_future(work)
        self.lasting.add(task)

    async def wait_mended(self) -> None:
        """Wait until nothing lasts any more."""
        while self.lasting:
            await self.lasting.pop()

    async def wait_told(self, words: str, count: int) -> None:
        """Wait until the server has so many lines with these words."""
        await asyncio.to_thread(self.server.stderr.wait_for, words, count, _SKIP_PATIENCE_S)

    async def wait_strikeable(self) -> None:
        """Wait while one more death of the chain would have consequences that are right, and no fault of the server.

        It gives up when the chain fails to start too often in a row. And an event that is alone in the chain at three
        deaths passes for their cause, whoever has killed the chain: so it must get on between two strikes.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not self._is_strikeable() and time.monotonic() < deadline:
            await asyncio.sleep(_CHECK_S)
        self.said_when_struck = {client.sender.number: client.sender.said for client in self.crowd.here}

    def _is_strikeable(self) -> bool:
        deaths = 0
        has_served = False
        for line in self.server.stderr.lines:
            if SERVES in line:
                has_served, deaths = True, 0
            elif DIES in line:
                has_served, deaths = False, deaths + 1
        return self._has_got_on() if has_served else deaths < _STRIKES_WITHOUT_SERVING

    def _has_got_on(self) -> bool:
        """Whether a client has heard what it has said since the last strike: all that was said before is through."""
        said = self.said_when_struck
        return not said or any(
            client.listener.last_of(client.sender.number) > said[client.sender.number]
            for client in self.crowd.here
            if client.sender.number in said
        )


class Fault(NamedTuple):
    """Its name, how to do it, and how many chances it has beside the others."""

    name: str
    do: Callable[[World], Awaitable[None]]
    chances: int


def process_of(server: Server, mark: str) -> int | None:
    """The child of the server in whose command line this stands, as a descriptor (pidfd_open(2)); None: there is none.

    Unlike its id it can't become somebody else's.
    """
    for task in Path(f"/proc/{server.pid}/task").iterdir():
        for word in _text_of(task / "children").split():
            if mark in _text_of(Path(f"/proc/{word}/cmdline")).replace("\0", " "):
                with contextlib.suppress(ProcessLookupError):
                    return os.pidfd_open(int(word))
    return None


def _text_of(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # gone meanwhile


def _send(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, number)


async def _victim(world: World, mark: str, *, is_of_chain: bool) -> int | None:
    """A descriptor of the process, pidfd_open(2), once it may be struck; None, and noted, when it is not there."""
    if is_of_chain:
        await world.wait_strikeable()
    process = process_of(world.server, mark)
    if process is None:
        world.note("  which is not there")
    return process


def _signalling(name: str, mark: str, number: signal.Signals, chances: int, *, is_of_chain: bool = True) -> Fault:
    async def do(world: World) -> None:
        process = await _victim(world, mark, is_of_chain=is_of_chain)
        if process is None:
            return
        _send(process, number)
        os.close(process)

    return Fault(name, do, chances)


def _stopping(name: str, mark: str, chances: int, *, is_of_chain: bool = True) -> Fault:
    async def do(world: World) -> None:
        process = await _victim(world, mark, is_of_chain=is_of_chain)
        if process is None:
            return
        _send(process, signal.SIGSTOP)
        world.last(_continue(world, process, name, world.dice.uniform(0.1, _LONGEST_STOP_S)))

    return Fault(name, do, chances)


async def _continue(world: World, process: int, name: str, after_s: float) -> None:
    await asyncio.sleep(after_s)
    world.note(f"end of: {name}")
    _send(process, signal.SIGCONT)
    os.close(process)


async def _restart_redis(world: World) -> None:
    async def restart(absence_s: float) -> None:
        async with world.redis_lock:
            await asyncio.to_thread(world.redis.stop)
            await asyncio.sleep(absence_s)
            await asyncio.to_thread(world.redis.restart)
        world.note("end of: Redis restarts")

    world.last(restart(world.dice.uniform(0, _LONGEST_REDIS_ABSENCE_S)))


async def _stop_redis(world: World) -> None:
    async def stop(absence_s: float) -> None:
        async with world.redis_lock:
            os.kill(world.redis.pid, signal.SIGSTOP)
            await asyncio.sleep(absence_s)
            os.kill(world.redis.pid, signal.SIGCONT)
        world.note("end of: Redis hangs")

    world.last(stop(world.dice.uniform(0, _LONGEST_REDIS_ABSENCE_S)))


async def _cut_redis(world: World) -> None:
    async with world.redis_lock:
        await asyncio.to_thread(world.redis.cut_connections)


def _leaving(name: str, how: str, chances: int) -> Fault:
    async def do(world: World) -> None:
        await world.crowd.replace(1 + world.dice.randrange(max(1, len(world.crowd.here) // 10)), how)

    return Fault(name, do, chances)


async def _kill_all(world: World) -> None:
    await world.wait_strikeable()
    for mark in CHAIN:
        process = process_of(world.server, mark)
        if process is not None:
            _send(process, signal.SIGKILL)
            os.close(process)


async def _reload(world: World) -> None:
    world.server.signal(signal.SIGHUP)


async def _poison(world: World) -> None:
    """A message that kills the chain whenever it is read. Nothing else meanwhile, which might be blamed on others."""
    await world.wait_mended()
    open_clients = [client for client in world.crowd.here if client.is_open]
    if not open_clients:
        world.note("  which nobody is there to send")
        return
    world.poisons += 1
    world.dice.choice(open_clients).say_poison(world.poisons)
    await world.wait_told(SKIPPED, world.poisons)
    world.note("end of: a message that kills")


CHAIN = ("cat", "publish", "rooms", "answer", "fws_pipe.chain.sink")
MORTAL = ("rooms", "answer")
SOURCE = "fws_pipe.broker.source"


def all_faults() -> Iterator[Fault]:
    """Every kind of fault."""
    for mark in CHAIN:
        yield _signalling(f"kill -9 {mark}", mark, signal.SIGKILL, 2)
        yield _stopping(f"kill -STOP {mark}", mark, 1)
    for mark in MORTAL:
        yield _signalling(f"half a frame from {mark}", mark, signal.SIGUSR1, 2)
        yield _signalling(f"exit 1 of {mark}", mark, signal.SIGUSR2, 2)
    for mark in ("publish", "fws_pipe.chain.sink"):
        yield _signalling(f"kill -TERM {mark}", mark, signal.SIGTERM, 1)
    yield Fault("kill -9 of all stages", _kill_all, 2)
    yield _signalling("kill -9 source", SOURCE, signal.SIGKILL, 2, is_of_chain=False)
    yield _stopping("kill -STOP source", SOURCE, 1, is_of_chain=False)
    yield Fault("Redis restarts", _restart_redis, 2)
    yield Fault("Redis hangs", _stop_redis, 1)
    yield Fault("Redis's connections are cut", _cut_redis, 2)
    yield _leaving("clients vanish", "reset", 6)
    yield _leaving("clients leave", "leave", 3)
    yield Fault("SIGHUP", _reload, 3)
    yield Fault("a message that kills, and no room in quarantine", _poison, 1)
