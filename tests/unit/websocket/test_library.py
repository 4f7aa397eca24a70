"""trio-websocket's view of a wire: what it is fed comes out as messages, and what it sends reaches the client."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.websocket.library import PARSE_BYTES, Library
from fws_pipe.websocket.rfc6455 import encode_close
from fws_pipe.websocket.transport import PlainTransport
from fws_pipe.websocket.wire import CloseCode, Wire
from tests.e2e.raw import CLOSE, PING, PONG, Reply, frame, split_replies

MAX_MESSAGE = 10_000


class Owner:
    """Hears of the wire, and lets it be."""

    def note_room(self) -> None:
        """Nothing waits for room."""

    def note_failed(self) -> None:
        raise AssertionError("trio-websocket's faults are told by its close code")

    def note_closed(self) -> None:
        """The library is told by whom it belongs to."""


class Fed:
    """A library at work, and what has come of that."""

    def __init__(self, nursery: trio.Nursery) -> None:
        ours, self._socket = socket.socketpair()
        for end in (ours, self._socket):
            end.setblocking(False)
        self.wire = Wire(PlainTransport(ours, ("h", 1)), 1 << 20, nursery.start_soon, lambda wire: None)
        self.wire.hand_over(Owner())
        self.wire.release()
        self.library = Library(self.wire, self._note_done)
        self.messages: list[str | bytes] = []
        self.done: list[int] = []
        """How many messages had come each time that it had dealt with everything."""
        self.close: CloseCode | None = None
        self.has_ended = False
        nursery.start_soon(self._converse)

    def _note_done(self) -> None:
        self.done.append(len(self.messages))

    async def _converse(self) -> None:
        self.close = await self.library.converse(MAX_MESSAGE, self._take)
        self.has_ended = True

    async def _take(self, message: str | bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.messages.append(message)

    @property
    def replies(self) -> list[Reply]:
        try:
            return split_replies(self._socket.recv(65536))
        except BlockingIOError:
            return []

    def shut(self) -> None:
        self.wire.abort()
        self._socket.close()

    async def settle(self) -> None:
        await trio.testing.wait_all_tasks_blocked()


@contextlib.asynccontextmanager
async def fed() -> AsyncIterator[Fed]:
    async with trio.open_nursery() as nursery:
        made = Fed(nursery)
        try:
            yield made
        finally:
            made.library.end()
            made.shut()
            await made.settle()
            nursery.cancel_scope.cancel()


def run(scenario: Callable[[Fed], Awaitable[None]]) -> None:
    async def main() -> None:
        async with fed() as made:
            await scenario(made)

    trio.run(main)


def fragments(*parts: bytes) -> list[bytes]:
    """A text message, a frame for each part."""
    last = len(parts) - 1
    return [frame(part, first=(0x80 if n == last else 0) | (0 if n else 1)) for n, part in enumerate(parts)]


@given(st.lists(st.lists(st.text(max_size=20).map(str.encode), min_size=1, max_size=4), max_size=5))
def test_what_it_is_fed_comes_out_and_done_is_told_when_all_has(messages: list[list[bytes]]) -> None:
    async def scenario(made: Fed) -> None:
        for number, parts in enumerate(messages, start=1):
            *begin, last = fragments(*parts)
            for each in begin:
                made.library.feed(each, ends_message=False)
                await made.settle()
                assert made.done[-1] == number - 1
            made.library.feed(last, ends_message=True)
            await made.settle()
            assert made.done[-1] == number
        assert made.messages == [b"".join(parts).decode() for parts in messages]

    run(scenario)


def test_done_is_not_told_while_a_message_is_being_taken() -> None:
    async def scenario(made: Fed) -> None:
        await made.settle()
        made.done.clear()
        for part in fragments(b"a", b"b") + fragments(b"c", b"d"):
            made.library.feed(part, ends_message=part[0] & 0x80 != 0)
        await made.settle()
        assert made.messages == ["ab", "cd"]
        assert made.done == [2]

    run(scenario)


def test_a_frame_larger_than_it_reads_at_once_comes_whole() -> None:
    async def scenario(made: Fed) -> None:
        made.library.feed(frame(b"x" * (2 * PARSE_BYTES)), ends_message=True)
        await made.settle()
        assert made.messages == ["x" * (2 * PARSE_BYTES)]

    run(scenario)


def test_its_control_frames_reach_the_client_and_its_answer_to_the_request_does_not() -> None:
    async def scenario(made: Fed) -> None:
        made.library.feed(frame(b"hello", PING), ends_message=False)
        await made.settle()
        assert made.replies == [Reply(0x80 | PONG, b"hello")]

    run(scenario)


def test_a_close_frame_is_answered_and_ends_it() -> None:
    async def scenario(made: Fed) -> None:
        made.library.feed(frame(encode_close(1001, "bye")[2:], CLOSE), ends_message=False)
        await made.settle()
        assert made.has_ended
        assert made.close == (1001, "bye")
        assert made.library.has_sent_close
        assert [reply.first for reply in made.replies] == [0x80 | CLOSE]

    run(scenario)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (frame(b"x", masked=False), 1002),
        (frame(b"x", first=0x80 | 5), 1002),
        (frame(b"\xff"), 1007),
    ],
    ids=["unmasked", "unknown opcode", "no UTF-8"],
)
def test_what_it_finds_wrong_ends_it_with_a_code_that_is_still_to_be_told(wrong: bytes, code: int) -> None:
    async def scenario(made: Fed) -> None:
        assert not made.library.has_rest
        made.library.feed_rest(wrong + frame(b"behind it"))
        assert made.library.has_rest
        await made.settle()
        assert made.has_ended
        assert made.messages == []
        assert made.close is not None
        assert made.close[0] == code
        assert not made.library.has_sent_close
        assert made.replies == []

    run(scenario)


def test_a_message_that_is_too_large_it_closes_itself() -> None:
    async def scenario(made: Fed) -> None:
        made.library.feed(frame(b"x" * (MAX_MESSAGE + 1)), ends_message=True)
        await made.settle()
        assert made.has_ended
        assert made.messages == []
        [reply] = made.replies
        assert (reply.first, reply.payload[:2]) == (0x80 | CLOSE, (1009).to_bytes(2))
        assert made.library.has_sent_close

    run(scenario)


def test_the_end_of_what_it_is_fed_ends_it_without_a_close_frame() -> None:
    async def scenario(made: Fed) -> None:
        made.library.feed(fragments(b"begun", b"")[0], ends_message=False)
        made.library.end()
        await made.settle()
        assert made.has_ended
        assert made.messages == []
        assert not made.library.has_sent_close
        assert made.replies == []

    run(scenario)
