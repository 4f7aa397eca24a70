"""A whole run: a server, its base level, clients, faults, and the accounts when all is mended."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fws_pipe.websocket.intake import Intake
from tests.chaos.accounts import OUTSIDE, Problem, find_problems
from tests.chaos.crowd import Crowd
from tests.chaos.faults import DIES, NOT_KEPT, World, all_faults
from tests.chaos.full_disk import full_disk
from tests.chaos.redis_side import IN_CHANNEL, OUT_CHANNEL, GatedRedis, Publisher, Subscriber
from tests.fuzz.campaign import Level
from tests.harness import PATIENCE_S, Servers, memory_of

ROOT = Path(__file__).resolve().parent.parent.parent
STAGES = Path(__file__).resolve().parent / "stages"
CHAIN = f"cat | publish {OUT_CHANNEL} | {STAGES}/rooms.py | {STAGES}/answer.py"

OPTIONS = ("--stall-timeout", "4", "--redis-channels", IN_CHANNEL, "--max-clients-per-address", "0")

JOURNAL_LIMITS = ("64M", "64M", "512K")
"""With the last one clients are held back whenever the chain is down."""

MEMORY_BOUND_BYTES = 32 * 1024 * 1024
"""What the front may hold more than before: allocators keep some of what the journal had."""

_WARM_UP_S = 1.0
_SHORTEST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.6
_CHECK_S = 0.25
_WATCH_S = 0.05
_LONGEST_END_S = 240.0
"""How long warming up, and waiting for what is still to come, may take beside the faults."""

_LOSSES = ("publishes lost", "bad action", "unknown type", "consumer events dropped", "publishes refused")
"""Of what the server counts, and tells at its end: what there must be none of."""

_DEFECTS = ("an error in the server itself",)


class ChaosError(Exception):
    """Something did not hold. Its text has the log of the faults, and what the server said."""


@dataclass
class Report:
    """What was done and heard."""

    faults: int
    deaths: int
    clients: int
    said: int
    heard: int
    published: int
    repeated: int
    from_outside: int
    missed_from_outside: int
    memory_before: int
    memory_after: int

    def __str__(self) -> str:
        return (
            f"{self.faults} faults, {self.deaths} deaths of the chain, {self.clients} clients\n"
            f"{self.said:,} messages said, heard {self.heard:,} times by clients and {self.published:,} times through "
            f"Redis; {self.repeated} came twice, none was lost\n"
            f"from outside through Redis: {self.from_outside} heard by the first room's clients, "
            f"{self.missed_from_outside} missed while the source was away\n"
            f"the front's memory: {self.memory_before / 2**20:.1f} -> {self.memory_after / 2**20:.1f} MiB"
        )


def chaos(servers: Servers, seed: int, seconds: float, clients: int, rate: float) -> Report:
    """Run it. Raises ChaosError when something doesn't hold."""
    subscriber = Subscriber()
    redis_folder = servers.folder / "redis"
    redis_folder.mkdir()
    with full_disk(servers.folder) as quarantine, GatedRedis(redis_folder, subscriber) as redis:
        dice = random.Random(seed)
        chosen = ("--intake", dice.choice(list(Intake)), "--journal-limit", dice.choice(JOURNAL_LIMITS))
        server = servers.start(
            *OPTIONS, *chosen, "--quarantine", str(quarantine), "--redis-url", redis.url, CHAIN,
            environment=servers.environment(PYTHONPATH=str(ROOT)),
        )  # fmt: skip
        crowd = Crowd(server.port, random.Random(dice.random()), rate)
        world = World(server, redis, crowd, dice)
        world.note(" ".join(chosen))
        run = _Run(servers, world, subscriber, seconds, clients)
        try:
            asyncio.run(run.run())
            world.note("SIGTERM")
            run.problems += _problems_of_end(world)
        except* (ChaosError, TimeoutError, AssertionError) as group:
            raise ChaosError(f"{group.exceptions[0]!r}\n{_story(world)}") from group
    if run.problems:
        raise ChaosError("\n".join([*run.problems[:40], f"({len(run.problems)} problems in all)", _story(world)]))
    return run.report()


def _story(world: World) -> str:
    world.note_told()
    return "\n".join(["what was done, and what the server said, which is noted up to 0.05 s later:", *world.log])


def _problems_of_end(world: World) -> list[str]:
    code = world.server.stop()
    problems = [f"SIGTERM ended it with exit code {code}"] if code else []
    said = world.server.stderr.lines
    problems += [line for line in said if any(defect in line for defect in _DEFECTS)]
    counted = next((line for line in said if "stopped; counted" in line), "")
    problems += [f"it counted {loss!r}: {counted}" for loss in _LOSSES if f"{loss}:" in counted]
    if world.count(NOT_KEPT) != world.poisons:
        problems.append(
            f"{world.poisons} messages were to be skipped, and not kept; it was so for {world.count(NOT_KEPT)}"
        )
    return problems


class _Run:
    """The part in which clients are there."""

    def __init__(self, servers: Servers, world: World, subscriber: Subscriber, seconds: float, clients: int) -> None:
        self._servers = servers
        self._world = world
        self._subscriber = subscriber
        self._publisher = Publisher(world.redis)
        self._seconds = seconds
        self._clients = clients
        self._before = self._after = Level((), 0, 0)
        self._memory_before = self._memory_after = 0
        self._faults = 0
        self.problems: list[str] = []

    async def run(self) -> None:
        """All of it; leaves what did not hold in `problems`."""
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch_server())
            async with asyncio.timeout(self._seconds + _LONGEST_END_S):
                await self._run()
            watching.cancel()

    async def _watch_server(self) -> None:
        while self._world.server.process.poll() is None:
            self._world.note_told()
            await asyncio.sleep(_WATCH_S)
        raise ChaosError(f"the server has ended with exit code {self._world.server.process.returncode}")

    async def _run(self) -> None:
        await self._warm_up()
        self._world.start = time.monotonic()
        crowd = self._world.crowd
        await crowd.enter(self._clients)
        tasks = [asyncio.create_task(work) for work in (crowd.talk(), self._publisher.run())]
        await self._do_faults()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._finish()
        await self._check_level()

    async def _warm_up(self) -> None:
        """What a server imports and allocates for its first clients it keeps: the base level is taken behind them."""
        crowd = self._world.crowd
        await crowd.enter(self._clients)
        talking = asyncio.create_task(crowd.talk())
        await asyncio.sleep(_WARM_UP_S)
        talking.cancel()
        await self._eventually(lambda: not self._find_problems(), "the first clients have heard each other")
        await crowd.end()
        levels = [Level.of(self._servers)]
        while len(levels) < 2 or levels[-2].descriptors != levels[-1].descriptors:
            await asyncio.sleep(_CHECK_S)
            levels.append(Level.of(self._servers))
        self._before = levels[-1]
        self._memory_before = memory_of(self._world.server.pid)

    async def _do_faults(self) -> None:
        world = self._world
        faults = list(all_faults())
        chances = [fault.chances for fault in faults]
        end = time.monotonic() + self._seconds
        while time.monotonic() < end:
            [fault] = world.dice.choices(faults, chances)
            world.note(fault.name)
            self._faults += 1
            await fault.do(world)
            await asyncio.sleep(world.dice.uniform(_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S))
        world.note("no more faults")
        await world.wait_mended()

    async def _finish(self) -> None:
        """Wait until everything has come, or nothing comes any more."""
        crowd = self._world.crowd
        await self._eventually(lambda: all(client.is_open for client in crowd.here), "all clients are in")
        crowd.say_last_words()
        await self._eventually(lambda: not self._find_problems(), "everything has been heard")
        for text, when in self._find_problems():
            self.problems.append(text if when is None else f"{self._world.at(when)}  {text}")
        await self._hear_outside()

    async def _hear_outside(self) -> None:
        """What is published now that nothing is away must be heard."""
        first_room = [client.listener for client in self._world.crowd.here if client.sender.room == 0]

        def is_heard() -> bool:
            return all(listener.last_of(OUTSIDE) == self._publisher.said for listener in first_room)

        for _ in range(round(PATIENCE_S / _CHECK_S)):
            await self._publisher.publish(self._publisher.said + 1)
            await asyncio.sleep(_CHECK_S)
            if is_heard():
                return
        self.problems.append("what is published from outside is not heard any more")

    def _find_problems(self) -> list[Problem]:
        crowd = self._world.crowd
        return find_problems(
            crowd.senders, [*crowd.listeners, self._subscriber.listener], self._world.count(DIES)
        )  # fmt: skip

    async def _check_level(self) -> None:
        await self._world.crowd.end()

        def has_settled() -> bool:
            self._after = after = Level.of(self._servers)
            before = self._before
            return len(after.processes) == len(before.processes) and after.descriptors <= before.descriptors

        await self._eventually(has_settled, "the base level")
        before, after = self._before, self._after
        if not has_settled():
            self.problems.append(
                f"processes {len(before.processes)} -> {len(after.processes)}, "
                f"descriptors {before.descriptors} -> {after.descriptors}"
            )
        self._memory_after = memory_of(self._world.server.pid)
        if self._memory_after > self._memory_before + MEMORY_BOUND_BYTES:
            self.problems.append(f"the front's memory {self._memory_before:,} -> {self._memory_after:,} bytes")

    async def _eventually(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for it as long as anybody hears anything new, and some time more."""
        deadline, heard = time.monotonic() + PATIENCE_S, -1
        while not condition():
            now = sum(listener.messages for listener in self._world.crowd.listeners)
            if now != heard:
                deadline, heard = time.monotonic() + PATIENCE_S, now
            if time.monotonic() > deadline:
                self._world.note(f"given up: {what}")
                return
            await asyncio.sleep(_CHECK_S)

    def report(self) -> Report:
        """What was done."""
        crowd, subscriber = self._world.crowd, self._subscriber.listener
        listeners = crowd.listeners
        outside = [listener.heard[OUTSIDE] for listener in listeners if OUTSIDE in listener.heard]
        return Report(
            faults=self._faults,
            deaths=self._world.count(DIES),
            clients=len(listeners),
            said=sum(sender.said for sender in crowd.senders),
            heard=sum(listener.messages for listener in listeners),
            published=subscriber.messages,
            repeated=len({message for listener in [*listeners, subscriber] for message in listener.repeated}),
            from_outside=max((heard.last for heard in outside), default=0),
            missed_from_outside=max((listener.missed for listener in listeners), default=0),
            memory_before=self._memory_before,
            memory_after=self._memory_after,
        )
