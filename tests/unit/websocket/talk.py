"""A conversation on a socket pair: the test plays the client, and sees what the front is told."""

from __future__ import annotations

import contextlib
import math
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
import trio.testing

from fws_pipe.counters import Counters
from fws_pipe.protocol.codec import Frame, FrameDecoder
from fws_pipe.websocket import conversation
from fws_pipe.websocket.conversation import Conversation, Held
from fws_pipe.websocket.frames import event_tail, event_time, take_messages
from fws_pipe.websocket.meter import Meter, Pace
from fws_pipe.websocket.transport import PlainTransport
from fws_pipe.websocket.wire import Wire
from tests.e2e.raw import Reply, split_replies

MAX_MESSAGE = 1000
MAX_FRAGMENTS = 3


class Sender:
    """A client with room for one more event, or for none."""

    id = "a"
    count_budget = 1000

    def __init__(self) -> None:
        self.bytes_in = 0
        self.has_room = True
        self.has_under_way = False
        self.held: Held | None = None
        self._share = trio.lowlevel.ParkingLot()

    async def wait_share(self) -> None:
        await self._share.park()

    def note_through(self) -> None:
        """The chain is through with all that the client has sent."""
        self.has_under_way = False
        self._share.unpark_all()

    def note_caused(self) -> None:
        """The chain is through with an event, and at work on one that it has caused."""
        self._share.unpark_all()

    def must_wait(self, size: int) -> bool:
        return not self.has_room

    def note_room(self) -> None:
        if self.held is not None:
            self.held.try_to_go_on()

    def hold(self, held: Held) -> None:
        self.held = held

    def let_go(self) -> None:
        self.held = None


class Feed:
    """Takes events, and keeps them."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        """Type and data of each."""
        self.flushes = 0
        self.settled = 0
        self.error: Exception | None = None
        """What the next plain message runs into."""

    def put_messages(self, client: Sender, block: bytes, position: int, limit: int) -> int:
        if self.error is not None:
            raise self.error
        budget = 1 << 30 if client.has_room else -1
        middle = event_time(0.0) + event_tail(client.id)
        taken, position, _ = take_messages(block, position, limit, budget, client.count_budget, middle, 1)
        decoder = FrameDecoder()
        decoder.feed(b"".join(taken))
        for event in decoder.frames():
            self.put_at_once(event, client)
        return position

    async def put(self, event: Frame, client: Sender) -> None:
        await trio.lowlevel.checkpoint()
        self.put_at_once(event, client)

    def put_at_once(self, event: Frame, client: Sender) -> None:
        self.events.append((event["type"], event["data"]))

    def flush(self) -> None:
        self.flushes += 1

    @property
    def last_event(self) -> int:
        return len(self.events)

    def has_settled(self, seq: int) -> bool:
        return self.settled >= seq


class Readers:
    """Remember whether the client is to be read."""

    def __init__(self) -> None:
        self.is_read = False
        self.is_removed = False

    def add(self, conversation: Conversation[Any]) -> None:
        self.is_read = True

    def pause(self, conversation: Conversation[Any]) -> None:
        assert self.is_read
        self.is_read = False

    def resume(self, conversation: Conversation[Any]) -> None:
        assert not self.is_read
        assert not self.is_removed
        self.is_read = True

    def remove(self, conversation: Conversation[Any]) -> None:
        # It may be said again later, but the first time must not be too late.
        assert self.is_removed or conversation.wire.transport.fileno() >= 0, (
            "the descriptor may be another connection's by now"
        )
        self.is_read, self.is_removed = False, True

    async def wait_removed(self, conversation: Conversation[Any]) -> None:
        assert self.is_removed

    def unreceived(self, conversation: Conversation[Any]) -> bytes:
        return b""


class Laggards:
    """Those that wait for their turn."""

    def __init__(self) -> None:
        self.has_time = True
        self.waiting: list[Conversation[Any]] = []

    def add(self, conversation: Conversation[Any]) -> None:
        if conversation not in self.waiting:
            self.waiting.append(conversation)

    def let_go_on(self) -> None:
        """It is the turn of the first of them."""
        self.waiting.pop(0).go_on()


class Host:
    """A front that remembers what it was told."""

    max_message = MAX_MESSAGE
    max_fragments = MAX_FRAGMENTS

    def __init__(self, *, is_fast: bool) -> None:
        self.is_fast = is_fast
        self.counters = Counters()
        self.laggards = Laggards()
        self.errors: list[Exception] = []
        self.departures: list[tuple[int, str, bool]] = []
        """Code, reason, and whether it was clean."""
        self.leaves = 0

    def tell_error(self, error: Exception) -> None:
        self.errors.append(error)

    def depart(self, client: Sender, code: int, reason: str, *, clean: bool) -> None:
        self.departures.append((code, reason, clean))

    def leave(self, client: Sender) -> None:
        self.leaves += 1


class Talk:
    """A conversation, both of its ends, and what is around it."""

    def __init__(self, spawn: Callable[..., object], pace: Pace | None, *, is_fast: bool) -> None:
        ours, self.socket = socket.socketpair()
        for end in (ours, self.socket):
            end.setblocking(False)
        self.wire = Wire(PlainTransport(ours, ("h", 1)), 1 << 20, spawn, lambda wire: None)
        self.wire.release()
        self.client, self.feed, self.readers, self.host = Sender(), Feed(), Readers(), Host(is_fast=is_fast)
        meter = None if pace is None else Meter(pace, trio.current_time())
        self.conversation = Conversation(self.client, self.wire, self.readers, self.feed, self.host, meter)
        self._received = b""

    def say(self, data: bytes) -> None:
        """The client has sent this, and it is read."""
        assert self.readers.is_read
        self.conversation.receive(data, trio.current_time())

    @property
    def messages(self) -> list[str | bytes]:
        """What has become `message` events."""
        return [data for kind, data in self.feed.events if kind == "message"]

    @property
    def replies(self) -> list[Reply]:
        """The WebSocket frames that the client has got."""
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while block := self.socket.recv(65536):
                self._received += block
        return split_replies(self._received)

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        await trio.testing.wait_all_tasks_blocked()


@contextlib.asynccontextmanager
async def talk(*, pace: Pace | None = None, is_fast: bool = True, slice_s: float = math.inf) -> AsyncIterator[Talk]:
    """A conversation that has started; in the end its wire is closed, and no task is left.

    `slice_s`: how long is dealt with it in a row, by the wall clock, which a test can't rely on.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversation, "SLICE_S", slice_s)
        async with trio.open_nursery() as nursery:
            made = Talk(nursery.start_soon, pace, is_fast=is_fast)
            made.conversation.start(b"")
            try:
                yield made
            finally:
                made.wire.abort()
                made.socket.close()
