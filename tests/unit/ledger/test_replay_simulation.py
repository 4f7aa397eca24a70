"""The feed, its journal and the suppression against a simulated chain that dies at random.

Everything that is random comes from one number, which a failure shows. Pipes hold any number of bytes, cut anywhere; a
stage dies with what it holds, half a frame may be its last word; ticks come back confirmed or not; some messages kill
the stage that reads them, and some are told to everybody, one by one, in another order by each run. In the end each
message has been answered exactly once, in the order of its client, but for those in quarantine, which are exactly those
that kill; and none of those has caused more deaths than it may. The `open` of some clients kills as well: of these no
chain hears anything.

FWS_TEST_EXPLORE=1 runs 10,000 schedules.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
import trio
import trio.testing

from fws_pipe.clients.client import Client
from fws_pipe.ledger.blame import DEATHS_ALONE, DEATHS_IN_COMPANY, LAST_CHANCE_S
from fws_pipe.ledger.feed import HEARTBEAT_S, Feed
from fws_pipe.ledger.progress import Progress
from fws_pipe.protocol.codec import Frame, FrameDecoder, encode
from fws_pipe.protocol.events import confirm_frame, disconnect_event, unconfirmed
from tests.e2e.raw import frame as websocket_frame
from tests.unit.ledger.test_feed import make_client, opening

SCHEDULES = 10_000 if os.environ.get("FWS_TEST_EXPLORE") else 300
GROUP = 50
"""So many schedules make one test."""

STAGES = 3
"""Two filters and the sink."""


class DeathError(Exception):
    """A stage has met a message that kills it."""


def actions_of(event: Frame, stage: int) -> list[Frame]:
    """What a filter answers to the sender: none, one or two messages for each that it sees, the same each time."""
    number = int(str(event["data"]).split()[1])
    count = (number + stage) % 3 if stage else 1 + number % 2
    return [
        {"type": "send", "to": event["id"], "data": f"{event['data']} {stage} {turn}", "seq": event["seq"]}
        for turn in range(count)
    ]


def is_poison(text: str) -> bool:
    """Whether a message kills, or the `open` of the client of this id."""
    return text.startswith("poison")


def answers_to(message: str) -> list[str]:
    """All that comes back for a message, in order: the second filter's answers stand before the first one's."""
    event = {"id": "", "data": message, "seq": 0}
    return [action["data"] for stage in (1, 0) for action in actions_of(event, stage)]


class Stage:
    """A process of the chain: what it has been sent, and what it does with it."""

    def __init__(self, number: int, world: World) -> None:
        self.number = number
        self.waiting = b""
        self._decoder = FrameDecoder()
        self._world = world
        self._present: set[str] = set()
        self._unconfirmed: list[int] = []

    def work(self, size: int) -> bytes:
        """Read so many bytes, and return what is written. Raises DeathError, which holds that."""
        block, self.waiting = self.waiting[:size], self.waiting[size:]
        self._decoder.feed(block)
        out = b""
        for frame, raw in self._decoder:
            try:
                out += self._handle(frame, raw)
            except DeathError:
                raise DeathError(out) from None
        return out

    def _handle(self, frame: Frame, raw: bytes) -> bytes:
        kind = frame["type"]
        if self.number == STAGES - 1:
            return self._sink(frame, raw)
        if kind == "open":
            assert frame["id"] not in self._present or frame["replay"]
            if is_poison(frame["id"]) and self.number == frame["seq"] % 2:
                raise DeathError
            self._present.add(frame["id"])
        elif kind == "disconnect":
            self._present.remove(frame["id"])
        elif kind == "message":
            assert frame["id"] in self._present, "a chain hears of each client before it hears from it"
            if is_poison(frame["data"]) and self.number == frame["seq"] % 2:
                raise DeathError
            fan_out = self._fan_out(frame) if self.number == 0 and "everybody" in frame["data"] else []
            return raw + b"".join(map(encode, [*actions_of(frame, self.number), *fan_out]))
        return raw

    def _fan_out(self, event: Frame) -> list[Frame]:
        """A message to each of the others, in an order that no two runs have in common."""
        others = sorted(self._present - {event["id"]})
        self._world.random.shuffle(others)
        return [{"type": "send", "to": to, "data": f"to all: {event['data']}", "seq": event["seq"]} for to in others]

    def _sink(self, frame: Frame, raw: bytes) -> bytes:
        if frame["type"] == "tick":
            if self._unconfirmed or self._world.chance(0.2):
                self._unconfirmed.append(frame["seq"])
                return encode(unconfirmed(frame))
            return raw
        return raw if frame["type"] == "send" else b""

    def confirm(self) -> bytes:
        """What Redis has confirmed meanwhile."""
        if not self._unconfirmed:
            return b""
        count = self._world.random.randint(1, len(self._unconfirmed))
        seq = self._unconfirmed[count - 1]
        del self._unconfirmed[:count]
        return encode(confirm_frame(seq))


class Chain:
    """The stages of one run, the pipes between them, and an outlet for the feed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.stages = [Stage(number, world) for number in range(STAGES)]
        self.answers = b""
        """What the front has not read yet."""
        self._decoder = FrameDecoder()
        self.life = trio.CancelScope()
        self._room = trio.lowlevel.ParkingLot()

    async def live(self, feed: Feed) -> None:
        with self.life:
            await feed.run(self)

    async def write(self, data: bytes) -> None:
        while data:
            data = data[self.write_nowait(data) :]
            if data:
                await self._room.park()
            else:
                await trio.lowlevel.checkpoint()

    def write_nowait(self, data: bytes) -> int:
        room = max(0, self._world.pipe_size - len(self.stages[0].waiting))
        self.stages[0].waiting += data[:room]
        return min(room, len(data))

    def step(self, number: int, size: int) -> None:
        """Let a stage work. Raises DeathError."""
        stage = self.stages[number]
        try:
            self._pass_on(number, stage.work(size))
        except DeathError as death:
            self._pass_on(number, self._world.part_of(death.args[0]))
            raise
        finally:
            self._room.unpark_all()

    def _pass_on(self, number: int, data: bytes) -> None:
        if number == STAGES - 1:
            self.answers += data
        else:
            self.stages[number + 1].waiting += data

    def confirm(self) -> None:
        self.answers += self.stages[-1].confirm()

    def end(self, dead: int) -> None:
        """A stage has died: those behind it finish what they have, or are gone as well."""
        for number in range(dead + 1, STAGES):
            if self._world.chance(0.7):
                try:
                    self._pass_on(number, self.stages[number].work(1 << 30))
                except DeathError as death:
                    self._pass_on(number, self._world.part_of(death.args[0]))
        self.answers = self._world.part_of(self.answers) if self._world.chance(0.3) else self.answers
        self.read(1 << 30)

    def read(self, size: int) -> None:
        """Let the front execute so many bytes of actions."""
        block, self.answers = self.answers[:size], self.answers[size:]
        self._decoder.feed(block)
        self._world.execute(self._decoder)


class ThreeChancesError(Exception):
    """An event that kills nothing was alone at three deaths by chance, and so is skipped: the schedule ends here."""


class World:
    """Clients, a front's feed and one chain after the other."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pipe_size = self.random.choice([100, 500, 5000])
        self.feed = Feed(self.random.choice([1500, 10_000, 1 << 20]))
        self.progress = Progress(lambda: self.feed.last_event)
        self.poison_share = self.random.choice([0.0, 0.0, 0.05, 0.2])
        self.clients: dict[str, Client] = {}
        self.everybody: list[Client] = []
        self.sent: dict[str, list[str]] = {}
        self.heard: dict[str, list[str]] = {}
        self.audience: dict[str, set[str]] = {}
        """Who is to hear a message that is told to everybody."""
        self.quarantine: list[str] = []
        self.deaths = 0
        self.deaths_by_poison = 0

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def part_of(self, data: bytes) -> bytes:
        """What of the last words of a process has got into the pipe."""
        return data[: self.random.randint(0, len(data))]

    def execute(self, decoder: FrameDecoder) -> None:
        """As `Link.execute_all` does."""
        frames = decoder.frames()
        executed = []
        for frame in self.progress.without_done(frames) if self.progress.is_replaying else frames:
            executed.append(frame)
            if frame["type"] == "tick":
                self.feed.acknowledge(frame["seq"], is_confirmed=not frame.get("unconfirmed"))
            elif frame["type"] == "confirm":
                self.feed.confirm(frame["seq"])
            else:
                self.heard[frame["to"]].append(frame["data"])
        self.progress.note(executed)
        for frame in executed:
            if frame["type"] == "tick":
                self.progress.acknowledge(frame["seq"])

    # What happens.

    def come(self) -> None:
        kind = "poison" if self.everybody and self.chance(self.poison_share) else "client"
        client = make_client(f"{kind}{len(self.everybody)}")
        self.everybody.append(client)
        self.clients[client.id] = client
        self.sent[client.id], self.heard[client.id] = [], []
        self.feed.put_at_once(opening(client), client)
        self.feed.flush()

    def talk(self) -> None:
        client = self.random.choice(list(self.clients.values()))
        if self.feed.is_full:
            return
        block = b""
        for _ in range(self.random.choice([1, 1, 1, 5, 20])):
            kind = "poison" if self.chance(self.poison_share) else self.random.choice(["message", "everybody"])
            text = f"{kind} {len(self.sent[client.id])} of {client.id}"
            if kind == "everybody":
                everybody = {client_id for client_id in self.clients if not is_poison(client_id)}
                self.audience[text] = set() if is_poison(client.id) else everybody - {client.id}
            self.sent[client.id].append(text)
            block += websocket_frame(self.sent[client.id][-1].encode())
        assert self.feed.put_messages(client, block, 0, 1000) == len(block)
        if self.chance(0.7):
            self.feed.flush()

    def go(self) -> None:
        client = self.clients.pop(self.random.choice(list(self.clients)))
        self.feed.put_disconnect(disconnect_event(client.id, code=1000, reason="", clean=True), client)

    async def die(self, chain: Chain, dead: int) -> None:
        self.deaths += 1
        chain.life.cancel()
        await trio.testing.wait_all_tasks_blocked()
        chain.end(dead)
        restart = self.feed.restart(self.clients.values())
        culprit = restart.culprit
        self.progress.begin_replay(self.feed.ticks.settled)
        if culprit is not None:
            event = culprit.kept.event
            self.quarantine.append(event["id"] if event["type"] == "open" else event.get("data", "a disconnect"))
            if not is_poison(self.quarantine[-1]):
                raise ThreeChancesError
            if culprit.barred is not None:  # as `Front` does with one that is still here
                self.clients.pop(culprit.barred.id, None)

    async def run(self, steps: int, clock: trio.testing.MockClock) -> None:
        async with trio.open_nursery() as nursery:
            chain = Chain(self)
            nursery.start_soon(chain.live, self.feed)
            self.come()
            death_share = self.random.choice([0.0, 0.02, 0.1])
            for step in range(steps + 10_000):
                is_over = step >= steps
                if is_over and await self._is_settled():
                    break
                try:
                    if is_over:
                        self._finish(chain, clock)
                    else:
                        self._step(chain, clock)
                    dead = self.random.randrange(STAGES) if not is_over and self.chance(death_share) else None
                except _DeadError as death:
                    dead = death.number
                    self.deaths_by_poison += 1
                if dead is not None:
                    await self.die(chain, dead)
                    chain = Chain(self)
                    nursery.start_soon(chain.live, self.feed)
                if self.chance(0.5) or is_over:
                    await trio.testing.wait_all_tasks_blocked()
            else:
                raise AssertionError("it never came to an end")
            nursery.cancel_scope.cancel()

    def _finish(self, chain: Chain, clock: trio.testing.MockClock) -> None:
        """Nothing happens any more but work."""
        clock.jump(LAST_CHANCE_S)
        self.feed.flush()
        for number in range(STAGES):
            self._work(chain, number, 1 << 20)
        chain.confirm()
        chain.read(1 << 20)

    async def _is_settled(self) -> bool:
        with trio.move_on_after(0) as patience:
            await self.feed.wait_settled()
        return not patience.cancelled_caught and not self.feed._journal.events

    def _step(self, chain: Chain, clock: trio.testing.MockClock) -> None:
        choices: list[tuple[Callable[[], None], int]] = [
            (lambda: self._work(chain, self.random.randrange(STAGES), self.random.choice([7, 100, 1 << 20])), 18),
            (lambda: chain.read(self.random.choice([3, 50, 1 << 20])), 6),
            (chain.confirm, 2),
            (lambda: clock.jump(HEARTBEAT_S), 1),
            (self.feed.flush, 1),
            (self.come, 1 if len(self.everybody) < 6 else 0),
            (self.talk, 8 if self.clients else 0),
            (self.go, 1 if len(self.clients) > 1 else 0),
        ]
        [act] = self.random.choices([act for act, _ in choices], [weight for _, weight in choices])
        act()

    def _work(self, chain: Chain, number: int, size: int) -> None:
        try:
            chain.step(number, size)
        except DeathError:
            raise _DeadError(number) from None

    def check(self) -> None:
        sent = {client: texts for client, texts in self.sent.items() if not is_poison(client)}
        poison = [client for client in self.sent if is_poison(client)]
        poison += [text for texts in sent.values() for text in texts if is_poison(text)]
        assert sorted(self.quarantine) == sorted(poison)
        # Two until it is alone and three alone; each death of another cause may cost three more.
        bound = (DEATHS_IN_COMPANY + DEATHS_ALONE) * len(poison) + 3 * (self.deaths - self.deaths_by_poison)
        assert self.deaths_by_poison <= bound
        for client, texts in sent.items():
            answers = [text for text in self.heard[client] if not text.startswith("to all")]
            assert answers == [answer for text in texts if not text.startswith("poison") for answer in answers_to(text)]
            told = [text.removeprefix("to all: ") for text in self.heard[client] if text.startswith("to all")]
            assert sorted(told) == sorted(text for text, audience in self.audience.items() if client in audience)
            assert all(self._is_in_order(told, sender) for sender in sent)
        assert [client.must_wait(10**6) for client in self.everybody] == [False] * len(self.everybody)

    def _is_in_order(self, told: list[str], sender: str) -> bool:
        """Whether what a client was told of a sender comes as it was sent."""
        of_sender = [text for text in told if text.split()[3] == sender]
        return of_sender == [text for text in self.sent[sender] if text in of_sender]


class _DeadError(Exception):
    """Stage `number` has died of what it has read."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def simulate(seed: int) -> World:
    world = World(seed)
    clock = trio.testing.MockClock()
    try:
        trio.run(world.run, world.random.randint(20, 200), clock, clock=clock)
    except* ThreeChancesError:
        assert world.deaths - world.deaths_by_poison >= DEATHS_ALONE
    else:
        world.check()
    return world


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in range(GROUP, SCHEDULES, GROUP))]
)
def test_whatever_dies_every_message_is_answered_once_and_in_order(first: int) -> None:
    deaths = messages = 0
    for seed in range(first, first + GROUP):
        try:
            world = simulate(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        deaths += world.deaths
        messages += sum(map(len, world.sent.values()))
    assert deaths > GROUP
    assert messages > GROUP
