"""Who is read, and when: the same in one epoll object as with a task for each, the chain's pipes, and the laggards."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from fws_pipe.websocket.readers import HAS_EPOLL, EpollReaders, Laggards, SharedWait, TaskReaders, readers_for
from fws_pipe.websocket.transport import PlainTransport
from fws_pipe.websocket.wire import Wire

needs_epoll = pytest.mark.skipif(not HAS_EPOLL, reason="this system has no epoll")


class Chain:
    """Takes everything, unless it is full."""

    is_calm = True

    def __init__(self) -> None:
        self.is_full = False
        self.flushes = 0
        self._room = trio.lowlevel.ParkingLot()

    async def wait_room(self) -> None:
        while self.is_full:
            await self._room.park()

    def make_room(self) -> None:
        self.is_full = False
        self._room.unpark_all()

    def flush(self) -> None:
        self.flushes += 1


class Client:
    """Both ends of a connection; as much of a conversation as what reads it needs."""

    appetite = 65536

    def __init__(self, nursery: trio.Nursery) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.socket = socket.create_connection(listener.getsockname())
        ours, remote = listener.accept()
        listener.close()
        ours.setblocking(False)
        self.wire = Wire(PlainTransport(ours, remote), 1 << 20, nursery.start_soon, lambda wire: None)
        self.received = b""
        self.losses = 0
        self.ends = 0
        self.resets = 0
        self.error: Exception | None = None
        """What dealing with bytes runs into."""

    def receive(self, block: bytes, now: float) -> None:
        assert now == pytest.approx(trio.current_time(), abs=60)
        if self.error is not None:
            raise self.error
        self.received += block

    def lose(self) -> None:
        self.losses += 1

    def note_end(self) -> None:
        self.ends += 1

    def note_reset(self) -> None:
        self.resets += 1

    def reset(self) -> None:
        """The client resets the connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not condition():
            await trio.sleep(0.001)


class Reading:
    """Readers of one kind at work, and what they tell."""

    def __init__(self, nursery: trio.Nursery, kind: str) -> None:
        self._nursery = nursery
        self.chain = Chain()
        self.errors: list[Exception] = []
        self.epoll = EpollReaders(self.chain, self.errors.append, SharedWait()) if HAS_EPOLL else None
        self._tasks = TaskReaders(self.chain, self.epoll)
        self.readers: Any = self.epoll if kind == "epoll" else self._tasks
        self._clients: list[Client] = []
        if self.epoll is not None:
            nursery.start_soon(self.epoll.run)

    def client(self) -> Client:
        """One that is read."""
        client = Client(self._nursery)
        self._clients.append(client)
        self.readers.add(client)
        return client

    async def end(self) -> None:
        for client in self._clients:
            self.readers.remove(client)
            await self.readers.wait_removed(client)
            client.wire.abort()
            client.socket.close()


def run(scenario: Callable[[Reading], Awaitable[None]], kind: str = "epoll") -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            reading = Reading(nursery, kind)
            await scenario(reading)
            await reading.end()
            nursery.cancel_scope.cancel()

    trio.run(main)


each_kind = pytest.mark.parametrize("kind", [pytest.param("epoll", marks=needs_epoll), "tasks"])


@each_kind
def test_what_a_client_sends_is_received_and_then_its_end(kind: str) -> None:
    async def scenario(reading: Reading) -> None:
        first, second = reading.client(), reading.client()
        first.socket.sendall(b"one")
        second.socket.sendall(b"two")
        await until(lambda: (first.received, second.received) == (b"one", b"two"))
        await until(lambda: reading.chain.flushes > 0)
        first.socket.sendall(b"more")
        first.socket.shutdown(socket.SHUT_WR)
        await until(lambda: first.ends > 0)
        assert first.received == b"onemore"
        assert second.ends == first.losses == 0

    run(scenario, kind)


@each_kind
def test_a_client_that_is_paused_is_not_read_until_it_is_resumed(kind: str) -> None:
    async def scenario(reading: Reading) -> None:
        paused, other = reading.client(), reading.client()
        paused.socket.sendall(b"1")
        await until(lambda: paused.received == b"1")
        reading.readers.pause(paused)
        await trio.testing.wait_all_tasks_blocked()
        paused.socket.sendall(b"2")
        other.socket.sendall(b"x")
        await until(lambda: other.received == b"x")
        if kind == "epoll":  # a task may have read it before the pause
            assert paused.received == b"1"
        reading.readers.resume(paused)
        await until(lambda: paused.received == b"12")

    run(scenario, kind)


@each_kind
def test_a_client_that_is_removed_is_read_no_more(kind: str) -> None:
    async def scenario(reading: Reading) -> None:
        removed, other = reading.client(), reading.client()
        reading.readers.remove(removed)
        reading.readers.remove(removed)
        await reading.readers.wait_removed(removed)
        removed.socket.sendall(b"1")
        other.socket.sendall(b"x")
        await until(lambda: other.received == b"x")
        assert removed.received == b""
        assert removed.losses == removed.ends == 0

    run(scenario, kind)


@needs_epoll
@each_kind
def test_of_a_client_that_is_paused_a_reset_is_told_once(kind: str) -> None:
    async def scenario(reading: Reading) -> None:
        client, other = reading.client(), reading.client()
        client.socket.sendall(b"1")
        await until(lambda: client.received == b"1")
        reading.readers.pause(client)
        await trio.testing.wait_all_tasks_blocked()
        client.reset()
        await until(lambda: client.resets > 0 or client.losses > 0)
        other.socket.sendall(b"x")
        await until(lambda: other.received == b"x")
        assert client.resets + client.losses == 1

    run(scenario, kind)


@needs_epoll
def test_an_error_of_ours_ends_one_connection_and_no_other() -> None:
    async def scenario(reading: Reading) -> None:
        wrong, other = reading.client(), reading.client()
        wrong.error = ValueError("ours")
        wrong.socket.sendall(b"1")
        await until(lambda: wrong.wire.is_closed)
        assert reading.errors == [wrong.error]
        other.socket.sendall(b"x")
        await until(lambda: other.received == b"x")

    run(scenario)


@each_kind
def test_while_the_chain_is_full_nobody_is_read(kind: str) -> None:
    async def scenario(reading: Reading) -> None:
        client = reading.client()
        await trio.testing.wait_all_tasks_blocked()
        reading.chain.is_full = True
        client.socket.sendall(b"1")
        await trio.sleep(0.01)
        assert client.received == b""
        reading.chain.make_room()
        await until(lambda: client.received == b"1")

    run(scenario, kind)


class Pipe:
    """One that is read."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        os.set_blocking(self.out, False)

    def close(self) -> None:
        for descriptor in (self.out, self.into):
            if descriptor >= 0:
                os.close(descriptor)

    def end(self) -> None:
        os.close(self.into)
        self.into = -1


@needs_epoll
def test_a_pipe_is_read_to_its_end_also_while_the_chain_is_full() -> None:
    async def scenario(reading: Reading) -> None:
        assert reading.epoll is not None
        pipe, received = Pipe(), list[bytes]()
        client = reading.client()
        reading.chain.is_full = True
        client.socket.sendall(b"held")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reading.epoll.read_pipe, pipe.out, received.append)
            os.write(pipe.into, b"answers")
            await until(lambda: b"".join(received) == b"answers")
            pipe.end()
        assert client.received == b""
        reading.chain.make_room()
        await until(lambda: client.received == b"held")
        pipe.close()

    run(scenario)


@needs_epoll
def test_what_a_pipes_taker_raises_is_raised_where_the_pipe_is_awaited() -> None:
    async def scenario(reading: Reading) -> None:
        assert reading.epoll is not None
        pipe = Pipe()

        def refuse(block: bytes) -> None:
            raise ValueError(f"not {block!r}")

        os.write(pipe.into, b"this")
        with pytest.raises(ValueError, match="not b'this'"):
            await reading.epoll.read_pipe(pipe.out, refuse)
        assert reading.errors == []
        pipe.close()

    run(scenario)


@needs_epoll
def test_a_connection_that_is_no_plain_descriptor_gets_a_task() -> None:
    async def scenario(reading: Reading) -> None:
        assert reading.epoll is not None
        client, tasks = reading.client(), TaskReaders(reading.chain, reading.epoll)
        assert readers_for(client.wire, tasks, reading.epoll) is reading.epoll
        assert readers_for(client.wire, tasks, None) is tasks
        descriptor, client.wire.transport.descriptor = client.wire.transport.descriptor, None
        assert readers_for(client.wire, tasks, reading.epoll) is tasks
        client.wire.transport.descriptor = descriptor

    run(scenario)


# Laggards.


class Laggard:
    """One that goes on, so many times before it is done."""

    def __init__(self, name: str, laggards: Laggards, turns: list[str], count: int = 1) -> None:
        self._name = name
        self._laggards = laggards
        self._turns = turns
        self._count = count
        self.wire = self
        self.has_ended = False

    def go_on(self) -> None:
        self._turns.append(self._name)
        self._count -= 1
        if self._name == "wrong":
            raise ValueError("ours")
        if self._count:
            self._laggards.add(self)  # type: ignore[arg-type]

    def abort(self) -> None:
        self.has_ended = True


def run_laggards(
    scenario: Callable[[Laggards, Chain, list[Exception]], Awaitable[None]],
) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            chain, errors = Chain(), list[Exception]()
            laggards = Laggards(chain, errors.append)
            nursery.start_soon(laggards.run)
            await scenario(laggards, chain, errors)
            nursery.cancel_scope.cancel()

    trio.run(main)


def add(laggards: Laggards, turns: list[str], **counts: int) -> dict[str, Laggard]:
    made = {name: Laggard(name, laggards, turns, count) for name, count in counts.items()}
    for laggard in made.values():
        laggards.add(laggard)  # type: ignore[arg-type]
    return made


def test_laggards_go_on_in_turn_until_none_is_left() -> None:
    async def scenario(laggards: Laggards, chain: Chain, errors: list[Exception]) -> None:
        turns: list[str] = []
        add(laggards, turns, a=3, b=1, c=2)
        await laggards.wait_none()
        assert turns == ["a", "b", "c", "a", "c", "a"]
        assert chain.flushes > 0
        add(laggards, turns, d=1)
        await laggards.wait_none()
        assert turns[-1] == "d"

    run_laggards(scenario)


def test_a_laggard_that_is_added_twice_gets_one_turn_in_its_place() -> None:
    async def scenario(laggards: Laggards, chain: Chain, errors: list[Exception]) -> None:
        turns: list[str] = []
        made = add(laggards, turns, a=1, b=1)
        laggards.add(made["a"])  # type: ignore[arg-type]
        await laggards.wait_none()
        assert turns == ["a", "b"]

    run_laggards(scenario)


def test_an_error_of_ours_in_a_turn_ends_that_laggard_alone() -> None:
    async def scenario(laggards: Laggards, chain: Chain, errors: list[Exception]) -> None:
        turns: list[str] = []
        made = add(laggards, turns, wrong=1, b=1)
        await laggards.wait_none()
        assert turns == ["wrong", "b"]
        assert [str(error) for error in errors] == ["ours"]
        assert made["wrong"].has_ended
        assert not made["b"].has_ended

    run_laggards(scenario)


def test_laggards_wait_while_the_chain_is_full() -> None:
    async def scenario(laggards: Laggards, chain: Chain, errors: list[Exception]) -> None:
        turns: list[str] = []
        chain.is_full = True
        add(laggards, turns, a=1)
        await trio.testing.wait_all_tasks_blocked()
        assert turns == []
        chain.make_room()
        await laggards.wait_none()
        assert turns == ["a"]

    run_laggards(scenario)


def test_there_is_time_for_those_that_find_room_until_the_turn_is_over() -> None:
    async def scenario(laggards: Laggards, chain: Chain, errors: list[Exception]) -> None:
        assert not laggards.has_time
        laggards.begin_turn()
        await until(lambda: not laggards.has_time)

    run_laggards(scenario)
