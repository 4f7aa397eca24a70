"""The front's side of the source, on a fake clock: what it takes from outside, and when the source counts as hung."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from fws_pipe.admission.entrance import Entrance, EntranceSettings
from fws_pipe.errors import SilenceError
from fws_pipe.front.front import Front
from fws_pipe.front.membership_changes import HEARTBEAT_S
from fws_pipe.front.source_link import SILENCE_S, SourceLink
from fws_pipe.ledger.feed import WAITING_LIMIT_BYTES
from fws_pipe.log import Log
from fws_pipe.protocol.codec import encode
from tests.unit.front.test_front import LIMITS, LINK_LIMITS, open_route

TICK = encode({"type": "tick", "seq": 0, "time": 0.0})


class Source:
    """What the front sees of one: it returns each tick after so many seconds, unless it hangs."""

    descriptor: int | None = None
    early = b""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self.hangs = False
        self._send, self._receive = trio.open_memory_channel[bytes](1000)

    async def write(self, batch: bytes) -> None:
        await trio.sleep(self._delay_s)
        if not self.hangs:
            self._send.send_nowait(batch)

    def write_nowait(self, data: bytes) -> int:
        return 0

    async def read(self) -> bytes:
        return await self._receive.receive()

    def say(self, *frames: dict[str, object]) -> None:
        self._send.send_nowait(b"".join(map(encode, frames)))


class Taker:
    """A chain that takes all."""

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    def write_nowait(self, data: bytes) -> int:
        return len(data)


def check(scenario: Callable[[Front, SourceLink], Awaitable[None]], tmp_path: Path) -> None:
    async def main() -> None:
        log = Log("test", descriptor=log_file.fileno())
        async with trio.open_nursery() as nursery:
            front = Front(LIMITS, LINK_LIMITS, log, "test", Entrance(EntranceSettings()), nursery)
            await scenario(front, SourceLink(open_route(front).link, front.counters))
            nursery.cancel_scope.cancel()
        log.close()

    with open(tmp_path / "log", "w") as log_file:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def silence(link: SourceLink, source: Source) -> float:
    """Run until the source counts as hung; returns when that was."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.write_events, source)
        with pytest.raises(SilenceError, match="source hangs"):
            await link.execute_all(source, "source")
        nursery.cancel_scope.cancel()
    return trio.current_time()


def test_a_source_that_hangs_is_noticed(tmp_path: Path) -> None:
    async def scenario(front: Front, link: SourceLink) -> None:
        source = Source(1.0)
        start = trio.current_time()
        with trio.move_on_after(100) as lively:
            await silence(link, source)
        assert lively.cancelled_caught, "a source that returns its ticks lives"
        source.hangs = True
        start = trio.current_time()
        assert await silence(link, source) - start <= HEARTBEAT_S + SILENCE_S + 1

    check(scenario, tmp_path)


def test_a_source_that_has_not_reached_redis_yet_is_not_silent(tmp_path: Path) -> None:
    async def scenario(front: Front, link: SourceLink) -> None:
        source = Source(0.0)
        source.hangs = True
        with trio.move_on_after(100) as patience:
            await silence(link, source)
        assert patience.cancelled_caught

    check(scenario, tmp_path)


def test_a_source_is_not_silent_while_the_chain_keeps_it_waiting(tmp_path: Path) -> None:
    async def scenario(front: Front, link: SourceLink) -> None:
        source = Source(0.0)
        full: dict[str, object] = {
            "type": "consumer",
            "channel": "c",
            "data": "x" * WAITING_LIMIT_BYTES,
            "origin": None,
        }

        async def let_in() -> None:
            """The chain takes what has come only after a long time."""
            await link.ready.wait()
            source.say(full, full)
            await trio.sleep(10 * SILENCE_S)

            front.links[0].feed.ticks.ready.set()
            with trio.move_on_after(1):
                await front.links[0].feed.run(Taker())

        with trio.move_on_after(11 * SILENCE_S) as patience:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(let_in)
                await silence(link, source)
        assert patience.cancelled_caught

    check(scenario, tmp_path)


def test_nothing_but_messages_is_taken_from_outside(tmp_path: Path) -> None:
    async def scenario(front: Front, link: SourceLink) -> None:
        executed: list[object] = []
        execute = front.links[0].execute

        def record(frame: dict[str, object]) -> None:
            executed.append(frame["type"])
            execute(frame)

        front.links[0].execute = record  # type: ignore[method-assign]
        source = Source(0.0)
        source.say(
            {"type": "accept", "id": "x"},
            {"type": "close", "to": "*"},
            {"type": "publish", "channel": "c", "data": "x"},
            {"type": "send", "to": "*", "data": "x"},
            {"type": "enqueue", "data": "x"},
            {"type": "unknown"},
        )
        with trio.move_on_after(1):
            await link.execute_all(source, "source")
        assert [kind for kind in executed if kind != "count"] == ["send", "enqueue"]
        assert front.counters.copy()["actions that may not come from outside"] == 4

    check(scenario, tmp_path)
