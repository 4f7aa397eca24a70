"""The feed: batches closed by ticks, clients held back, and what a new chain gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing

from fws_pipe.front.clients import Client
from fws_pipe.front.feed import HEARTBEAT_S, LOOP_LIMIT_BYTES, WAITING_LIMIT_BYTES, Feed
from fws_pipe.front.outbox import Outbox
from fws_pipe.protocol.codec import Frame, FrameDecoder
from fws_pipe.protocol.events import consumer_event, disconnect_event, message_event, open_event
from tests.e2e.raw import frame


class Wire:
    """As much of a wire as a share needs."""

    is_closing = False

    def __init__(self) -> None:
        self.outbox = Outbox(10**6)
        self.on_room: Callable[[], object] = lambda: None


def make_client(name: str, share: int = 10**6) -> Client:
    client = Client(name, Wire(), share)  # type: ignore[arg-type]
    client.is_open = True
    return client


def opening(client: Client) -> Frame:
    return open_event(client.id, path="/", query="", headers=[], remote=["h", 1])


def decode(data: bytes) -> list[Frame]:
    decoder = FrameDecoder()
    decoder.feed(data)
    return [frame for frame, _ in decoder]


class Chain:
    """Takes batches; lets the first tick through, and then only those that the test acknowledges."""

    def __init__(self, *, answers: bool = True) -> None:
        self.batches: list[bytes] = []
        self.room = 1 << 30
        """What `write_nowait` takes."""
        self._answers = answers
        self._life = trio.CancelScope()

    async def live(self, feed: Feed) -> None:
        """Take batches until death."""
        self._feed = feed
        with self._life:
            await feed.run(self)

    async def die(self) -> None:
        self._life.cancel()
        await trio.testing.wait_all_tasks_blocked()

    @property
    def frames(self) -> list[Frame]:
        return [frame for batch in self.batches for frame in decode(batch)]

    async def write(self, data: bytes) -> None:
        self.batches.append(data)
        await trio.lowlevel.checkpoint()
        if self._answers:
            self._answers = False
            self._feed.acknowledge(decode(data)[-1]["seq"])

    def write_nowait(self, data: bytes) -> int:
        self.batches.append(data[: self.room])
        return min(len(data), self.room)


def run(scenario: Callable[[Feed, Chain, trio.Nursery], Awaitable[None]], *, start: bool = True) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            feed, chain = Feed(), Chain()
            if start:
                nursery.start_soon(chain.live, feed)
                await trio.testing.wait_all_tasks_blocked()
            await scenario(feed, chain, nursery)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def types(frames: list[Frame]) -> list[str]:
    return [frame["type"] for frame in frames]


def test_the_first_batch_is_a_tick_and_says_when_the_chain_is_ready() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        await feed.put(opening(client), client)
        mute = Chain(answers=False)
        nursery.start_soon(mute.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        assert types(mute.frames) == ["tick"]
        assert not feed.ready.is_set()
        feed.acknowledge(2)
        assert feed.ready.is_set()
        await trio.testing.wait_all_tasks_blocked()
        assert types(mute.frames) == ["tick", "open", "tick"]

    run(scenario, start=False)


def test_a_chain_that_is_known_to_swallow_ticks_gets_events_at_once() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        feed.give_up_on_ticks()
        await chain.die()
        feed.restart(0, [])
        client = make_client("a")
        await feed.put(opening(client), client)
        mute = Chain(answers=False)
        nursery.start_soon(mute.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        assert types(mute.frames) == ["tick", "open", "tick"]

    run(scenario)


def test_what_comes_together_goes_together_with_one_tick_behind() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        await feed.put(opening(client), client)
        for number in range(3):
            await feed.put(message_event("a", str(number)), client)
        await trio.testing.wait_all_tasks_blocked()
        assert len(chain.batches) == 2
        assert types(decode(chain.batches[1])) == ["open", "message", "message", "message", "tick"]
        assert [frame["seq"] for frame in chain.frames] == [1, 2, 3, 4, 5, 6]

    run(scenario)


def test_messages_go_at_once_and_what_finds_no_room_follows() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        block = frame(b"one") + frame(b"two") + frame(b"rest")[:-1]
        end = feed.put_messages(client, block, 0, 100)
        assert block[end:] == frame(b"rest")[:-1]
        feed.flush()
        assert [event.get("data") for event in chain.frames[1:]] == ["one", "two", None]
        chain.room = 7
        feed.put_messages(client, frame(b"three"), 0, 100)
        feed.flush()
        feed.put_messages(client, frame(b"four"), 0, 100)
        feed.flush()
        await trio.testing.wait_all_tasks_blocked()
        whole = decode(b"".join(chain.batches))
        assert [event.get("data") for event in whole[4:]] == ["three", None, "four", None]
        assert [event["seq"] for event in whole] == list(range(1, 9))

    run(scenario)


def test_an_idle_chain_gets_heartbeats() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        await trio.sleep(HEARTBEAT_S * 3.5)
        assert types(chain.frames) == ["tick"] * 4

    run(scenario)


def test_clients_wait_while_the_chain_is_full() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        clients = [make_client(str(number)) for number in range(5)]
        done: list[int] = []

        async def talk(number: int, client: Client) -> None:
            await feed.put(message_event(client.id, "x" * (WAITING_LIMIT_BYTES // 2)), client)
            done.append(number)

        for number, client in enumerate(clients):
            nursery.start_soon(talk, number, client)
        await trio.testing.wait_all_tasks_blocked()
        assert len(done) == 2
        nursery.start_soon(chain.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        assert len(done) == 5

    run(scenario, start=False)


def test_a_client_waits_for_its_own_share_until_ticks_come_back() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        greedy, modest = make_client("greedy", share=1000), make_client("modest", share=1000)
        progress: list[int] = []

        async def talk() -> None:
            for number in range(3):
                await feed.put(message_event("greedy", "x" * 700), greedy)
                progress.append(number)

        nursery.start_soon(talk)
        await trio.testing.wait_all_tasks_blocked()
        assert progress == [0]
        await feed.put(message_event("modest", "x"), modest)
        await trio.testing.wait_all_tasks_blocked()
        feed.acknowledge(chain.frames[-1]["seq"])
        await trio.testing.wait_all_tasks_blocked()
        assert progress == [0, 1]
        feed.give_up_on_ticks()
        await trio.testing.wait_all_tasks_blocked()
        assert progress == [0, 1, 2]

    run(scenario)


def test_what_waits_in_the_outbox_counts_as_the_share_too() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a", share=1000)
        client.wire.outbox.append(b"x" * 990)
        nursery.start_soon(feed.put, message_event("a", "x" * 50), client)
        await trio.testing.wait_all_tasks_blocked()
        assert "message" not in types(chain.frames)
        client.wire.outbox.advance(990)
        client.wire.on_room()
        await trio.testing.wait_all_tasks_blocked()
        assert "message" in types(chain.frames)

    run(scenario)


def test_consumer_events_never_wait_and_are_dropped_and_counted_when_there_are_too_many() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        size = 1 << 20
        put = [feed.put_nowait(consumer_event("c", b"x" * size, "s")) for _ in range(LOOP_LIMIT_BYTES // size + 3)]
        assert put.count(True) == LOOP_LIMIT_BYTES // size
        assert feed.dropped == put.count(False) == 3

    run(scenario, start=False)


def test_settled_means_through_the_chain() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        await feed.put(message_event("a", "x"), client)
        settled: list[bool] = []

        async def wait() -> None:
            await feed.wait_settled()
            settled.append(True)

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        feed.acknowledge(1)
        await trio.testing.wait_all_tasks_blocked()
        assert not settled
        feed.acknowledge(3)
        await trio.testing.wait_all_tasks_blocked()
        assert settled

    run(scenario)


def test_closing_lets_everybody_go() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a", share=10)
        await feed.put(message_event("a", "x" * 20), client)
        nursery.start_soon(feed.put, message_event("a", "y"), client)
        await trio.testing.wait_all_tasks_blocked()
        feed.close([client])
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 0

    run(scenario, start=False)


class Story:
    """A feed in the middle of its life: three clients, of whom one has gone and one has just come."""

    def __init__(self, feed: Feed, chain: Chain) -> None:
        self.feed, self.chain = feed, chain
        self.stays, self.leaves, self.comes = (make_client(name) for name in ("stays", "leaves", "comes"))

    async def tell(self) -> int:
        """Returns how many bytes have been written when the first batch of messages is in the pipe."""
        for client in (self.stays, self.leaves):
            await self.feed.put(opening(client), client)
        await trio.testing.wait_all_tasks_blocked()
        read = sum(map(len, self.chain.batches))
        await self.feed.put(message_event("stays", "1"), self.stays)
        await trio.testing.wait_all_tasks_blocked()
        self.feed.put_disconnect(disconnect_event("leaves", code=1000, reason="", clean=True), self.leaves)
        await self.feed.put(opening(self.comes), self.comes)
        await trio.testing.wait_all_tasks_blocked()
        return read


def summary(frames: list[Frame]) -> list[tuple[Any, ...]]:
    return [(frame["type"], frame.get("id"), frame.get("replay")) for frame in frames]


def test_a_new_chain_gets_a_snapshot_and_then_what_the_dead_one_had_not_read() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        story = Story(feed, chain)
        read = await story.tell()
        feed.acknowledge(1)
        before = chain.frames
        await chain.die()
        lost, waiting = feed.restart(read, [story.stays, story.comes])
        assert (lost, waiting) == (2, 3)
        assert not feed.ready.is_set()
        second = Chain()
        nursery.start_soon(second.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        assert summary(second.frames) == [
            ("open", "stays", True),
            ("open", "leaves", True),
            ("tick", None, None),
            ("message", "stays", None),
            ("disconnect", "leaves", None),
            ("open", "comes", False),
            ("tick", None, None),
        ]
        # The same events, with the numbers that they had.
        originals = {event["seq"]: event for event in before}
        for event in second.frames:
            assert event["type"] == "tick" or {**event, "replay": 0} == {**originals[event["seq"]], "replay": 0}

    run(scenario)


def test_a_chain_that_dies_before_it_has_read_its_snapshot_gets_a_fresh_one() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        story = Story(feed, chain)
        read = await story.tell()
        await chain.die()
        feed.restart(read, [story.stays, story.comes])
        for _ in range(3):
            again = Chain(answers=False)
            nursery.start_soon(again.live, feed)
            await trio.testing.wait_all_tasks_blocked()
            await again.die()
            assert feed.restart(0, [story.stays, story.comes]) == (0, 3)
        assert summary(again.frames) == [
            ("open", "stays", True),
            ("open", "leaves", True),
            ("tick", None, None),
        ]

    run(scenario)


def test_what_is_lost_no_longer_counts_as_a_clients_share() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a", share=100)
        await feed.put(message_event("a", "x" * 90), client)
        await trio.testing.wait_all_tasks_blocked()
        assert client.must_wait(50)
        await chain.die()
        feed.restart(sum(map(len, chain.batches)), [client])
        assert not client.must_wait(50)

    run(scenario)
