"""One chain's side of the front: what each action does, what the next chain is told, and what people are."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from fws_pipe.clients.client import Client
from fws_pipe.counters import Count, Counters
from fws_pipe.errors import FrameError
from fws_pipe.ledger.blame import DEATHS_ALONE, LAST_CHANCE_S
from fws_pipe.ledger.link import Link, LinkLimits
from fws_pipe.log import Level, Log
from fws_pipe.protocol.codec import Frame, encode
from fws_pipe.protocol.events import message_event, open_event
from fws_pipe.websocket.rfc6455 import INTERNAL_ERROR, encode_message
from tests.unit.clients.recording_wire import Wire
from tests.unit.ledger.test_feed import decode, types


class Conversation:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def tap(self, *, is_wanted: bool) -> None:
        self.asked.append(("tap", is_wanted))

    def hold(self) -> None:
        self.asked.append("hold")

    def resume(self) -> None:
        self.asked.append("resume")

    def fail(self, code: int, reason: str) -> None:
        self.asked.append(("fail", code))


class Front:
    """What a link needs of one."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.spawn = nursery.start_soon
        self.turns = 0

    def begin_turn(self) -> None:
        self.turns += 1

    async def read_all(self, inlet: Any, take: Callable[[bytes], object]) -> None:
        while block := await inlet.read():
            take(block)


class Inlet:
    """Blocks of actions, and then the end."""

    descriptor: int | None = None

    def __init__(self, early: bytes, *blocks: bytes) -> None:
        self.early = early
        self._blocks = [*blocks, b""]

    async def read(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._blocks.pop(0)


class Chain:
    """A chain that returns the first tick of its life, and then those that the test returns."""

    def __init__(self, link: Link, known: Mapping[str, bytes]) -> None:
        self._link = link
        self._known = known
        self._life = trio.CancelScope()
        self._has_returned = False
        self.frames: list[Frame] = []

    async def live(self) -> None:
        with self._life:
            await self._link.write_events(self, self._known)

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.write_nowait(data)

    def write_nowait(self, data: bytes) -> int:
        self.frames += decode(data)
        if not self._has_returned:
            self._has_returned = True
            self.return_tick()
        return len(data)

    def return_tick(self) -> None:
        self._link.execute_block([self.frames[-1]])

    async def die(self) -> None:
        self._life.cancel()
        await trio.testing.wait_all_tasks_blocked()


class Linked:
    """A link, a chain behind it, and what the log says."""

    def __init__(self, link: Link, front: Front, counters: Counters, nursery: trio.Nursery, log: Path) -> None:
        self.link = link
        self.front = front
        self.counters = counters
        self._nursery = nursery
        self._log = log
        self.chain = Chain(link, {})

    async def start(self, known: Mapping[str, bytes] | None = None) -> None:
        """A new chain; `known` is what it has been introduced with."""
        self.chain = Chain(self.link, known or {})
        self._nursery.start_soon(self.chain.live)
        await trio.testing.wait_all_tasks_blocked()

    async def come(self, name: str, *, is_open: bool = True) -> tuple[Client, Conversation]:
        """A client comes; with `is_open` its handshake is over."""
        client, conversation = Client(name, Wire(), 10**6), Conversation()  # type: ignore[arg-type]
        client.is_open = is_open
        event = open_event(name, path="/", query="", headers=[], remote=["h", 1])
        await self.link.announce(client, event)
        if is_open:
            self.link.converse(client, conversation)  # type: ignore[arg-type]
        await trio.testing.wait_all_tasks_blocked()
        return client, conversation

    def do(self, **action: Any) -> None:
        self.link.execute_block([action])


def posted(client: Client) -> list[bytes]:
    """What has been sent to a client."""
    wire = client.wire
    assert isinstance(wire, Wire)
    return wire.posted + wire.own


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[Log]:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    log = Log("test", Level.INFO, descriptor)
    try:
        yield log
    finally:
        log.close()
        os.close(descriptor)


def run(
    scenario: Callable[[Linked], Awaitable[None]],
    tmp_path: Path,
    limits: LinkLimits | None = None,
    said: tuple[str, ...] = (),
) -> None:
    """Run a scenario with a link whose chain serves; its log lines each have a part of `said`."""

    async def main(log: Log) -> None:
        async with trio.open_nursery() as nursery:
            front, counters = Front(nursery), Counters()
            link = Link("here", limits or LinkLimits(), front, counters, log)
            linked = Linked(link, front, counters, nursery, tmp_path / "log")
            await linked.start()
            await scenario(linked)
            nursery.cancel_scope.cancel()

    with log_to(tmp_path / "log") as log:
        trio.run(main, log, clock=trio.testing.MockClock(autojump_threshold=0))
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == len(said), lines
    assert all(part in line for part, line in zip(said, lines, strict=True)), lines


# Clients.


def test_the_chain_hears_of_a_client_once_each_way(tmp_path: Path) -> None:
    async def scenario(linked: Linked) -> None:
        client, _ = await linked.come("a")
        assert list(linked.link.clients) == [client]
        for _ in range(2):
            linked.link.depart(client, 1000, "bye", clean=True)
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(10)
        events = [event for event in linked.chain.frames if event["type"] != "tick"]
        assert types(events) == ["open", "disconnect"]
        assert (events[1]["code"], events[1]["reason"], events[1]["clean"]) == (1000, "bye", True)
        assert list(linked.link.clients) == []
        assert linked.link.conversations == {}

    run(scenario, tmp_path)


# Actions.


def test_actions_reach_those_whom_they_name(tmp_path: Path) -> None:
    async def scenario(linked: Linked) -> None:
        (first, _), (second, _) = await linked.come("a"), await linked.come("b")
        linked.do(type="send", to="a", data="one")
        linked.do(type="join", id="b", group="tea")
        linked.do(type="send", group="tea", data="two")
        linked.do(type="leave", id="b", group="tea")
        linked.do(type="send", group="tea", data="to nobody")
        linked.do(type="close", to="b", code=4000, reason="off")
        assert posted(first) == [encode_message("one")]
        assert posted(second) == [encode_message("two")]
        assert second.wire.closed == [(4000, "off")]  # type: ignore[attr-defined]

    run(scenario, tmp_path)


def test_a_client_that_is_leaving_takes_its_groups_into_the_snapshot(tmp_path: Path) -> None:
    async def scenario(linked: Linked) -> None:
        client, _ = await linked.come("a")
        linked.chain.return_tick()
        linked.do(type="join", id="a", group="tea")
        linked.link.depart(client, 1000, "", clean=True)
        linked.do(type="join", id="a", group="late")
        linked.do(type="leave", id="a", group="tea")
        await trio.sleep(10)
        await linked.chain.die()
        linked.link.prepare_restart(is_replaced=False, is_changed=False)
        await linked.start()
        [opened] = [event for event in linked.chain.frames if event["type"] == "open"]
        assert opened["groups"] == ["late"]

    run(scenario, tmp_path)


async def snapshot_after_death(linked: Linked) -> Frame:
    """What the chain after this one is told of the only client."""
    await linked.chain.die()
    linked.link.prepare_restart(is_replaced=False, is_changed=False)
    await linked.start()
    [opened] = [event for event in linked.chain.frames if event["type"] == "open"]
    return opened


async def told_at_take_over(linked: Linked, known: Mapping[str, bytes]) -> list[Frame]:
    """What a chain that has been introduced with `known` is told when it takes over."""
    await linked.chain.die()
    linked.link.prepare_restart(is_replaced=True, is_changed=False)
    await linked.start(known)
    return linked.chain.frames


async def message_of(linked: Linked, client: Client) -> int:
    """The number of a message that the chain gets from a client."""
    await linked.link.feed.put(message_event(client.id, "x"), client)
    await trio.testing.wait_all_tasks_blocked()
    return int(linked.chain.frames[-2]["seq"])


def test_a_new_chain_is_told_what_was_remembered_before_the_events_that_come_again(tmp_path: Path) -> None:
    async def scenario(linked: Linked) -> None:
        client, _ = await linked.come("a")
        assert linked.chain.frames[-2]["remembered"] == {}
        linked.chain.return_tick()
        linked.do(type="remember", id="a", seq=await message_of(linked, client), value=1)
        linked.chain.return_tick()
        second = await message_of(linked, client)
        linked.do(type="remember", id="a", seq=second, value=2)
        linked.do(type="remember", id="a", name="nick", value="Ann")
        _, known = linked.link.introduce()
        assert decode(known["a"])[0]["remembered"] == {"nick": "Ann", "value": 1}
        assert (await snapshot_after_death(linked))["remembered"] == {"nick": "Ann", "value": 1}
        assert linked.chain.frames[-2]["seq"] == second
        linked.do(type="remember", id="a", seq=second, value=2)
        linked.chain.return_tick()
        assert (await snapshot_after_death(linked))["remembered"] == {"nick": "Ann", "value": 2}
        linked.do(type="remember", id="a", value=None)
        linked.do(type="remember", id="gone", value=1)
        assert (await snapshot_after_death(linked))["remembered"] == {"nick": "Ann"}

    run(scenario, tmp_path)


def test_what_waits_for_redis_is_not_settled_by_its_tick_but_by_the_confirmation(tmp_path: Path) -> None:
    async def scenario(linked: Linked) -> None:
        client, _ = await linked.come("a")
        linked.chain.return_tick()
        linked.do(type="remember", id="a", seq=await message_of(linked, client), value=1)
        tick = linked.chain.frames[-1]
        linked.do(**tick, unconfirmed=True)
        _, known = linked.link.introduce()
        assert decode(known["a"])[0]["remembered"] == {}
        linked.do(type="confirm", seq=tick["seq"])
        _, known = linked.link.introduce()
        assert decode(known["a"])[0]["remembered"] == {"value": 1}

    run(scenario, tmp_path)


def test_what_is_remembered_between_the_introduction_and_the_take_over_reaches_the_new_chain(tmp_path: Path) -> None:
    """A chain that takes over has heard of the clients as they were a while ago: what has changed is told again."""

    async def scenario(linked: Linked) -> None:
        client, _ = await linked.come("a")
        linked.chain.return_tick()
        linked.do(type="remember", id="a", seq=await message_of(linked, client), value=1)
        linked.chain.return_tick()
        _, known = linked.link.introduce()
        assert decode(known["a"])[0]["remembered"] == {"value": 1}
        linked.do(type="remember", id="a", seq=await message_of(linked, client), value=2)
        linked.chain.return_tick()
        told = await told_at_take_over(linked, known)
        assert [frame["remembered"] for frame in told if frame["type"] == "open"] == [{"value": 2}]
        _, known = linked.link.introduce()
        assert [frame["type"] for frame in await told_at_take_over(linked, known)] == ["tick"]

    run(scenario, tmp_path)


def test_a_client_that_is_leaving_takes_what_is_remembered_into_the_snapshot(tmp_path: Path) -> None:
    async def scenario(linked: Linked) -> None:
        client, _ = await linked.come("a")
        linked.chain.return_tick()
        linked.do(type="remember", id="a", seq=await message_of(linked, client), value=1)
        linked.link.depart(client, 1000, "", clean=True)
        linked.do(type="remember", id="a", value="last", name="word")
        assert (await snapshot_after_death(linked))["remembered"] == {"word": "last"}

    run(scenario, tmp_path)


def test_a_client_remembers_so_much(tmp_path: Path) -> None:
    async def scenario(linked: Linked) -> None:
        await linked.come("a")
        for name in "abc":
            linked.do(type="remember", id="a", name=name, value="x" * 7000)
        assert linked.counters[Count.NOT_REMEMBERED] == 1
        linked.do(type="remember", id="a", name="a", value=None)
        linked.do(type="remember", id="a", name="c", value="x" * 7000)
        linked.do(type="remember", id="a", value="x" * 20000)
        assert linked.counters[Count.NOT_REMEMBERED] == 1
        client = linked.link.clients.get("a")
        assert client is not None
        assert client.remembered is not None
        assert list(client.remembered.values()) == ["b", "c"]

    run(
        scenario,
        tmp_path,
        said=(
            "dropped remember str 'c': a would exceed 16384 bytes of names and values",
            "dropped an action: remember.value: expected what msgpack can carry in at most 16384 bytes, got str 'xxx",
        ),
    )


def test_at_the_gate_the_first_answer_counts(tmp_path: Path) -> None:
    async def scenario(linked: Linked) -> None:
        (let_in, _), (kept_out, _) = await linked.come("a", is_open=False), await linked.come("b", is_open=False)
        linked.do(type="accept", id="a", auth={"sub": "me"}, subprotocol="chat")
        linked.do(type="reject", id="a")
        linked.do(type="reject", id="b", status=401)
        linked.do(type="accept", id="b")
        linked.do(type="accept", id="nobody")
        assert let_in.gate_answer is not None
        assert (let_in.gate_answer.refusal, let_in.gate_answer.auth) == (None, {"sub": "me"})
        assert kept_out.gate_answer is not None
        assert kept_out.gate_answer.refusal is not None
        assert kept_out.gate_answer.refusal.status == 401

    run(scenario, tmp_path)


def test_what_the_chain_publishes_without_redis_is_an_event_and_so_is_what_it_enqueues(tmp_path: Path) -> None:
    async def scenario(linked: Linked) -> None:
        linked.do(type="publish", channel="news", data="x")
        linked.do(type="enqueue", data="y")
        linked.do(type="consumer", channel="outside", data="z", origin="there")
        await trio.testing.wait_all_tasks_blocked()
        seen = [
            (event["channel"], event["data"], event["origin"])
            for event in linked.chain.frames
            if event["type"] == "consumer"
        ]
        assert seen == [("news", "x", "here"), (None, "y", "here"), ("outside", "z", "there")]

    run(scenario, tmp_path)


@pytest.mark.parametrize("checks_actions", [False, True])
def test_only_what_no_sink_has_checked_is_checked_here(tmp_path: Path, checks_actions: bool) -> None:
    async def scenario(linked: Linked) -> None:
        client, _ = await linked.come("a")
        if checks_actions:
            linked.do(type="send", to=7, data="x")
        linked.do(type="send", to="a", data="y")
        linked.do(type="nothing known")
        assert posted(client) == [encode_message("y")]
        assert linked.counters[Count.BAD_ACTION] == checks_actions
        assert linked.counters[Count.UNKNOWN_TYPE] == 1

    said = ("dropped an action: ",) if checks_actions else ()
    run(scenario, tmp_path, LinkLimits(checks_actions=checks_actions), said)


def test_ticks_that_were_never_written_are_counted_and_no_more(tmp_path: Path) -> None:
    async def scenario(linked: Linked) -> None:
        await linked.come("a")
        for made_up in (10**9, "1", None, True):
            linked.do(type="tick", seq=made_up)
            linked.do(type="confirm", seq=made_up)
        assert linked.counters[Count.MADE_UP_TICKS] == 8
        assert linked.link.feed.unfinished == 1
        linked.chain.return_tick()
        assert linked.link.feed.unfinished == 0

    run(scenario, tmp_path)


def test_a_stream_of_actions_is_executed_to_its_end_and_half_a_frame_is_an_error(tmp_path: Path) -> None:
    async def scenario(linked: Linked) -> None:
        client, _ = await linked.come("a")
        first, second = (encode({"type": "send", "to": "a", "data": text}) for text in ("one", "two"))
        await linked.link.execute_all(Inlet(first[:5], first[5:] + second[:3], second[3:]), "stage 1")
        assert posted(client) == [encode_message("one"), encode_message("two")]
        with pytest.raises(FrameError, match="stage 1"):
            await linked.link.execute_all(Inlet(b"", first + second[:3]), "stage 1")
        assert posted(client)[2:] == [encode_message("one")]

    run(scenario, tmp_path)


# What holds for one chain.


def test_whether_data_is_wanted_lasts_until_the_next_chain_has_had_time_to_say_so(tmp_path: Path) -> None:
    async def scenario(linked: Linked) -> None:
        _, conversation = await linked.come("a")
        linked.do(type="want", events=["data"])
        assert linked.link.wants_data
        await linked.chain.die()
        linked.link.prepare_restart(is_replaced=False, is_changed=False)
        assert linked.link.wants_data
        conversation.asked.clear()
        await linked.start()  # it returns a tick, and has wanted nothing
        assert not linked.link.wants_data
        assert conversation.asked == [("tap", False)]

    run(scenario, tmp_path)


def test_a_hold_lasts_as_long_as_its_chain_and_is_kept_for_one_at_the_gate(tmp_path: Path) -> None:
    async def scenario(linked: Linked) -> None:
        _, conversation = await linked.come("a")
        linked.do(type="hold", id="a")
        linked.do(type="resume", id="a")
        linked.do(type="hold", id="nobody")
        waiting, later = await linked.come("b", is_open=False)
        linked.do(type="hold", id="b")
        linked.link.converse(waiting, later)  # type: ignore[arg-type]
        linked.link.hold_as_asked(waiting)
        linked.link.hold_as_asked(waiting)
        assert (conversation.asked, later.asked) == (["hold", "resume"], ["hold"])
        await linked.chain.die()
        linked.link.prepare_restart(is_replaced=False, is_changed=False)
        assert later.asked == ["hold", "resume"]

    run(scenario, tmp_path)


# A chain's end.


@pytest.mark.parametrize("is_replaced", [False, True])
def test_people_are_told_what_waits_for_the_next_chain(tmp_path: Path, is_replaced: bool) -> None:
    async def scenario(linked: Linked) -> None:
        await linked.come("a")
        await linked.chain.die()
        told = linked.link.prepare_restart(is_replaced=is_replaced, is_changed=False)
        assert told == ["the next run gets 1 unfinished event again"]
        await linked.start()
        await linked.chain.die()
        [told_then] = linked.link.prepare_restart(is_replaced=is_replaced, is_changed=False)
        assert told_then.endswith("one at a time") == (not is_replaced)

    run(scenario, tmp_path)


def test_people_are_told_what_a_chain_without_ticks_has_lost(tmp_path: Path) -> None:
    async def scenario(linked: Linked) -> None:
        link = linked.link
        assert link.returns_ticks
        await linked.chain.die()
        assert link.prepare_restart(is_replaced=False, is_changed=False) == []

    async def mute(linked: Linked) -> None:
        link = Link("mute", LinkLimits(), linked.front, linked.counters, Log("test"))
        link.give_up_on_ticks()
        assert not link.returns_ticks
        assert link.prepare_restart(is_replaced=False, is_changed=False) == [
            "unfinished events are lost: the chain lets no tick through"
        ]
        assert link.prepare_restart(is_replaced=True, is_changed=True) == []

    run(scenario, tmp_path)
    run(mute, tmp_path)


def test_a_client_whose_message_kills_is_served_on_and_one_whose_open_kills_is_turned_away(tmp_path: Path) -> None:
    async def die(linked: Linked, times: int) -> None:
        for _ in range(times):
            await linked.chain.die()
            linked.link.prepare_restart(is_replaced=False, is_changed=False)
            await linked.start()
            await trio.sleep(LAST_CHANCE_S)
            await trio.testing.wait_all_tasks_blocked()

    async def scenario(linked: Linked) -> None:
        client, conversation = await linked.come("a")
        linked.chain.return_tick()
        await linked.link.feed.put(message_event("a", "poison"), client)
        await trio.testing.wait_all_tasks_blocked()
        await die(linked, DEATHS_ALONE)
        with trio.fail_after(1000):
            while not linked.counters[Count.QUARANTINED]:
                await trio.sleep(1)
        assert client in linked.link.clients
        assert ("fail", INTERNAL_ERROR) not in conversation.asked
        linked.chain.return_tick()
        _, deadly = await linked.come("b")
        await die(linked, DEATHS_ALONE)
        assert ("fail", INTERNAL_ERROR) in deadly.asked
        assert linked.counters[Count.NOT_SERVED] == 1
        with trio.fail_after(1000):
            while linked.counters[Count.QUARANTINED] < 2:
                await trio.sleep(1)

    folder = tmp_path / "quarantine"
    said = ("is skipped; it is kept in", "is skipped, and its client turned away; it is kept in")
    run(scenario, tmp_path, LinkLimits(quarantine=str(folder)), said)
    kept = sorted(folder.iterdir())
    assert [types(decode(file.read_bytes()))[-1] for file in kept] == ["message", "open"]
