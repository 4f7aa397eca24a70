"""The source is told what is so now: a frame for each client that has changed, however often, and ticks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from fws_pipe.clients.client import Client
from fws_pipe.clients.registry import Clients
from fws_pipe.clients.slow_client import SlowClient
from fws_pipe.counters import Counters
from fws_pipe.front.membership_changes import HEARTBEAT_S, MembershipChanges
from fws_pipe.protocol.codec import Frame, FrameDecoder
from tests.unit.clients.recording_wire import Wire


class Followed:
    """Some clients, and what the source has been told of them."""

    def __init__(self) -> None:
        self.clients = Clients(Counters(), SlowClient.CLOSE, lambda seqs: [None for _ in seqs], 0)
        self.ticks = 0
        self.changes = MembershipChanges(self.clients, self._note_tick)
        self.batches: list[list[Frame]] = []

    def _note_tick(self) -> None:
        self.ticks += 1

    async def write(self, batch: bytes) -> None:
        decoder = FrameDecoder()
        decoder.feed(batch)
        self.batches.append(list(decoder.frames()))
        await trio.lowlevel.checkpoint()

    def come(self, client_id: str) -> Client:
        client = Client(client_id, Wire(), 1 << 20)  # type: ignore[arg-type]  # all that is used of a wire
        self.clients.add(client)
        self.clients.open(client)
        return client


def run(scenario: Callable[[Followed], Awaitable[None]]) -> None:
    async def main() -> None:
        followed = Followed()
        followed.come("early")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(followed.changes.run, followed.write)
            await trio.testing.wait_all_tasks_blocked()
            await scenario(followed)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def told(batch: list[Frame]) -> dict[str, object]:
    return {frame["id"]: frame["groups"] for frame in batch if frame["type"] == "presence"}


def test_a_new_source_hears_of_all_clients_and_gets_a_tick() -> None:
    async def scenario(followed: Followed) -> None:
        [batch] = followed.batches
        assert told(batch) == {"early": []}
        assert batch[-1]["type"] == "tick"
        assert followed.ticks == 1

    run(scenario)


def test_a_client_that_has_changed_often_is_one_frame() -> None:
    async def scenario(followed: Followed) -> None:
        followed.batches.clear()
        late = followed.come("late")
        for group in ("b", "a", "c"):
            followed.clients.join("late", group)
        followed.clients.leave("late", "c")
        gone = followed.come("gone")
        followed.clients.remove(gone)
        await trio.testing.wait_all_tasks_blocked()
        [batch] = followed.batches
        assert told(batch) == {"late": ["a", "b"], "gone": None}
        assert len(batch) == 2
        assert late.groups == {"a", "b"}

    run(scenario)


def test_a_tick_comes_at_an_interval() -> None:
    async def scenario(followed: Followed) -> None:
        await trio.sleep(2.5 * HEARTBEAT_S)
        assert followed.ticks == 3
        assert [frame["type"] for batch in followed.batches[1:] for frame in batch] == ["tick", "tick"]

    run(scenario)
