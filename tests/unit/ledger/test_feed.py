"""The feed: batches closed by ticks, clients held back, and what a new chain gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from fws_pipe.clients.client import Client
from fws_pipe.ledger.blame import DEATHS_ALONE, DEATHS_IN_COMPANY, LAST_CHANCE_S
from fws_pipe.ledger.feed import (
    BATCH_EVENTS,
    HEARTBEAT_S,
    JOURNAL_LIMIT_BYTES,
    LOOP_LIMIT_BYTES,
    WAITING_LIMIT_BYTES,
    Feed,
    Restart,
)
from fws_pipe.protocol.codec import Frame, FrameDecoder
from fws_pipe.protocol.events import consumer_event, disconnect_event, message_event, open_event
from fws_pipe.websocket.outbox import Outbox
from fws_pipe.websocket.states import ImpossibleEventError
from tests.e2e.raw import frame


class Wire:
    """As much of a wire as a share needs."""

    is_closing = False

    def __init__(self) -> None:
        self.outbox = Outbox(10**6)


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


class WillingChain(Chain):
    """Lets every tick through."""

    async def write(self, data: bytes) -> None:
        await super().write(data)
        self._feed.acknowledge(decode(data)[-1]["seq"])


def run(
    scenario: Callable[[Feed, Chain, trio.Nursery], Awaitable[None]],
    *,
    start: bool = True,
    journal_limit: int = JOURNAL_LIMIT_BYTES,
) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            feed, chain = Feed(journal_limit), Chain()
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
        assert not feed.ticks.ready.is_set()
        feed.acknowledge(1)
        assert feed.ticks.ready.is_set()
        await trio.testing.wait_all_tasks_blocked()
        assert types(mute.frames) == ["tick", "open", "tick"]

    run(scenario, start=False)


def test_a_chain_that_is_known_to_swallow_ticks_gets_events_at_once() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        first, mute = Chain(answers=False), Chain(answers=False)
        nursery.start_soon(first.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        feed.ticks.give_up()
        await first.die()
        feed.restart([])
        client = make_client("a")
        await feed.put(opening(client), client)
        nursery.start_soon(mute.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        assert types(mute.frames) == ["tick", "open", "tick"]

    run(scenario, start=False)


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

    run(scenario)


def test_what_waits_in_the_outbox_counts_as_the_share_too() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a", share=1000)
        client.wire.outbox.append(b"x" * 990)
        nursery.start_soon(feed.put, message_event("a", "x" * 50), client)
        await trio.testing.wait_all_tasks_blocked()
        assert "message" not in types(chain.frames)
        client.wire.outbox.advance(990)
        client.note_room()
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
        """Returns the number of the tick behind the first two `open`s."""
        for client in (self.stays, self.leaves):
            await self.feed.put(opening(client), client)
        await trio.testing.wait_all_tasks_blocked()
        tick: int = self.chain.frames[-1]["seq"]
        await self.feed.put(message_event("stays", "1"), self.stays)
        await trio.testing.wait_all_tasks_blocked()
        self.feed.put_disconnect(disconnect_event("leaves", code=1000, reason="", clean=True), self.leaves)
        await self.feed.put(opening(self.comes), self.comes)
        await trio.testing.wait_all_tasks_blocked()
        return tick


def summary(frames: list[Frame]) -> list[tuple[Any, ...]]:
    return [(frame["type"], frame.get("id"), frame.get("replay")) for frame in frames]


SNAPSHOT = [("open", "stays", True), ("open", "leaves", True), ("tick", None, None)]
CAREFUL_SNAPSHOT = [
    ("tick", None, None),
    ("open", "stays", True),
    ("tick", None, None),
    ("open", "leaves", True),
    ("tick", None, None),
    ("tick", None, None),
]
REPLAY = [
    ("message", "stays", None),
    ("tick", None, None),
    ("disconnect", "leaves", None),
    ("open", "comes", False),
    ("tick", None, None),
]


def test_a_new_chain_gets_a_snapshot_and_then_again_what_is_not_through() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        story = Story(feed, chain)
        feed.acknowledge(await story.tell())
        before = chain.frames
        await chain.die()
        restart = feed.restart([story.stays, story.comes])
        assert restart == (3, False, None)
        assert not feed.ticks.ready.is_set()
        second = Chain()
        nursery.start_soon(second.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        assert summary(second.frames) == SNAPSHOT + REPLAY
        # The same events, with the numbers that they had.
        originals = {event["seq"]: event for event in before}
        for event in second.frames[3:]:
            assert event == originals[event["seq"]]
        # The snapshot's tick has an old number, and no event of the replay a lower one.
        assert second.frames[2]["seq"] == story_tick(before) < second.frames[3]["seq"]

    run(scenario)


def story_tick(frames: list[Frame]) -> int:
    """The number of the second tick."""
    number: int = [frame["seq"] for frame in frames if frame["type"] == "tick"][1]
    return number


def test_what_arrives_during_a_replay_follows_it() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        await feed.put(message_event("a", "1"), client)
        await trio.testing.wait_all_tasks_blocked()
        await chain.die()
        feed.restart([])
        await feed.put(message_event("a", "2"), client)
        second = Chain(answers=False)
        nursery.start_soon(second.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        feed.put_messages(client, frame(b"3"), 0, 100)
        feed.flush()
        assert types(second.frames) == ["tick"]
        feed.acknowledge(1)
        await trio.testing.wait_all_tasks_blocked()
        assert [event["data"] for event in second.frames if event["type"] == "message"] == ["1", "2", "3"]

    run(scenario)


def test_a_chain_that_dies_at_its_start_leaves_everything_as_it_was() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        story = Story(feed, chain)
        feed.acknowledge(await story.tell())
        await chain.die()
        feed.restart([story.stays, story.comes])
        for expected in (SNAPSHOT, *[CAREFUL_SNAPSHOT[:1]] * 10):  # a start that shows no life is no client's fault
            again = Chain(answers=False)
            nursery.start_soon(again.live, feed)
            await trio.testing.wait_all_tasks_blocked()
            await again.die()
            assert summary(again.frames) == expected
            assert feed.restart([story.stays, story.comes]) == (3, False, None)
        last = Chain()
        nursery.start_soon(last.live, feed)
        for _ in range(2):
            await trio.testing.wait_all_tasks_blocked()
            feed.acknowledge(last.frames[-1]["seq"])
        await trio.testing.wait_all_tasks_blocked()
        assert summary(last.frames) == CAREFUL_SNAPSHOT + REPLAY

    run(scenario)


def test_what_redis_has_not_confirmed_is_kept_but_no_longer_a_clients_share() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a", share=100)
        await feed.put(message_event("a", "x" * 90), client)
        await trio.testing.wait_all_tasks_blocked()
        assert client.must_wait(50)
        tick = chain.frames[-1]["seq"]
        feed.acknowledge(tick, is_confirmed=False)
        assert not client.must_wait(50)
        await chain.die()
        assert feed.restart([]).events == 1
        second = Chain()
        nursery.start_soon(second.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        assert types(second.frames) == ["tick", "message", "tick"]
        feed.acknowledge(tick, is_confirmed=False)
        feed.confirm(tick)
        await second.die()
        assert feed.restart([]).events == 0

    run(scenario)


def test_a_client_at_the_gate_asks_the_next_chain_anew() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        client.is_open = False
        await feed.put(opening(client), client)
        await trio.testing.wait_all_tasks_blocked()
        tick = chain.frames[-1]["seq"]
        feed.acknowledge(tick)
        await chain.die()
        feed.restart([client])
        second = Chain()
        nursery.start_soon(second.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        assert summary(second.frames) == [("tick", None, None), ("open", "a", False), ("tick", None, None)]
        assert second.frames[1]["seq"] > tick

    run(scenario)


def test_a_full_journal_holds_everybody_back_until_ticks_come_back() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        feed.put_messages(client, frame(b"x" * 9000), 0, 10_000)
        feed.flush()
        assert not feed.is_full
        feed.put_messages(client, frame(b"x" * 9000), 0, 10_000)
        feed.flush()
        assert feed.is_full
        assert feed.times_full == 1
        feed.put_messages(client, frame(b"late"), 0, 10_000)
        feed.flush()
        await trio.sleep(HEARTBEAT_S * 3)
        assert "late" not in [event.get("data") for event in chain.frames]
        feed.acknowledge(chain.frames[-1]["seq"])
        assert not feed.is_full
        await trio.testing.wait_all_tasks_blocked()
        assert "late" in [event.get("data") for event in chain.frames]

    run(scenario, journal_limit=15_000)


def test_many_events_get_ticks_in_between() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        count = BATCH_EVENTS * 2 + 10
        feed.put_messages(client, frame(b"x") * count, 0, 10)
        feed.flush()
        ticks = [event["seq"] for event in chain.frames if event["type"] == "tick"]
        assert ticks == [1, 1 + BATCH_EVENTS, 1 + 2 * BATCH_EVENTS, 2 + count]
        assert feed.events == count
        events = [event["seq"] for event in chain.frames if event["type"] == "message"]
        assert events == list(range(2, 2 + count))
        position = [event["type"] for event in chain.frames].index("tick", 1)
        assert chain.frames[position - 1]["seq"] == chain.frames[position]["seq"]
        for tick in ticks[:-1]:
            feed.acknowledge(tick)
            assert client.must_wait(10**6)
        feed.acknowledge(ticks[-1])
        assert not client.must_wait(10**6)

    run(scenario)


def test_a_chain_that_owes_a_tick_is_found_out_and_one_that_is_idle_is_not() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        with trio.move_on_after(4) as patience:  # before a heartbeat, which this chain wouldn't answer
            await feed.wait_stalled(1.0)
        assert patience.cancelled_caught
        await feed.put(message_event("a", "x"), client)
        await feed.wait_stalled(1.0)
        with trio.move_on_after(1000) as patience:
            await feed.wait_stalled(0)
        assert patience.cancelled_caught

    run(scenario)


def test_a_chain_that_swallows_ticks_does_not_stall_and_nothing_is_kept_for_it() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        mute = Chain(answers=False)
        nursery.start_soon(mute.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        feed.ticks.give_up()
        await feed.put(message_event("a", "x"), client)
        await feed.wait_settled()
        with trio.move_on_after(1000) as patience:
            await feed.wait_stalled(1.0)
        assert patience.cancelled_caught
        await mute.die()
        assert feed.restart([]).events == 0

    run(scenario, start=False)


async def die_of_it(feed: Feed, nursery: trio.Nursery, clients: list[Client]) -> tuple[Chain, Restart]:
    """A chain that starts, takes what it gets, and dies before it has answered."""
    chain = Chain()
    nursery.start_soon(chain.live, feed)
    await trio.sleep(LAST_CHANCE_S)
    await trio.testing.wait_all_tasks_blocked()
    await chain.die()
    return chain, feed.restart(clients)


def test_an_event_that_was_alone_at_three_deaths_is_skipped_and_shown_with_its_clients_open() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a", share=100)
        client.groups = {"tea"}
        await feed.put(opening(client), client)
        await trio.testing.wait_all_tasks_blocked()
        feed.acknowledge(chain.frames[-1]["seq"])
        await feed.put(message_event("a", "x" * 90), client)
        await trio.testing.wait_all_tasks_blocked()
        await chain.die()
        assert feed.restart([client]).culprit is None
        _, restart = await die_of_it(feed, nursery, [client])
        assert restart == (1, True, None)
        _, (events, _, culprit) = await die_of_it(feed, nursery, [client])
        assert events == 0
        assert culprit is not None
        assert culprit.kept.event["data"] == "x" * 90
        [opened] = decode(culprit.opening)
        assert (opened["id"], opened["replay"], opened["groups"]) == ("a", True, ["tea"])
        assert culprit.barred is None
        last = Chain()
        nursery.start_soon(last.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        assert types(last.frames) == ["open", "tick", "tick"]
        assert client.must_wait(50)
        feed.acknowledge(last.frames[-1]["seq"])
        assert not client.must_wait(50)

    run(scenario)


def test_of_a_client_whose_open_kills_the_chain_no_event_reaches_one() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client, other = make_client("a"), make_client("other")
        await feed.put(opening(client), client)
        await trio.testing.wait_all_tasks_blocked()
        await feed.put(message_event("a", "kept"), client)
        await feed.put(message_event("other", "kept"), other)
        await trio.testing.wait_all_tasks_blocked()
        await chain.die()
        feed.restart([client])
        for _ in range(DEATHS_IN_COMPANY + DEATHS_ALONE - 2):
            await die_of_it(feed, nursery, [client])
        await feed.put(message_event("a", "waiting"), client)
        await feed.put(message_event("other", "waiting"), other)
        _, restart = await die_of_it(feed, nursery, [client])
        assert restart.culprit is not None
        assert restart.culprit.barred is client
        await feed.put(message_event("a", "late"), client)
        feed.put_disconnect(disconnect_event("a", code=1011, reason="", clean=False), client)
        assert feed.departures.get("a") is None
        last = WillingChain()
        nursery.start_soon(last.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        assert [(event["id"], event["data"]) for event in last.frames if event["type"] != "tick"] == [
            ("other", "kept"),
            ("other", "waiting"),
        ]
        assert not client.must_wait(10**6)

    run(scenario)


@pytest.mark.parametrize("has_gone", [False, True])
def test_a_client_whose_open_kills_each_new_chain_is_forgotten_also_if_it_has_gone(has_gone: bool) -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        clients = [] if has_gone else [client]
        await feed.put(opening(client), client)
        await trio.testing.wait_all_tasks_blocked()
        feed.acknowledge(chain.frames[-1]["seq"])
        if has_gone:
            feed.put_disconnect(disconnect_event("a", code=1000, reason="", clean=True), client)
            await trio.testing.wait_all_tasks_blocked()
        await chain.die()
        feed.restart(clients)
        mute = Chain(answers=False)
        nursery.start_soon(mute.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        await mute.die()
        assert feed.restart(clients).culprit is None
        for _ in range(DEATHS_ALONE - 1):
            chain, restart = await die_of_it(feed, nursery, clients)
            assert types(chain.frames) == ["tick", "open", "tick"]
            assert restart.culprit is None
        third = Chain()
        nursery.start_soon(third.live, feed)
        await trio.sleep(LAST_CHANCE_S / 2)
        assert types(third.frames) == ["tick"]
        await trio.sleep(LAST_CHANCE_S / 2)
        await trio.testing.wait_all_tasks_blocked()
        assert types(third.frames) == ["tick", "open", "tick"]
        await third.die()
        restart = feed.restart(clients)
        assert restart.culprit is not None
        assert restart.culprit.barred is client
        assert feed.departures.get("a") is None
        last, restart = await die_of_it(feed, nursery, [])
        assert set(types(last.frames)) == {"tick"}
        assert restart == (0, False, None)

    run(scenario)


def test_who_waits_for_what_a_barred_client_had_said_need_not_wait_for_the_next_heartbeat() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        await feed.put(opening(client), client)
        await trio.testing.wait_all_tasks_blocked()
        await chain.die()
        feed.restart([client])
        await die_of_it(feed, nursery, [client])
        feed.put_at_once(message_event("a", "x" * WAITING_LIMIT_BYTES), client)
        assert feed.is_full
        await die_of_it(feed, nursery, [client])
        assert not feed.is_full
        nursery.start_soon(WillingChain().live, feed)
        with trio.fail_after(HEARTBEAT_S / 2):
            await feed.wait_settled()

    run(scenario)


def test_the_last_chance_comes_later_and_only_while_the_event_is_unfinished() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        await feed.put(message_event("a", "x"), client)
        await trio.testing.wait_all_tasks_blocked()
        await chain.die()
        feed.restart([])
        await die_of_it(feed, nursery, [])
        third = Chain()
        nursery.start_soon(third.live, feed)
        await trio.sleep(LAST_CHANCE_S / 2)
        assert types(third.frames) == ["tick"]
        await trio.sleep(LAST_CHANCE_S / 2)
        await trio.testing.wait_all_tasks_blocked()
        assert types(third.frames) == ["tick", "message", "tick"]
        feed.acknowledge(third.frames[-1]["seq"])
        await third.die()
        feed.restart([])
        await feed.put(message_event("a", "y"), client)
        fourth = Chain()
        nursery.start_soon(fourth.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        assert types(fourth.frames) == ["tick", "message", "tick"]

    run(scenario)


def test_ticks_between_many_events_have_the_numbers_before_them_though_a_client_was_left_out() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client, other = make_client("a"), make_client("other")
        await feed.put(opening(client), client)
        await trio.testing.wait_all_tasks_blocked()
        await chain.die()
        feed.restart([client])
        await die_of_it(feed, nursery, [client])
        for _ in range(BATCH_EVENTS):
            feed.put_at_once(message_event("a", "x"), client)
            feed.put_at_once(message_event("other", "x"), other)
        for last in (client, other):
            feed.put_at_once(message_event(last.id, "x"), last)
        await die_of_it(feed, nursery, [client])
        willing = WillingChain()
        nursery.start_soon(willing.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        events = [event for event in willing.frames if event["type"] == "message"]
        assert {event["id"] for event in events} == {"other"}
        assert len(events) == BATCH_EVENTS + 1
        tick = willing.frames[willing.frames.index(events[-2]) + 1]
        assert (tick["type"], tick["seq"]) == ("tick", events[-2]["seq"])

    run(scenario)


def test_a_chain_that_gives_way_is_no_death() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        await feed.put(message_event("a", "x"), client)
        await trio.testing.wait_all_tasks_blocked()
        await chain.die()
        for _ in range(5):
            assert feed.restart([client], has_died=False) == (1, False, None)
            again = Chain()
            nursery.start_soon(again.live, feed)
            await trio.testing.wait_all_tasks_blocked()
            await again.die()
        assert types(again.frames) == ["tick", "message", "tick"]

    run(scenario)


def test_what_a_client_has_the_chain_publish_takes_of_its_share() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a", share=100)
        assert feed.put_nowait(consumer_event("global", "x" * 90, "here"), client)
        await trio.testing.wait_all_tasks_blocked()
        *_, event, tick = chain.frames
        assert feed.owner_of(event["seq"]) is client
        assert client.must_wait(50)
        feed.acknowledge(tick["seq"])
        assert feed.owner_of(event["seq"]) is None
        assert not client.must_wait(50)

    run(scenario)


def test_two_chains_are_never_written_to_at_once() -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        with pytest.raises(ImpossibleEventError):
            await feed.run(Chain())
        with pytest.raises(ImpossibleEventError):
            feed.restart([client])
        await feed.put(message_event("a", "x"), client)
        await trio.testing.wait_all_tasks_blocked()
        assert types(chain.frames) == ["tick", "message", "tick"]

    run(scenario)


@pytest.mark.parametrize("is_alive", [False, True])
def test_a_chain_that_is_to_get_nothing_more_can_be_told_so_at_any_time(is_alive: bool) -> None:
    async def scenario(feed: Feed, chain: Chain, nursery: trio.Nursery) -> None:
        client = make_client("a")
        if not is_alive:
            await chain.die()
        feed.finish()
        await trio.testing.wait_all_tasks_blocked()
        await feed.put(message_event("a", "x"), client)
        await trio.testing.wait_all_tasks_blocked()
        assert types(chain.frames) == ["tick"]
        assert feed.restart([], has_died=False) == (1, False, None)
        following = Chain()
        nursery.start_soon(following.live, feed)
        await trio.testing.wait_all_tasks_blocked()
        assert types(following.frames) == ["tick", "message", "tick"]

    run(scenario)
