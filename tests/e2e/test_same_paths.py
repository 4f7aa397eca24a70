"""Fast and slow path are the same: any bytes, cut anywhere, give the same events, replies and close codes.

One client's bytes go to several fronts in this process: plain frames recognised here, with epoll and without, with and
without a rate to hold to or a filter that puts clients on hold, and every frame through trio-websocket. What may
differ, and why:

- Pongs are written at once, and replies of the chain when it has got to them: the order of the two is compared each for
  itself. Of many pings that come together the fast path answers the last one only (RFC 6455, 5.5.3).
- Where a connection ends by a Close frame or a fault, it may end before the chain has answered all that it got: one
  sequence of replies may then be shorter than the other, but is its beginning.

Events are the same in number, order and content, and so is the Close frame; nothing follows it.
FWS_TEST_EXAMPLES=200000 tries that many conversations, of any seed (see conftest.py).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from fws_pipe.admission.entrance import Entrance, EntranceSettings
from fws_pipe.front.front import Front
from fws_pipe.front.limits import Limits
from fws_pipe.front.listener import accept_all, open_listeners
from fws_pipe.front.moving import Arriving, Leaving, unmovable
from fws_pipe.ledger.link import Link, LinkLimits
from fws_pipe.log import Log
from fws_pipe.protocol.codec import FrameDecoder, pack, unpack
from fws_pipe.websocket.frames import Kind, head_at, payload_of
from fws_pipe.websocket.intake import Intake
from fws_pipe.websocket.meter import Pace
from fws_pipe.websocket.rates import Rate
from tests.e2e.raw import CLOSE, Reply, frame, request, split_replies
from tests.harness import PATIENCE_S
from tests.unit.front.test_front import open_route

EXAMPLES = int(os.environ.get("FWS_TEST_EXAMPLES", "100"))
MAX_MESSAGE = 400
LIMITS = Limits(max_message=MAX_MESSAGE, max_clients=0, outbox=1 << 20, ping_interval=0.0, ping_timeout=0.0)
TURNS = 4
"""Checkpoints after each write, in which a front reads it by itself: so a cut is one for the front as well."""

LAST_WORD = b"that is all"

PACE = Pace(frames=Rate(2, 0.002), bytes=Rate(300, 0.002))
"""It holds a client back for a millisecond or so, again and again."""


class Way(NamedTuple):
    """How what a client sends is taken apart."""

    intake: Intake
    is_paced: bool = False
    is_tight: bool = False
    """Whether the chain takes its time and a client has little room in it, so that it is held back again and again."""
    is_holding: bool = False
    """Whether the chain puts a client on hold for each message, and lets it resume after a while."""
    is_moving: bool = False
    """Whether another server takes the clients over between any two writes, twice, and back again."""


SLOW = Way(Intake.LIBRARY)
WAYS = (
    Way(Intake.EPOLL),
    Way(Intake.TASKS),
    SLOW,
    Way(Intake.EPOLL, is_paced=True),
    Way(Intake.TASKS, is_paced=True),
    Way(Intake.EPOLL, is_tight=True),
    Way(Intake.TASKS, is_tight=True),
    Way(Intake.EPOLL, is_holding=True),
    Way(Intake.TASKS, is_paced=True, is_tight=True, is_holding=True),
    Way(Intake.LIBRARY, is_holding=True),
    Way(Intake.EPOLL, is_moving=True),
    Way(Intake.TASKS, is_paced=True, is_moving=True),
    Way(Intake.LIBRARY, is_tight=True, is_moving=True),
)
TIGHT_BYTES = 150
"""Less than the larger messages have."""

Event = tuple[Any, ...]


class Seen(NamedTuple):
    """What can be seen of a connection: its events, and what came back."""

    events: list[Event]
    data: list[Reply]
    controls: list[Reply]
    close: Reply | None


def fragment(payload: bytes, opcode: int, *, final: bool) -> bytes:
    return frame(payload, first=(0x80 if final else 0) | opcode)


texts = st.text(max_size=60).map(lambda text: text.encode())
payloads = st.one_of(texts, st.binary(max_size=60), st.integers(100, MAX_MESSAGE + 20).map(lambda size: b"x" * size))
keys = st.sampled_from([bytes(4), b"\x01\x02\x03\x04", b"\xff\x00\x80\x7f"])
controls = st.tuples(st.sampled_from([9, 10]), texts).map(lambda made: frame(made[1][:100], opcode=made[0]))


@st.composite
def fragmented(draw: st.DrawFn) -> bytes:
    """A message in fragments, perhaps with control frames in between."""
    opcode = draw(st.sampled_from([1, 2]))
    parts = draw(st.lists(payloads, min_size=2, max_size=4))
    made = b""
    for index, part in enumerate(parts):
        made += fragment(part, 0 if index else opcode, final=index == len(parts) - 1)
        if index < len(parts) - 1 and draw(st.integers(0, 3)) == 3:
            made += draw(controls)
    return made


closes = st.one_of(
    st.just(b""), st.binary(max_size=3), st.integers(900, 5000).map(lambda code: struct.pack("!H", code) + b"bye")
).map(lambda payload: frame(payload, opcode=8))
pieces = st.one_of(
    st.builds(frame, payloads, st.sampled_from([1, 2]), key=keys),
    controls,
    fragmented(),
)
odd_pieces = st.one_of(
    closes,
    st.binary(max_size=20),
    st.builds(frame, texts, first=st.integers(0, 255)),
    st.builds(frame, texts, masked=st.just(False)),
    st.tuples(payloads, st.integers(0, 14)).map(lambda made: frame(made[0])[: made[1]]),
)
conversations = st.tuples(st.lists(pieces, max_size=6), st.lists(odd_pieces, max_size=2), st.lists(pieces, max_size=2))


class Mirror:
    """A chain of one: writes down each client's events, sends each message back."""

    def __init__(self, *, takes_its_time: bool, holds: bool) -> None:
        self.link: Link
        self.front: Front
        self._takes_its_time = takes_its_time
        self._holds = holds
        self._on_hold: set[str] = set()
        self._has_hold = trio.Event()
        self._tick = 0
        self._has_tick = trio.Event()
        self._events: dict[str, list[Event]] = defaultdict(list)
        self._ids: dict[int, str] = {}
        self._come: dict[int, trio.Event] = defaultdict(trio.Event)
        self._gone: dict[str, trio.Event] = defaultdict(trio.Event)

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.write_nowait(data)

    def write_nowait(self, data: bytes) -> int:
        decoder = FrameDecoder()
        decoder.feed(data)
        for event, _ in decoder:
            if event["type"] == "tick":
                self._tick = event["seq"]
                self._has_tick.set()
            else:
                self._take(event)
        self.link.clients.flush()
        if not self._takes_its_time:
            self.link.feed.acknowledge(self._tick)
        return len(data)

    async def acknowledge_late(self) -> None:
        """Return the ticks after a while, for ever."""
        while self._takes_its_time:
            await self._has_tick.wait()
            self._has_tick = trio.Event()
            for _ in range(TURNS):
                await trio.lowlevel.checkpoint()
            self.link.feed.acknowledge(self._tick)

    async def resume_late(self) -> None:
        """Let those who are on hold resume after a while, for ever."""
        while True:
            await self._has_hold.wait()
            self._has_hold = trio.Event()
            for _ in range(2 * TURNS):
                await trio.lowlevel.checkpoint()
            for client in self._on_hold:
                self.link.execute({"type": "resume", "id": client})
            self._on_hold.clear()

    def _hold(self, client: str) -> None:
        self.link.execute({"type": "hold", "id": client})
        self._on_hold.add(client)
        self._has_hold.set()

    def _take(self, event: dict[str, Any]) -> None:
        client = event["id"]
        if event.get("replay"):
            return  # another server has told of it
        if event["type"] == "open":
            port = event["remote"][1]
            self._ids[port] = client
            self._come[port].set()
        self._events[client].append((event["type"], event.get("data"), event.get("code"), event.get("clean")))
        if event["type"] == "message":
            self.link.clients.send({"type": "send", "to": client, "data": event["data"]})
            if self._holds:
                self._hold(client)
        elif event["type"] == "disconnect":
            self._gone[client].set()

    def share_with(self, other: Mirror) -> None:
        """Write down in one book what happens to clients that move between two servers."""
        other._events, other._ids, other._come, other._gone = self._events, self._ids, self._come, self._gone

    async def wait_gone(self, port: int) -> list[Event]:
        """The events of the client with this port, once it has gone; they are forgotten here.

        Its connection may have ended before the chain hears of it.
        """
        await self._come[port].wait()
        del self._come[port]
        client = self._ids.pop(port)
        await self._gone[client].wait()
        del self._gone[client]
        return self._events.pop(client)


class Mover:
    """Lets clients move from one front to the other, as they do between two processes, and back with the next call."""

    def __init__(self, here: Front, there: Front) -> None:
        self._here = here
        self._there = there
        self.moves = 0

    async def move(self) -> None:
        """Move all clients, unless one of them can't for long: it is about to end."""
        for _ in range(10 * TURNS):
            if not unmovable(self._here):
                self._move_now()
                return
            await trio.lowlevel.checkpoint()

    def _move_now(self) -> None:
        leaving, arriving = Leaving(self._here), Arriving(self._there)
        for route in leaving.routes:
            arriving.add_route(unpack(pack(route)))
        for state, descriptor in leaving.clients:
            arriving.add(unpack(pack(state)), socket.socket(fileno=os.dup(descriptor)))
        self.moves += len(arriving)
        leaving.let_go()
        arriving.begin()
        self._here, self._there = self._there, self._here


class Fronts:
    """A front for each intake, all in one event loop, in a thread of its own: none is started for a single example."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._token: trio.lowlevel.TrioToken
        self._stop: trio.Event
        self.movers: dict[Way, Mover] = {}
        self._running: dict[Way, tuple[int, Mirror, Mover | None]] = {}
        self._thread = threading.Thread(target=trio.run, args=(self._run,))

    def __enter__(self) -> Fronts:
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *error: object) -> None:
        self._token.run_sync_soon(self._stop.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        log = Log("test", descriptor=2)
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        with contextlib.ExitStack() as stack:
            async with trio.open_nursery() as nursery:
                for way in WAYS:
                    mirror = await self._start(way, log, nursery)
                    mover = None
                    if way.is_moving:
                        other = await self._start(way, log, nursery)
                        mirror.share_with(other)
                        mover = self.movers[way] = Mover(mirror.front, other.front)
                    [listener] = await open_listeners(["127.0.0.1"], 0)
                    stack.enter_context(listener)
                    nursery.start_soon(accept_all, listener, mirror.front.serve, log)
                    self._running[way] = listener.getsockname()[1], mirror, mover
                self._ready.set()
                await self._stop.wait()
                nursery.cancel_scope.cancel()
        log.close()

    async def _start(self, way: Way, log: Log, nursery: trio.Nursery) -> Mirror:
        """Start a front, and its chain, which writes to the mirror."""
        mirror = Mirror(takes_its_time=way.is_tight, holds=way.is_holding)
        limits = dataclasses.replace(LIMITS, pace=PACE) if way.is_paced else LIMITS
        limits = dataclasses.replace(limits, outbox=TIGHT_BYTES) if way.is_tight else limits
        entrance = Entrance(EntranceSettings())
        mirror.front = Front(limits, LinkLimits(), log, "test", entrance, nursery, intake=way.intake)
        mirror.link = open_route(mirror.front).link
        nursery.start_soon(mirror.link.write_events, mirror)
        nursery.start_soon(mirror.acknowledge_late)
        nursery.start_soon(mirror.resume_late)
        await mirror.link.ready.wait()
        return mirror

    def talk(self, blocks: Sequence[bytes], *, is_polite: bool) -> dict[Way, Seen]:
        """Send these blocks, one write each, by all ways; returns what comes of it.

        `is_polite`: the client waits until its last word is back, or the connection has ended; others leave at once.
        """
        return trio.from_thread.run(self._talk, blocks, is_polite, trio_token=self._token)

    async def _talk(self, blocks: Sequence[bytes], is_polite: bool) -> dict[Way, Seen]:
        seen: dict[Way, Seen] = {}

        async def one(way: Way) -> None:
            port, mirror, mover = self._running[way]
            seen[way] = await _converse(port, mirror, mover, blocks, is_polite)

        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                for way in WAYS:
                    nursery.start_soon(one, way)
        return seen


async def _converse(port: int, mirror: Mirror, mover: Mover | None, blocks: Sequence[bytes], is_polite: bool) -> Seen:
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock:
        own_port = sock.getsockname()[1]
        sock.setblocking(False)
        sock.sendall(request(port))
        head = b""
        while b"\r\n\r\n" not in head:
            head += await _receive(sock) or _raise(ConnectionError(f"no handshake: {head!r}"))
        received = head.partition(b"\r\n\r\n")[2]
        try:
            for block in blocks:
                sock.sendall(block)  # all of it together is less than the kernel's buffers hold
                if mover is not None:
                    await mover.move()  # before the block is read
                for _ in range(TURNS):
                    await trio.lowlevel.checkpoint()
                if mover is not None:
                    await mover.move()
            while is_polite and not _is_over(received):
                received += await _receive(sock) or _raise(ConnectionError(f"no last word: {received!r}"))
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has closed for a fault, and did not read to the end
        while block := await _receive(sock):
            received += block
        return _seen(await mirror.wait_gone(own_port), received)


async def _receive(sock: socket.socket) -> bytes:
    await trio.lowlevel.wait_readable(sock)
    try:
        return sock.recv(65536)
    except ConnectionResetError:
        return b""


def _raise(error: Exception) -> bytes:
    raise error


def _is_over(received: bytes) -> bool:
    """Whether the echo of the last word, or a Close frame, is the last that came."""
    replies = split_replies(received)
    return bool(replies) and (replies[-1].payload == LAST_WORD or replies[-1].first == 0x80 | CLOSE)


def _seen(events: list[Event], received: bytes) -> Seen:
    replies = split_replies(received)
    close = replies.pop() if replies and replies[-1].first == 0x80 | CLOSE else None
    data = [reply for reply in replies if not reply.first & 0x08]
    return Seen(events, data, [reply for reply in replies if reply.first & 0x08], close)


@pytest.fixture(scope="module")
def fronts() -> Iterator[Fronts]:
    with Fronts() as running:
        yield running
        assert all(mover.moves > 100 for mover in running.movers.values())


@pytest.mark.timeout(0 if EXAMPLES > 1000 else 120)
@settings(max_examples=EXAMPLES)
@given(conversations, st.data())
def test_any_bytes_give_the_same(
    fronts: Fronts, made: tuple[list[bytes], list[bytes], list[bytes]], data: st.DataObject
) -> None:
    is_polite = not made[1]
    last = [frame(LAST_WORD)] if is_polite else []
    stream = b"".join(piece for part in (*made, last) for piece in part)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    blocks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True) if start < end]
    seen = fronts.talk(blocks, is_polite=is_polite)
    slow = seen[SLOW]
    for fast in (seen[way] for way in WAYS if way is not SLOW):
        assert fast.events == slow.events
        assert fast.close == slow.close
        assert _one_begins_the_other(fast.data, slow.data)
        assert _are_some_of(fast.controls, _pongs(stream))
        if slow.close is None and is_polite:
            assert fast.data == slow.data
            assert fast.controls[-1:] == slow.controls[-1:]
    for way in seen.values():
        assert all(reply.first in (0x81, 0x82, 0x8A) for reply in (*way.data, *way.controls))
        assert way.data == _echoes(way.events)[: len(way.data)]
        assert way.close is not None or not is_polite or way.data[-1].payload == LAST_WORD


def _pongs(stream: bytes) -> list[Reply]:
    """The answers to all pings that stand before whatever else may be in a stream."""
    pongs: list[Reply] = []
    position = 0
    while (head := head_at(stream, position)).kind not in (Kind.NEED_MORE, Kind.BROKEN):
        if head.kind is Kind.PING:
            pongs.append(Reply(0x8A, payload_of(stream, head)))
        position = head.end
    return pongs


def _are_some_of(some: list[Reply], of: list[Reply]) -> bool:
    """Whether these stand there in this order, perhaps with others between."""
    rest = iter(of)
    return all(reply in rest for reply in some)


def _one_begins_the_other(one: list[Reply], other: list[Reply]) -> bool:
    both = min(len(one), len(other))
    return one[:both] == other[:both]


def _echoes(events: list[Event]) -> list[Reply]:
    """What a mirror answers to these events."""
    messages = [data for kind, data, _, _ in events if kind == "message"]
    return [Reply(0x81, data.encode()) if isinstance(data, str) else Reply(0x82, data) for data in messages]
