"""Requests come in and answers go out whole; a peer that misbehaves is told, or given up."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from fws_pipe.control.connection import Connection, PeerError
from fws_pipe.protocol.codec import FrameDecoder, encode


def run(scenario: Callable[[Connection, socket.socket], Awaitable[None]]) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            connection = Connection(ours)
            with trio.fail_after(1000):
                await scenario(connection, theirs)
            connection.close()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


def test_requests_come_one_by_one_however_they_are_cut() -> None:
    async def scenario(connection: Connection, peer: socket.socket) -> None:
        peer.sendall(encode({"type": "a"}) + encode({"type": "b"}) + encode({"type": "c"})[:2])
        assert [await connection.next_request(), await connection.next_request()] == [{"type": "a"}, {"type": "b"}]
        assert connection.idle_since is None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.testing.wait_all_tasks_blocked)
            peer.sendall(encode({"type": "c"})[2:])
            assert await connection.next_request() == {"type": "c"}
        peer.shutdown(socket.SHUT_WR)
        assert await connection.next_request() is None

    run(scenario)


def test_it_is_idle_only_while_no_request_is_under_way() -> None:
    async def scenario(connection: Connection, peer: socket.socket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.next_request)
            await trio.testing.wait_all_tasks_blocked()
            assert connection.idle_since is not None
            peer.sendall(b"\x81")
            await trio.testing.wait_all_tasks_blocked()
            assert connection.idle_since is None
            nursery.cancel_scope.cancel()

    run(scenario)


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "expected requests"),
        (b"\x81", "did not arrive within 30 s"),
        (None, "expected requests"),
    ],
)
def test_what_is_no_request(sent: bytes | None, problem: str) -> None:
    async def scenario(connection: Connection, peer: socket.socket) -> None:
        peer.sendall(b"\x81" if sent is None else sent)
        if sent is None:
            peer.shutdown(socket.SHUT_WR)
        with pytest.raises(PeerError, match=problem):
            await connection.next_request()

    run(scenario)


def test_a_peer_that_does_not_read_is_given_up() -> None:
    async def scenario(connection: Connection, peer: socket.socket) -> None:
        with pytest.raises(PeerError, match="does not read its answers"):
            await connection.answer({"type": "client", "id": "x" * 10_000_000})
        connection.say_at_last({"type": "refused"})  # no-op: a part of a frame is on its way
        peer.setblocking(False)
        received = 0
        while True:
            try:
                received += len(peer.recv(1 << 20))
            except BlockingIOError:
                break
        assert 0 < received < 10_000_000

    run(scenario)


def test_a_last_frame_follows_whole_ones() -> None:
    async def scenario(connection: Connection, peer: socket.socket) -> None:
        await connection.answer({"type": "done"}, {"type": "done"})
        connection.say_at_last({"type": "tap_ended"})
        connection.close()
        decoder = FrameDecoder()
        decoder.feed(peer.recv(65536))
        assert [frame["type"] for frame in decoder.frames()] == ["done", "done", "tap_ended"]

    run(scenario)


def test_the_end_of_a_peer_is_noticed_and_what_it_still_sends_is_dropped() -> None:
    async def scenario(connection: Connection, peer: socket.socket) -> None:
        peer.sendall(b"anything")
        peer.shutdown(socket.SHUT_WR)
        await connection.wait_gone()

    run(scenario)
