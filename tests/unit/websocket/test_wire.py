"""The way out: what is held, what follows a Close frame, and which owner hears of what."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import pytest
import trio

from fws_pipe.websocket.rfc6455 import encode_close, encode_message
from fws_pipe.websocket.states import ImpossibleEventError, WireState
from fws_pipe.websocket.transport import PlainTransport
from fws_pipe.websocket.wire import Wire


class Owner:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def note_room(self) -> None:
        self.heard.append("room")

    def note_failed(self) -> None:
        self.heard.append("failed")

    def note_closed(self) -> None:
        self.heard.append("closed")


class Pair:
    """A wire, and the client's end of its connection."""

    def __init__(self) -> None:
        ours, self.client = socket.socketpair()
        ours.setblocking(False)
        self.client.settimeout(30)
        self.tasks: list[Callable[[], Awaitable[object]]] = []
        self.closing: list[Wire] = []
        self.wire = Wire(PlainTransport(ours, ("h", 1)), 1 << 20, self.tasks.append, self.closing.append)
        self.owner = Owner()
        self.wire.hand_over(self.owner)


def on_a_pair(test: Callable[[Pair], Awaitable[None]]) -> Callable[[], None]:
    """Run a test in trio, on a pair that is closed in the end."""

    async def scenario() -> None:
        pair = Pair()
        try:
            await test(pair)
        finally:
            pair.wire.abort()
            pair.client.close()

    return lambda: trio.run(scenario)


@on_a_pair
async def test_what_is_sent_before_the_release_follows_the_response(pair: Pair) -> None:
    message = encode_message("early")
    assert pair.wire.post(message)
    pair.wire.send_response(b"HTTP/1.1 101\r\n\r\n")
    assert pair.client.recv(1000) == b"HTTP/1.1 101\r\n\r\n"
    pair.wire.release()
    assert pair.client.recv(1000) == message
    assert pair.wire.state is WireState.OPEN


@on_a_pair
async def test_nothing_follows_a_close_frame(pair: Pair) -> None:
    pair.wire.release()
    pair.wire.begin_close(1000, "bye")
    pair.wire.begin_close(1001, "again")
    assert pair.wire.state is WireState.CLOSING
    assert pair.wire.close_sent == (1000, "bye")
    assert not pair.wire.write(encode_message("late"))
    assert not pair.wire.post(encode_message("late"))
    assert not pair.wire.post_behind(encode_message("late"), is_own=True)
    pair.wire.send_control(encode_message("late"))
    assert pair.client.recv(1000) == encode_close(1000, "bye")
    assert pair.closing == [pair.wire]


@on_a_pair
async def test_a_close_frame_before_the_response_is_impossible(pair: Pair) -> None:
    with pytest.raises(ImpossibleEventError):
        pair.wire.begin_close(1000)
    assert pair.wire.state is WireState.HELD


@on_a_pair
async def test_the_owner_hears_of_failure_and_end_once_each(pair: Pair) -> None:
    pair.wire.release()
    pair.wire.fail(1009, "too big")
    pair.wire.fail(1009, "too big")
    pair.wire.abort()
    pair.wire.abort()
    assert [event for event in pair.owner.heard if event != "room"] == ["failed", "closed"]
    assert pair.wire.is_closed


@on_a_pair
async def test_only_the_last_owner_hears(pair: Pair) -> None:
    later = Owner()
    pair.wire.hand_over(later)
    pair.wire.release()
    pair.wire.post(encode_message("x"))
    pair.wire.flush()
    pair.wire.abort()
    assert pair.owner.heard == []
    assert later.heard[0] == "room"
    assert later.heard.count("closed") == 1


@on_a_pair
async def test_the_owner_hears_of_the_end_before_the_descriptor_is_closed(pair: Pair) -> None:
    descriptors: list[int] = []
    pair.owner.note_closed = lambda: descriptors.append(pair.wire.transport.fileno())  # type: ignore[method-assign]
    pair.wire.abort()
    assert descriptors[0] >= 0
    assert pair.wire.transport.fileno() == -1


@on_a_pair
async def test_an_error_in_a_task_beside_ends_the_connection(pair: Pair) -> None:
    async def fail() -> None:
        raise ValueError("ours")

    pair.wire.run_beside(fail)
    with pytest.raises(ValueError, match="ours"):
        await pair.tasks[0]()
    assert pair.wire.is_closed


@on_a_pair
async def test_whether_something_was_sent_is_asked_since_the_last_time(pair: Pair) -> None:
    pair.wire.release()
    assert not pair.wire.forget_sent()
    pair.wire.write(encode_message("x"))
    assert pair.wire.forget_sent()
    assert not pair.wire.forget_sent()
