"""Fast and slow path are the same: any bytes, cut anywhere, give the same events, replies and close codes.

One client's bytes go to three fronts in this process: all plain frames recognised here, with epoll and without, and
every frame through trio-websocket. FWS_TEST_EXPLORE=1 tries some thousand times as many (see conftest.py).
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from fws_pipe.front.entrance import Entrance, EntranceSettings
from fws_pipe.front.front import Front, Intake, Limits
from fws_pipe.front.listener import accept_all, open_listeners
from fws_pipe.front.meter import Pace
from fws_pipe.log import Log
from fws_pipe.protocol.codec import FrameDecoder
from fws_pipe.rates import Rate
from tests.e2e.raw import frame, request

MAX_MESSAGE = 400
LIMITS = Limits(max_message=MAX_MESSAGE, max_clients=0, outbox=1 << 20, ping_interval=0.0, ping_timeout=0.0)
PACE = Pace(frames=Rate(2, 0.002), bytes=Rate(300, 0.002))
"""It holds a client back for a millisecond or so, again and again."""

Piece = bytes


class Seen(NamedTuple):
    """What can be seen of a connection: its events, and what came back."""

    events: list[tuple[Any, ...]]
    replies: bytes


def fragment(payload: bytes, opcode: int, *, final: bool) -> bytes:
    return frame(payload, first=(0x80 if final else 0) | opcode)


texts = st.text(max_size=60).map(lambda text: text.encode())
payloads = st.one_of(texts, st.binary(max_size=60), st.integers(100, MAX_MESSAGE + 20).map(lambda size: b"x" * size))
fragmented = st.tuples(st.sampled_from([1, 2]), st.lists(texts, min_size=2, max_size=4)).map(
    lambda made: b"".join(
        fragment(part, made[0] if index == 0 else 0, final=index == len(made[1]) - 1)
        for index, part in enumerate(made[1])
    )
)
closes = st.one_of(
    st.just(b""), st.binary(max_size=3), st.integers(900, 5000).map(lambda code: struct.pack("!H", code) + b"bye")
).map(lambda payload: frame(payload, opcode=8))
pieces = st.one_of(
    payloads.map(frame),
    payloads.map(lambda payload: frame(payload, opcode=2)),
    texts.map(lambda payload: frame(payload[:100], opcode=9)),
    texts.map(lambda payload: frame(payload[:100], opcode=10)),
    fragmented,
)
odd_pieces = st.one_of(
    closes,
    st.binary(max_size=20),
    st.tuples(st.integers(0, 255), texts).map(lambda made: frame(made[1], first=made[0])),
    texts.map(lambda payload: frame(payload, masked=False)),
)
conversations = st.tuples(st.lists(pieces, max_size=6), st.lists(odd_pieces, max_size=2), st.lists(pieces, max_size=2))


async def talk(intake: Intake, blocks: Sequence[bytes], limits: Limits = LIMITS) -> Seen:
    """Send these blocks, one write each, to a mirror; returns what comes of it."""
    log = Log("test", descriptor=2)
    events: list[tuple[Any, ...]] = []
    async with trio.open_nursery() as nursery:
        front = Front(limits, log, "test", Entrance(EntranceSettings()), nursery, intake=intake)
        [listener] = await open_listeners(["127.0.0.1"], 0)
        with listener:
            gone = trio.Event()
            nursery.start_soon(front.write_events, _Mirror(front, events, gone))
            await front.ready.wait()
            nursery.start_soon(accept_all, listener, front.serve, log)
            replies = await _exchange(listener.getsockname()[1], blocks)
            await gone.wait()
        nursery.cancel_scope.cancel()
    log.close()
    return Seen(events, replies)


class _Mirror:
    """A chain of one: writes down the events, sends each message back."""

    def __init__(self, front: Front, events: list[tuple[Any, ...]], gone: trio.Event) -> None:
        self._front = front
        self._events = events
        self._gone = gone

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.write_nowait(data)

    def write_nowait(self, data: bytes) -> int:
        decoder = FrameDecoder()
        decoder.feed(data)
        for event, _ in decoder:
            if event["type"] == "tick":
                self._front.feed.acknowledge(event["seq"])
                continue
            self._events.append((event["type"], event.get("data"), event.get("code"), event.get("clean")))
            if event["type"] == "message":
                self._front.clients.send({"type": "send", "to": event["id"], "data": event["data"]})
            elif event["type"] == "disconnect":
                self._gone.set()
        self._front.clients.flush()
        return len(data)


async def _exchange(port: int, blocks: Sequence[bytes]) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request(port))
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        replies = [head.partition(b"\r\n\r\n")[2]]

        async def collect() -> None:
            try:
                while block := await stream.receive_some():
                    replies.append(block)
            except trio.BrokenResourceError:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect)
            try:
                for block in blocks:
                    await stream.send_all(block)
                await stream.send_eof()
            except trio.BrokenResourceError:
                pass
    return b"".join(replies)


def run(scenario: Callable[[], Awaitable[Seen]]) -> Seen:
    async def bounded() -> Seen:
        with trio.fail_after(30):
            return await scenario()

    return trio.run(bounded)


@settings(max_examples=60)
@given(conversations, st.data())
def test_any_bytes_give_the_same(made: tuple[list[Piece], list[Piece], list[Piece]], data: st.DataObject) -> None:
    stream = b"".join(piece for part in made for piece in part)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    blocks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True) if start < end]
    slow = run(lambda: talk(Intake.LIBRARY, blocks))
    for intake in (Intake.EPOLL, Intake.TASKS):
        fast = run(lambda intake=intake: talk(intake, blocks))  # type: ignore[misc]
        assert fast.events == slow.events
        assert _close_of(fast.replies) == _close_of(slow.replies)


@settings(max_examples=40)
@given(conversations, st.sampled_from(Intake))
def test_whoever_is_held_to_a_rate_loses_nothing(
    made: tuple[list[Piece], list[Piece], list[Piece]], intake: Intake
) -> None:
    stream = b"".join(piece for part in made for piece in part)
    free = run(lambda: talk(Intake.EPOLL, [stream]))
    paced = run(lambda: talk(intake, [stream], dataclasses.replace(LIMITS, pace=PACE)))
    assert paced.events == free.events
    assert _close_of(paced.replies) == _close_of(free.replies)


def _close_of(replies: bytes) -> bytes:
    """The last frame that came back, if it is a Close: the replies before it may be cut short by it."""
    position = 0
    last = b""
    while position + 2 <= len(replies):
        size = replies[position + 1]
        start = position + 2
        if size == 126:
            size = int.from_bytes(replies[start : start + 2], "big")
            start += 2
        last = replies[position : start + size]
        position = start + size
    return last if last[:1] == b"\x88" else b""
