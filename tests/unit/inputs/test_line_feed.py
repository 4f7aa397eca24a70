"""An input takes no more of the chain than a client does, and what it can't pass on it tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from fws_pipe.counters import Count, Counters
from fws_pipe.inputs.line_feed import EVENT_BYTES, UNDER_WAY_BYTES, LineFeed
from fws_pipe.ledger.feed import Feed

LIMIT = 1000


class Chain:
    """Takes what is written to it, and returns no tick by itself."""

    def __init__(self) -> None:
        self.taken = b""

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.taken += data

    def write_nowait(self, data: bytes) -> int:
        self.taken += data
        return len(data)


class Scene:
    def __init__(self) -> None:
        self.feed = Feed()
        self.counters = Counters()
        self.said: list[str] = []
        self.lines = LineFeed("channel", lambda: [self.feed], LIMIT, self.counters, self.said.append)


def play(scenario: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(Scene())

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_an_input_that_never_pauses_waits_for_the_chain() -> None:
    async def scenario(scene: Scene) -> None:
        most = UNDER_WAY_BYTES // (1 + EVENT_BYTES) + 1
        block = b"x\n" * (3 * most)
        chain = Chain()
        async with trio.open_nursery() as nursery:
            scene.feed.ticks.ready.set()
            nursery.start_soon(scene.feed.run, chain)
            nursery.start_soon(scene.lines.put, block)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(3600) as for_ever:
                await scene.lines.wait_idle()
            assert for_ever.cancelled_caught
            assert chain.taken.count(b"channel") <= most * 2  # each event has the key, and the name
            for _ in range(3):
                scene.feed.acknowledge(scene.feed.ticks.written)
                await trio.testing.wait_all_tasks_blocked()
            await scene.lines.wait_idle()
            assert chain.taken.count(b"consumer") == 3 * most
            nursery.cancel_scope.cancel()

    play(scenario)


def test_long_lines_are_left_out_and_told_now_and_then() -> None:
    async def scenario(scene: Scene) -> None:
        for _ in range(100):
            await scene.lines.put(b"x" * (LIMIT + 1) + b"\nshort\n")
            await trio.sleep(0.3)
        await scene.lines.finish()
        assert scene.feed.unfinished == 100
        assert scene.counters[Count.LINES_TOO_LONG] == 100
        assert scene.said[0] == "dropped 1 line of more than 1000 bytes; see --max-message"
        assert len(scene.said) == 4
        assert sum(int(text.split()[1]) for text in scene.said) == 100

    play(scenario)


@pytest.mark.parametrize("size", [LIMIT, UNDER_WAY_BYTES + 1])
def test_a_line_as_long_as_it_may_be_passes(size: int) -> None:
    async def scenario(scene: Scene) -> None:
        lines = LineFeed("channel", lambda: [scene.feed], size, scene.counters, scene.said.append)
        await lines.put(b"x" * size + b"\n")
        assert scene.feed.unfinished == 1
        assert scene.said == []

    play(scenario)


def test_lines_that_come_too_late_are_told() -> None:
    async def scenario(scene: Scene) -> None:
        scene.feed.shut_out()
        await scene.lines.put(b"a\nb\n")
        assert scene.feed.unfinished == 0
        assert scene.counters[Count.LINES_LOST] == 2
        assert scene.said == ["lost 2 lines that had been read: the server has stopped"]

    play(scenario)
