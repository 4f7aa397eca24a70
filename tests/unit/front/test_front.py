"""The front in this process, on real sockets: deadlines on a fake clock, and every task gone in the end."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import math
import os
import resource
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from fws_pipe.admission.entrance import Entrance, EntranceSettings
from fws_pipe.admission.lobby import GRACE_S, Lobby
from fws_pipe.clients.memory import SWEEP_S
from fws_pipe.counters import MOST_NAMES
from fws_pipe.errors import FrameError
from fws_pipe.front.front import Front
from fws_pipe.front.limits import Limits
from fws_pipe.front.listener import PAUSE_S, accept_all, open_listeners
from fws_pipe.front.route import Route
from fws_pipe.http.handshake import CHAIN_FAILED
from fws_pipe.ledger.blame import DEATHS_ALONE, LAST_CHANCE_S
from fws_pipe.ledger.feed import WAITING_LIMIT_BYTES
from fws_pipe.ledger.link import LinkLimits
from fws_pipe.log import Log
from fws_pipe.protocol.codec import FrameDecoder, encode
from fws_pipe.websocket.intake import Intake
from fws_pipe.websocket.rfc6455 import PING_FRAME
from tests.e2e.raw import CLOSE, PING, PONG, RawClient, frame, request

LIMITS = Limits(max_message=1 << 20, max_clients=0, outbox=1 << 20, ping_interval=0.0, ping_timeout=0.0)
LINK_LIMITS = LinkLimits()


def open_route(front: Front) -> Route:
    """The route of a front that has one alone."""
    route = front.open_route()
    front.routes.put(route.pattern, route)
    return route


class Served:
    """A front that serves on a port, and the events that it has written."""

    def __init__(self, front: Front, port: int) -> None:
        self.front = front
        self.link = open_route(front).link
        self.port = port
        self.events: list[str] = []
        self.ticks_left = math.inf
        """How many ticks the chain returns before it is stuck."""

    async def write(self, batch: bytes) -> None:
        decoder = FrameDecoder()
        decoder.feed(batch)
        for event, _ in decoder:
            if event["type"] == "tick" and self.ticks_left < 1:
                continue
            if event["type"] == "tick":
                self.ticks_left -= 1
                self.link.feed.acknowledge(event["seq"])
            else:
                self.events.append(event["type"])
        await trio.lowlevel.checkpoint()

    def write_nowait(self, batch: bytes) -> int:
        return 0

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Let the front run, in real time, until something is so."""
        with trio.fail_after(30):
            while not condition():
                await trio.sleep(0.001)

    async def settle(self, event: str, count: int) -> None:
        """Let the front run while a fake clock stands still until so many events of a type have come."""
        await self.look_until(lambda: self.events.count(event) >= count)

    async def look_until(self, condition: Callable[[], bool]) -> None:
        """Let the front run while a fake clock stands still until something is so."""
        for _ in range(10_000):  # not seconds: the clock stands still
            if condition():
                break
            await trio.testing.wait_all_tasks_blocked(0.001)
        assert condition()


def serve(
    scenario: Callable[[Served], Awaitable[None]],
    tmp_path: Path,
    clock: trio.abc.Clock | None = None,
    limits: Limits = LIMITS,
    entrance: EntranceSettings | None = None,
    link_limits: LinkLimits = LINK_LIMITS,
    said: tuple[str, ...] = (),
    intake: Intake = Intake.EPOLL,
) -> None:
    """Run a scenario; what the front logs is, a line each, what `said` has a part of."""

    async def main() -> None:
        log = Log("test", descriptor=log_file.fileno())
        [listener] = await open_listeners(["127.0.0.1"], 0)
        with listener:
            async with trio.open_nursery() as nursery:
                front = Front(
                    limits, link_limits, log, "test", Entrance(entrance or EntranceSettings()), nursery, intake=intake
                )
                served = Served(front, listener.getsockname()[1])
                nursery.start_soon(served.link.write_events, served)
                nursery.start_soon(accept_all, listener, front.serve, log)
                await scenario(served)
                front.abort_all()
                nursery.cancel_scope.cancel()
        log.close()

    with (tmp_path / "log").open("wb") as log_file:
        trio.run(main, clock=clock)
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == len(said), lines
    assert all(part in line for part, line in zip(said, lines, strict=True)), lines


def test_a_handshake_that_is_never_finished_is_answered_at_the_deadline(tmp_path: Path) -> None:
    async def scenario(served: Served) -> None:
        def dawdle() -> bytes:
            with RawClient(served.port) as client:
                client.send(request(served.port)[:-2])
                return client.read_to_end()

        begin = trio.current_time()
        answer = await trio.to_thread.run_sync(dawdle)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert trio.current_time() - begin >= LIMITS.handshake_timeout
        assert served.events == []

    # The clock runs a hundred times as fast as the wall's.
    serve(scenario, tmp_path, trio.testing.MockClock(rate=100))


def test_refused_clients_that_stay_make_room_for_others_and_get_no_second_answer(tmp_path: Path) -> None:
    clock = trio.testing.MockClock()

    async def scenario(served: Served) -> None:
        front = served.front
        with RawClient(served.port) as first, RawClient(served.port) as second:
            for client in (first, second):
                client.send(b"nonsense\r\n\r\n")
            await served.look_until(lambda: front.counters.copy()["refused 400"] == 2)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(front.lobby.wait_room)
                await trio.testing.wait_all_tasks_blocked()
                assert front.lobby.room(64) == 0
                clock.jump(GRACE_S)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            assert front.lobby.room(64) == 1
            assert front.statistics().counts["slow while others waited"] == 1
            answers = [client.socket.recv(65536) for client in (first, second)]
            assert [answer.count(b"HTTP/1.1 400 ") for answer in answers] == [1, 1]
            assert [answer.count(b"HTTP/1.1 ") for answer in answers] == [1, 1]

    serve(scenario, tmp_path, clock, dataclasses.replace(LIMITS, max_handshakes=2))


def test_the_actions_before_a_broken_frame_are_executed(tmp_path: Path) -> None:
    class Broken:
        descriptor: int | None = None
        early = b""

        async def read(self) -> bytes:
            send = {"type": "send", "to": "nobody", "data": "x", "seq": 1}
            return encode(send) + encode(send) + encode({"type": "tick", "seq": 0}) + b"\xc1"

    async def scenario(served: Served) -> None:
        before = served.link.feed.ticks.settled
        with pytest.raises(FrameError, match="broken frame from stdin"):
            await served.link.execute_all(Broken(), "stdin")
        assert served.front.counters.copy()["gone"] == 2
        assert served.link.feed.ticks.settled == before == 1
        served.link.progress.begin_replay(0)
        sends = [{"type": "send", "to": "nobody", "data": "x", "seq": 1}] * 3
        assert list(served.link.progress.without_done(sends)) == sends[2:]

    serve(scenario, tmp_path)


def test_the_names_that_a_filter_counts_under_are_bounded(tmp_path: Path) -> None:
    async def scenario(served: Served) -> None:
        for number in range(MOST_NAMES + 5):
            served.link.execute({"type": "count", "name": f"{number}"})
        assert len(served.front.counters.copy()) == MOST_NAMES + 1
        assert served.front.counters.copy()["counts under further names"] == 5

    serve(scenario, tmp_path)


def test_what_waits_for_room_when_its_client_is_lost_comes_before_the_disconnect(tmp_path: Path) -> None:
    async def scenario(served: Served) -> None:
        goes_on = trio.Event()
        write = served.write

        async def write_later(batch: bytes) -> None:
            await goes_on.wait()
            await write(batch)

        client = RawClient(served.port)
        await trio.to_thread.run_sync(client.upgrade)
        await served.wait_until(lambda: served.events == ["open"])
        served.write = write_later  # type: ignore[method-assign]
        # In fragments both take the way through trio-websocket; together they are more than the client's share.
        small, large = (frame(b"x" * size, first=0x01) + frame(b"", first=0x80) for size in (10_000, 1_040_000))
        await trio.to_thread.run_sync(client.send, small + large)
        [there] = served.link.clients
        conversation = served.link.conversations[there]

        def is_under_way() -> bool:
            return conversation._library is not None and conversation._library._messages_fed == 2

        await served.wait_until(lambda: is_under_way() and bool(there._share))
        client.reset()

        def is_noticed() -> bool:
            served.link.execute_block([{"type": "send", "to": there.id, "data": "x"}])
            return there.wire.is_closed

        await served.wait_until(is_noticed)
        goes_on.set()
        await served.wait_until(lambda: "disconnect" in served.events)
        assert served.events == ["open", "message", "message", "disconnect"]
        await served.wait_until(lambda: not served.front._wires)

    serve(scenario, tmp_path)


def test_no_event_of_a_client_follows_its_disconnect(tmp_path: Path) -> None:
    """A message that waited for room came behind it when the server closed the connection meanwhile."""

    async def scenario(served: Served) -> None:
        served.ticks_left = 1
        with RawClient(served.port) as client:
            await trio.to_thread.run_sync(client.upgrade)
            small, large = (frame(b"x" * size, first=0x01) + frame(b"", first=0x80) for size in (10_000, 1_040_000))
            await trio.to_thread.run_sync(client.send, small + large)
            [there] = served.link.clients
            await served.wait_until(lambda: bool(there._share))
            there.wire.fail(1011, "no sign of life")
            await served.wait_until(lambda: not there._share)
            assert await trio.to_thread.run_sync(client.read_close_code) == 1011
        await served.wait_until(lambda: not served.front._wires)
        await served.wait_until(lambda: "disconnect" in served.events)
        assert served.events == ["open", "message", "disconnect"]

    serve(scenario, tmp_path)


def test_a_client_that_sends_now_and_then_is_not_idle(tmp_path: Path) -> None:
    clock = trio.testing.MockClock()

    async def scenario(served: Served) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.front.bounds.close_idle)
            with RawClient(served.port) as client:
                await trio.to_thread.run_sync(client.upgrade)
                for count in range(1, 6):
                    clock.jump(7.0)
                    client.send(frame(b"still here"))
                    await served.settle("message", count)
                client.send(frame(b"", PONG))
                clock.jump(10.0)
                assert (await trio.to_thread.run_sync(client.read, 4))[2:] == struct.pack("!H", 1001)
                assert served.front.counters.copy()["idle"] == 1
            nursery.cancel_scope.cancel()

    serve(scenario, tmp_path, clock, dataclasses.replace(LIMITS, idle_timeout=10.0))


def _read_away(client: RawClient, size: int) -> None:
    while size:
        size -= len(client.socket.recv(min(size, 1 << 20)))


def test_a_flush_is_answered_once_all_is_written(tmp_path: Path) -> None:
    async def scenario(served: Served) -> None:
        with RawClient(served.port) as client:
            await trio.to_thread.run_sync(client.upgrade)
            [client_id] = [each.id for each in served.link.clients]
            size = 16 << 20  # more than the kernel holds
            served.link.execute_block([{"type": "send", "to": client_id, "data": bytes(size)}])
            served.link.execute_block([{"type": "flush", "id": client_id}] * 2)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert "flushed" not in served.events
            await trio.to_thread.run_sync(_read_away, client, size + 10)
            await served.wait_until(lambda: "flushed" in served.events)
            served.link.execute_block([{"type": "flush", "id": client_id}])
            await served.wait_until(lambda: served.events.count("flushed") == 2)
            served.link.execute_block([{"type": "send", "to": client_id, "data": bytes(size)}])
            served.link.execute_block([{"type": "flush", "id": client_id}])
            client.reset()
            await served.wait_until(lambda: "disconnect" in served.events)
        served.link.execute_block([{"type": "flush", "id": client_id}])
        assert served.front.counters.copy()["gone"] == 1
        assert served.events.count("flushed") == 2

    serve(scenario, tmp_path)


def test_a_client_on_hold_is_neither_silent_nor_idle(tmp_path: Path) -> None:
    clock = trio.testing.MockClock()

    async def scenario(served: Served) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.front.bounds.close_idle)
            with RawClient(served.port) as client:
                await trio.to_thread.run_sync(client.upgrade)
                [client_id] = [each.id for each in served.link.clients]
                served.link.execute({"type": "hold", "id": client_id})
                for _ in range(100):
                    clock.jump(1.0)
                    await trio.testing.wait_all_tasks_blocked()
                served.link.execute({"type": "resume", "id": client_id})
                for _ in range(9):
                    clock.jump(1.0)
                    await trio.testing.wait_all_tasks_blocked()
                counts = served.front.counters.copy()
                assert (counts["idle"], counts["silent"]) == (0, 0)
                for _ in range(6):
                    clock.jump(1.0)
                    await trio.testing.wait_all_tasks_blocked()
                assert served.front.counters.copy()["idle"] == 1
            nursery.cancel_scope.cancel()

    limits = dataclasses.replace(LIMITS, idle_timeout=12.0, ping_interval=10.0, ping_timeout=4.0)
    serve(scenario, tmp_path, clock, limits)


@pytest.mark.parametrize("message_timeout", [0.0, 30.0])
def test_a_client_on_hold_that_ends_its_side_is_noticed(tmp_path: Path, message_timeout: float) -> None:
    clock = trio.testing.MockClock()

    async def scenario(served: Served) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.front.bounds.bound_memory)
            with RawClient(served.port) as client:
                await trio.to_thread.run_sync(client.upgrade)
                [client_id] = [each.id for each in served.link.clients]
                served.link.execute({"type": "hold", "id": client_id})
                client.end_output()
                await trio.testing.wait_all_tasks_blocked()
                assert "disconnect" not in served.events
                clock.jump(SWEEP_S)
                await served.settle("disconnect", 1)
            nursery.cancel_scope.cancel()

    serve(scenario, tmp_path, clock, dataclasses.replace(LIMITS, message_timeout=message_timeout))


def test_a_client_that_speaks_and_hears_nothing_is_pinged_and_need_not_answer(tmp_path: Path) -> None:
    clock = trio.testing.MockClock()

    async def scenario(served: Served) -> None:
        async with trio.open_nursery() as nursery:
            with RawClient(served.port) as client:
                await trio.to_thread.run_sync(client.upgrade)
                for count in range(1, 8):
                    client.send(frame(b"still here"))
                    await served.settle("message", count)
                    for _ in range(5):
                        clock.jump(1.0)
                        await trio.testing.wait_all_tasks_blocked()
                # In 35 s; the check after each message is all that it hears.
                assert await trio.to_thread.run_sync(client.read, 6) == PING_FRAME * 3
                client.socket.setblocking(False)
                with pytest.raises(BlockingIOError):
                    client.socket.recv(1)
                assert served.front.counters.copy()["silent"] == 0
                for _ in range(30):
                    clock.jump(1.0)
                    await trio.testing.wait_all_tasks_blocked()
                assert served.front.counters.copy()["silent"] == 1
            nursery.cancel_scope.cancel()

    serve(scenario, tmp_path, clock, dataclasses.replace(LIMITS, ping_interval=10.0, ping_timeout=4.0))


async def let_it_look(clock: trio.testing.MockClock, seconds: float) -> None:
    """Let so much of the front's time pass, a sweep at a time."""
    for _ in range(int(seconds / SWEEP_S)):
        clock.jump(SWEEP_S)
        await trio.testing.wait_all_tasks_blocked(0.001)


BEGUN = {
    "a frame": [frame(b"x" * 60_000)[:-1]],
    "fragments": [frame(b"x" * 20_000, first=0x01), *[frame(b"x" * 20_000, first=0x00)] * 2],
}


@pytest.mark.parametrize("begun", BEGUN)
def test_when_clients_hold_too_much_those_that_hold_most_are_closed(tmp_path: Path, begun: str) -> None:
    clock = trio.testing.MockClock()

    async def scenario(served: Served) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.front.bounds.bound_memory)
            with RawClient(served.port) as small, RawClient(served.port) as large, RawClient(served.port) as other:
                for client, blocks in (
                    (small, [frame(b"x" * 30_000)[:-1]]),
                    (large, BEGUN[begun]),
                    (other, [frame(b"x" * 30_000)[:-1]]),
                ):
                    await trio.to_thread.run_sync(client.upgrade)
                    for block in blocks:
                        client.send(block)
                conversations = list(served.link.conversations.values())
                await served.look_until(lambda: served.front.bounds.held() > 115_000)
                await let_it_look(clock, 1.0)
                assert served.front.counters.copy()["memory full"] == 1
                assert (await trio.to_thread.run_sync(large.read, 4))[2:] == struct.pack("!H", 1013)
                assert served.front.bounds.held() < 100_000
                await served.look_until(lambda: all(each._library is None for each in conversations))
                for client in (small, other):
                    client.send(b"x")
                await served.settle("message", 2)
            nursery.cancel_scope.cancel()

    limits = dataclasses.replace(LIMITS, memory=100_000)
    serve(scenario, tmp_path, clock, limits, said=("clients hold more than --memory-limit, 100000 bytes",))


def test_what_many_are_sent_is_held_once(tmp_path: Path) -> None:
    async def scenario(served: Served) -> None:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(RawClient(served.port, receive_buffer=4096)) for _ in range(10)]
            for client in clients:
                await trio.to_thread.run_sync(client.upgrade)
            size = 5_000_000
            served.link.execute_block([{"type": "send", "to": "*", "data": "x" * size}])
            assert size / 5 < served.front.bounds.held() < size

    serve(scenario, tmp_path)


def test_a_message_that_takes_too_long_closes_its_client_unless_it_is_us_who_do_not_read(tmp_path: Path) -> None:
    clock = trio.testing.MockClock()

    async def scenario(served: Served) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.front.bounds.bound_memory)
            with RawClient(served.port) as slow, RawClient(served.port) as quick, RawClient(served.port) as held:
                for client in (slow, quick, held):
                    await trio.to_thread.run_sync(client.upgrade)
                *_, its = served.link.clients
                slow.send(frame(b"begun", first=0x01))
                held.send(frame(b"begun")[:-1])
                await served.look_until(lambda: served.front.bounds.held() > 0)
                its.charge(1 << 30, 1)  # as if the chain had much to do for it
                for count in range(1, 12):
                    # Always in the middle of a message, and never long in the same.
                    end_and_begin = frame(b"n")[-1:] if count > 1 else b""
                    quick.send(end_and_begin + frame(b"next")[:-1])
                    await served.settle("message", count - 1)
                    slow.send(frame(b"", PING))
                    held.send(b"" if count > 1 else b"n" + frame(b"behind")[:-1])
                    await let_it_look(clock, 1.0)
                assert (await trio.to_thread.run_sync(slow.read_to_end)).endswith(b"to arrive")
                assert served.front.counters.copy()["message too slow"] == 1
                its.discharge(1 << 30, 1)
                await let_it_look(clock, 11.0)
                assert served.front.counters.copy()["message too slow"] == 3
            nursery.cancel_scope.cancel()

    serve(scenario, tmp_path, clock, dataclasses.replace(LIMITS, message_timeout=10.0))


def test_what_is_remembered_counts_as_held_until_its_client_has_gone(tmp_path: Path) -> None:
    async def scenario(served: Served) -> None:
        with RawClient(served.port) as client:
            await trio.to_thread.run_sync(client.upgrade)
            [there] = served.link.clients
            before = served.front.bounds.held()
            served.link.execute_block([{"type": "remember", "id": there.id, "value": "x" * 10_000}])
            assert before + 10_000 < served.front.bounds.held() < before + 11_000
            client.reset()
            await served.wait_until(lambda: not list(served.link.clients))
            assert served.front.bounds.held() == 0

    serve(scenario, tmp_path)


def test_a_client_is_in_a_limited_number_of_groups(tmp_path: Path) -> None:
    async def scenario(served: Served) -> None:
        with RawClient(served.port) as client:
            await trio.to_thread.run_sync(client.upgrade)
            [there] = served.link.clients
            join = {"type": "join", "id": there.id}
            served.link.execute_block([{**join, "group": str(number)} for number in range(5)])
            assert there.groups == {"0", "1", "2"}
            served.link.execute_block([{**join, "type": "leave", "group": "0"}, {**join, "group": "4"}])
            assert there.groups == {"1", "2", "4"}
            served.link.execute_block([{**join, "group": "4"}, {**join, "group": "x" * 1025}])
            assert served.front.counters.copy()["joins over --max-groups"] == 2
            assert served.front.counters.copy()["bad action"] == 1
            assert served.front.bounds.held() > 0
            client.reset()
            await served.wait_until(lambda: not list(served.link.clients))
            assert served.front.bounds.held() == 0

    said = ("dropped join str '3'", "join.group: expected a string of at most 1024 bytes")
    serve(scenario, tmp_path, link_limits=LinkLimits(max_groups=3), said=said)


def test_two_hundred_connections_of_all_kinds_leave_no_task(tmp_path: Path) -> None:
    def visit(port: int, number: int) -> None:
        with RawClient(port) as client:
            kind = number % 5
            if kind == 0:
                client.send(b"GET / HTTP/1.1\r\n")
            elif kind == 1:
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                client.read_to_end()
            else:
                client.upgrade()
                client.send(frame(b"hello"))
                if kind == 2:
                    client.reset()
                elif kind == 3:
                    client.send(frame(struct.pack("!H", 1000), CLOSE))
                    client.read_to_end()
                else:
                    client.send(frame(b"\xff"))
                    client.read_to_end()

    async def scenario(served: Served) -> None:
        await served.wait_until(served.link.ready.is_set)
        await trio.to_thread.run_sync(visit, served.port, 3)
        await served.wait_until(lambda: served.events == ["open", "message", "disconnect"])
        base = trio.lowlevel.current_statistics().tasks_living
        for number in range(200):
            await trio.to_thread.run_sync(visit, served.port, number)
        await served.wait_until(lambda: served.events.count("disconnect") == 121)
        assert served.events.count("open") == 121
        await served.wait_until(lambda: trio.lowlevel.current_statistics().tasks_living == base)

    serve(scenario, tmp_path)


def test_no_descriptor_left_is_told_once_and_waited_for(tmp_path: Path) -> None:
    def refuse(connection: socket.socket, remote: tuple[str, int]) -> None:
        connection.close()
        raise OSError(errno.EMFILE, "Too many open files")

    def knock(port: int) -> None:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), 30) as client:
                assert client.recv(1) == b""

    async def main() -> None:
        log = Log("fws-pipe", descriptor=file.fileno())
        [listener] = await open_listeners(["127.0.0.1"], 0)
        with listener:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept_all, listener, refuse, log)
                await trio.to_thread.run_sync(knock, listener.getsockname()[1])
                nursery.cancel_scope.cancel()
        log.close()

    with (tmp_path / "log").open("wb") as file:
        trio.run(main)
    [line] = (tmp_path / "log").read_text().splitlines()
    assert line == "fws-pipe: can't accept a connection just now (Too many open files); raise the limit: ulimit -n"


class CountingListener(socket.socket):
    """Counts how often somebody tries to accept."""

    attempts = 0

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        self.attempts += 1
        return super().accept()


def test_without_descriptors_accepting_pauses_and_does_not_spin(tmp_path: Path) -> None:
    clock = trio.testing.MockClock()
    accepted: list[socket.socket] = []

    async def main() -> None:
        log = Log("fws-pipe", descriptor=file.fileno())
        lobby = Lobby(0)
        [plain] = await open_listeners(["127.0.0.1"], 0)
        with CountingListener(fileno=plain.detach()) as listener, contextlib.ExitStack() as clients:
            listener.setblocking(False)
            for _ in range(5):
                clients.enter_context(socket.create_connection(listener.getsockname()))
            async with trio.open_nursery() as nursery:
                with two_descriptors_left():
                    nursery.start_soon(accept_all, listener, lambda sock, remote: accepted.append(sock), log, lobby)
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    assert len(accepted) in (1, 2)
                    assert listener.attempts == len(accepted) + 1
                    clock.jump(PAUSE_S)
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    assert listener.attempts == len(accepted) + 2
                clock.jump(PAUSE_S)
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert len(accepted) == 5
                assert lobby.pauses == 1
                nursery.cancel_scope.cancel()
        log.close()

    with (tmp_path / "log").open("wb") as file:
        trio.run(main, clock=clock)
    for connection in accepted:
        connection.close()
    assert (tmp_path / "log").read_text().count("can't accept a connection just now") == 1


@contextlib.contextmanager
def two_descriptors_left() -> Iterator[None]:
    """Let this process open no more than two further descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 2, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_listening_on_a_name_gives_all_its_addresses_one_port() -> None:
    async def main() -> None:
        listeners = await open_listeners(["127.0.0.1", "127.0.0.3"], 0)
        ports = {listener.getsockname()[1] for listener in listeners}
        assert len(listeners) == 2
        assert len(ports) == 1
        for listener in listeners:
            assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
            listener.close()

    trio.run(main)


def test_a_client_that_has_gone_when_it_is_let_in_is_forgotten(tmp_path: Path) -> None:
    """It once was an error of the server itself: nobody can read a connection that its own response has ended."""

    async def scenario(served: Served) -> None:
        client = RawClient(served.port)
        # One block behind the request tells the front that it is there, and nothing tells it that it leaves.
        client.send(request(served.port) + frame(b"early"))
        await served.wait_until(lambda: served.events == ["open"])
        client.send(frame(b"more"))
        await trio.testing.wait_all_tasks_blocked()
        client.reset()
        served.link.execute({"type": "accept", "id": "test-1"})
        await served.wait_until(lambda: served.events == ["open", "disconnect"])
        assert len(served.link.clients) == 0

    serve(scenario, tmp_path, entrance=EntranceSettings(gate_timeout=30.0))


async def die_of_an_open(served: Served, clock: trio.testing.MockClock) -> None:
    """Let the chain, which has read an `open` and is stuck, die of it as often as it takes."""
    link = served.link
    async with trio.open_nursery() as nursery:
        for death in range(1, DEATHS_ALONE + 1):
            await served.settle("open", death)
            link.finish_events()
            await trio.testing.wait_all_tasks_blocked(0.001)
            link.prepare_restart(is_replaced=False, is_changed=False)
            is_last = death == DEATHS_ALONE
            served.ticks_left = math.inf if is_last else 1
            nursery.start_soon(link.write_events, served)
            await trio.testing.wait_all_tasks_blocked(0.001)
            clock.jump(0.0 if is_last else LAST_CHANCE_S)
        await trio.testing.wait_all_tasks_blocked(0.001)
        nursery.cancel_scope.cancel()


TURNED_AWAY = (
    "has killed the chain 3 times while alone in it; it is skipped, and its client turned away; it is not kept"
)


def test_a_client_at_the_gate_whose_open_kills_the_chain_is_refused(tmp_path: Path) -> None:
    clock = trio.testing.MockClock()

    async def scenario(served: Served) -> None:
        await trio.testing.wait_all_tasks_blocked()
        served.ticks_left = 0
        with RawClient(served.port) as client:
            client.send(request(served.port))
            await die_of_an_open(served, clock)
            answer = await trio.to_thread.run_sync(client.read_to_end)
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert answer.endswith(b"The chain can't serve this client.\n")
        assert served.events == ["open"] * DEATHS_ALONE
        assert len(served.link.clients) == 0

    serve(scenario, tmp_path, clock, entrance=EntranceSettings(gate_timeout=30.0), said=(TURNED_AWAY,))


def test_a_client_whose_open_kills_the_chain_is_read_no_more_though_it_has_been_sent_a_close(tmp_path: Path) -> None:
    clock = trio.testing.MockClock()

    async def scenario(served: Served) -> None:
        await trio.testing.wait_all_tasks_blocked()
        served.ticks_left = 0
        with RawClient(served.port) as client:
            await trio.to_thread.run_sync(client.upgrade)
            [there] = served.link.clients
            served.link.execute_block([
                {"type": "join", "id": there.id, "group": "tea"},
                {"type": "close", "to": there.id, "code": 4000, "reason": ""},
            ])  # fmt: skip
            await die_of_an_open(served, clock)
            assert len(served.link.clients) == 0
            assert served.front.statistics().counts["clients that the chain can't serve"] == 1
            client.send(frame(b"too late"))
            client.socket.shutdown(socket.SHUT_WR)
            assert await trio.to_thread.run_sync(client.read_close_code) == 4000
        served.link.execute_block([{"type": "send", "group": "tea", "data": "x"}])
        assert served.events == ["open"] * DEATHS_ALONE

    serve(scenario, tmp_path, clock, said=(TURNED_AWAY,))


@pytest.mark.parametrize("intake", [Intake.EPOLL, Intake.TASKS])
def test_a_chain_that_is_full_holds_up_the_clients_of_its_route_alone(tmp_path: Path, intake: Intake) -> None:
    async def scenario(served: Served) -> None:
        stuck = served.front.open_route("/stuck")  # nobody writes its events
        served.front.routes.put(stuck.pattern, stuck)
        with RawClient(served.port) as held, RawClient(served.port) as other:
            held.send(request(served.port, line="GET /stuck HTTP/1.1"))
            await served.wait_until(lambda: len(stuck.link.conversations) == 1)
            stuck.link.execute({"type": "enqueue", "data": "x" * WAITING_LIMIT_BYTES})
            assert stuck.link.feed.is_full
            held.send(frame(b"not read"))
            await trio.to_thread.run_sync(other.upgrade)
            for count in range(1, 4):
                other.send(frame(b"hello"))
                await served.settle("message", count)
            assert stuck.link.feed.is_full

    serve(scenario, tmp_path, intake=intake)


def test_a_route_that_is_closed_refuses_new_clients_and_leaves_others_alone(tmp_path: Path) -> None:
    async def scenario(served: Served) -> None:
        closing = served.front.open_route("/closing")
        served.front.routes.put(closing.pattern, closing)
        with RawClient(served.port) as gone, RawClient(served.port) as late, RawClient(served.port) as other:
            gone.send(request(served.port, line="GET /closing HTTP/1.1"))
            await trio.to_thread.run_sync(other.upgrade)
            await served.wait_until(lambda: len(closing.link.conversations) == 1)
            with trio.move_on_after(0):
                await closing.close(CHAIN_FAILED, 1011, "gone")
            closing.abort_all()
            await closing.close(CHAIN_FAILED, 1011, "gone")
            late.send(request(served.port, line="GET /closing HTTP/1.1"))
            assert (await trio.to_thread.run_sync(late.read_to_end)).startswith(b"HTTP/1.1 503 ")
            other.send(frame(b"hello"))
            await served.settle("message", 1)
            closing.link.feed.dropped = 3
            served.front.routes.remove(closing.pattern)
            served.front.end_route(closing)
            assert served.front.statistics().counts["consumer events dropped"] == 3
            assert served.front.links == [served.link]

    serve(scenario, tmp_path)
