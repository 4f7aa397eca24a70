"""Reads the clients of one chain, and what the chain answers: in one epoll object all that are plain descriptors, the
other connections in a task each.

A task a client costs some 25 us a read, most of it in the scheduler. Here one task waits for one descriptor, reads
all that are ready, and writes what has come together to the chain in one block. TLS, and systems without epoll, take
the tasks: the same conversations, the same events.
"""

from __future__ import annotations

import os
import select
from collections import OrderedDict, deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

import trio

from fws_pipe.pipes.blocks import ReadBuffer
from fws_pipe.websocket.busy_polling import AWAKE_S, BusyPolling
from fws_pipe.websocket.conversation import Conversation as GenericConversation
from fws_pipe.websocket.conversation import Readers
from fws_pipe.websocket.wire import Wire

_AT_ONCE = 256
"""How many connections are read before the chain gets what they have sent."""

_TURN_S = 0.001
"""How long this task goes on, and how long it waits for the next message, before the others get their turn: what
answers a message, and what answers that, comes sooner. What was ready by then may take some milliseconds more.
"""

_ONLY_THE_END = 0
"""epoll tells EPOLLHUP and EPOLLERR unasked: the client has reset the connection. Its end of input alone is not told:
what it has sent before that is still to be read.
"""

HAS_EPOLL = hasattr(select, "epoll")

_HAS_PROCESSORS = HAS_EPOLL and len(os.sched_getaffinity(0)) > 1
"""Whether the chain can work while we look for what it has done."""


Conversation = GenericConversation[Any]


class Chain(Protocol):
    """Where the events of the clients go, and how the chain keeps up."""

    @property
    def is_full(self) -> bool:
        """Whether no client may be read."""

    @property
    def is_calm(self) -> bool:
        """Whether the chain is known to be at work on one batch at most."""

    async def wait_room(self) -> None:
        """Wait while it is full."""

    def flush(self) -> None:
        """Write what waits, if the chain takes it at once."""


class SharedWait:
    """Lets the readers of several chains wait in epoll_wait(2) in turn: what is ready for one ends the wait of another.

    It is an epoll object over theirs, and nothing at all as long as there are those of one chain alone.
    """

    def __init__(self) -> None:
        self._epolls: list[select.epoll] = []
        self._all: select.epoll | None = None

    def add(self, epoll: select.epoll) -> None:
        """Readers of another chain use this epoll object."""
        self._epolls.append(epoll)
        self._note_change()

    def remove(self, epoll: select.epoll) -> None:
        """They have ended: called before they close it."""
        self._epolls.remove(epoll)
        self._note_change()

    def _note_change(self) -> None:
        if self._all is not None:
            self._all.close()
            self._all = None
        if len(self._epolls) > 1:
            self._all = select.epoll()
            for epoll in self._epolls:
                self._all.register(epoll, select.EPOLLIN)

    def poll(self, own: select.epoll) -> list[tuple[int, int]]:
        """What is ready in `own`, after a turn's time at most; none when another chain's readers have work first."""
        if self._all is None:
            return own.poll(_TURN_S, _AT_ONCE)
        self._all.poll(_TURN_S, 1)
        return own.poll(0, _AT_ONCE)


class EpollReaders:
    """One epoll object, epoll(7), and the task that waits for it. `on_error` hears of errors of our own."""

    def __init__(self, feed: Chain, on_error: Callable[[Exception], object], shared_wait: SharedWait) -> None:
        self._feed = feed
        self._on_error = on_error
        self._shared_wait = shared_wait
        self._epoll = select.epoll()
        shared_wait.add(self._epoll)
        self._by_descriptor: dict[int, Conversation] = {}
        self._paused: dict[int, Conversation] = {}
        """The clients that are not read, only watched for the end of their connection."""
        self._pipes: dict[int, _Pipe] = {}
        self._busy_polling = BusyPolling()
        self._buffer = ReadBuffer()
        self._ready: deque[int] = deque()
        """Descriptors that were ready when the last turn was over: they come first in the next one."""
        self._pipes_alone = select.epoll()
        """The pipes once more, without the clients: see `_wait_room`."""

    def add(self, conversation: Conversation) -> None:
        """Read a client from now on."""
        self.resume(conversation)

    def pause(self, conversation: Conversation) -> None:
        """Stop reading it until `resume`, but notice when its connection is reset."""
        descriptor = conversation.wire.transport.fileno()
        del self._by_descriptor[descriptor]
        self._paused[descriptor] = conversation
        self._epoll.modify(descriptor, _ONLY_THE_END)

    def resume(self, conversation: Conversation) -> None:
        """Read it again."""
        descriptor = conversation.wire.transport.fileno()
        self._by_descriptor[descriptor] = conversation
        if self._paused.pop(descriptor, None) is not None:
            self._epoll.modify(descriptor, select.EPOLLIN)
        else:
            self._epoll.register(descriptor, select.EPOLLIN)

    def watch(self, conversation: Conversation) -> None:
        """Notice when the connection of a client that a task reads, and has paused, is reset."""
        descriptor = conversation.wire.transport.fileno()
        self._paused[descriptor] = conversation
        self._epoll.register(descriptor, _ONLY_THE_END)

    def remove(self, conversation: Conversation) -> None:
        """Stop reading and watching it. Idempotent; to be called before its descriptor is closed."""
        descriptor = conversation.wire.transport.fileno()
        for conversations in (self._by_descriptor, self._paused):
            if conversations.get(descriptor) is conversation:
                del conversations[descriptor]
                _forget(self._epoll, descriptor)

    async def wait_removed(self, conversation: Conversation) -> None:
        """No-op: no task reads it."""

    def unreceived(self, conversation: Conversation) -> bytes:
        """Nothing: what is read is received at once."""
        return b""

    async def read_pipe(self, descriptor: int, consume: Callable[[bytes], object]) -> None:
        """Read a pipe to its end, and give each block to `consume`. Raises what that raises."""
        pipe = self._pipes[descriptor] = _Pipe(consume, self._buffer)
        epolls = (self._epoll, self._pipes_alone)
        for epoll in epolls:
            epoll.register(descriptor, select.EPOLLIN)
        try:
            await pipe.ended.wait()
        finally:
            del self._pipes[descriptor]
            for epoll in epolls:
                _forget(epoll, descriptor)
        if pipe.error is not None:
            raise pipe.error

    async def run(self) -> None:
        """Read for ever."""
        try:
            while True:
                if self._ready:
                    await trio.lowlevel.checkpoint()
                else:
                    await trio.lowlevel.wait_readable(self._epoll)
                if self._feed.is_full:
                    await self._wait_room()
                self._take_turn(perf_counter() + _TURN_S)
        finally:
            self._shared_wait.remove(self._epoll)
            self._epoll.close()
            self._pipes_alone.close()

    def _take_turn(self, end: float) -> None:
        """Read all that are ready, until none is, or it is time for the other tasks.

        While messages come and go it waits here for the next one, unless another task has something to do: to go
        through trio would cost as much as to read it.
        """
        ready = self._ready
        if ready:
            self._read_pipes()  # what the chain has answered doesn't wait behind those that were left
        else:
            ready.extend(descriptor for descriptor, _ in self._epoll.poll(0, _AT_ONCE))
        while ready:
            self._serve_ready(end)
            self._feed.flush()
            if ready or perf_counter() >= end or self._feed.is_full:
                break
            is_alone = not trio.lowlevel.current_statistics().tasks_runnable
            found = self._wait() if is_alone else self._epoll.poll(0, _AT_ONCE)
            ready.extend(descriptor for descriptor, _ in found)
        if self._feed.is_full:
            ready.clear()  # no client is read: epoll tells of them again

    def _serve_ready(self, end: float) -> None:
        """Read those that are ready, one at least, until it is time for the other tasks."""
        now = trio.current_time()
        ready = self._ready
        while ready:
            descriptor = ready.popleft()
            conversation = self._by_descriptor.get(descriptor)
            if conversation is not None:
                if not self._feed.is_full:
                    self._serve(conversation, descriptor, now)
            elif descriptor in self._pipes:
                self._pipes[descriptor].read(descriptor)
            # What epoll has told may be older than the pause.
            elif descriptor in self._paused and self._paused[descriptor].wire.transport.has_been_reset():
                self._note_reset(descriptor)
            if perf_counter() >= end:
                return

    def _wait(self) -> list[tuple[int, int]]:
        """Wait until something is ready, for a turn at most; without falling asleep where that comes soon."""
        poll = self._epoll.poll
        start = perf_counter()
        if not self._feed.is_calm or not _HAS_PROCESSORS:
            self._busy_polling.interrupt()
        elif self._busy_polling.is_quick:
            while perf_counter() - start < AWAKE_S:
                if ready := poll(0, _AT_ONCE):
                    return ready
        ready = self._shared_wait.poll(self._epoll)
        self._busy_polling.note(perf_counter() - start)
        return ready

    def _serve(self, conversation: Conversation, descriptor: int, now: float) -> None:
        """Read a client; whatever it makes go wrong in us ends its connection, and must not cost the others theirs."""
        try:
            self._read(conversation, descriptor, now)
        except Exception as error:  # noqa: BLE001 - told, and then it is over for this client
            self._on_error(error)
            conversation.wire.abort()

    def _note_reset(self, descriptor: int) -> None:
        """Tell a paused client, and watch it no more: epoll would tell of it again and again."""
        conversation = self._paused.pop(descriptor)
        _forget(self._epoll, descriptor)
        try:
            conversation.note_reset()
        except Exception as error:  # noqa: BLE001 - told, and then it is over for this client
            self._on_error(error)
            conversation.wire.abort()

    def _read(self, conversation: Conversation, descriptor: int, now: float) -> None:
        try:
            block = self._buffer.read(descriptor, conversation.appetite)
        except BlockingIOError:
            return
        except OSError:
            conversation.lose()
            return
        if block:
            conversation.receive(block, now)
        else:
            conversation.note_end()

    async def _wait_room(self) -> None:
        """The chain is so slow that no client is read. What it answers is: that is what makes room."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_pipes_alone)
            await self._feed.wait_room()
            nursery.cancel_scope.cancel()

    async def _read_pipes_alone(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._pipes_alone)
            self._read_pipes()

    def _read_pipes(self) -> None:
        for descriptor, _ in self._pipes_alone.poll(0):
            self._pipes[descriptor].read(descriptor)


class _Pipe:
    """A pipe that is read, and what becomes of it. Its end, or an error, is told once: then it is read no more."""

    def __init__(self, consume: Callable[[bytes], object], buffer: ReadBuffer) -> None:
        self._consume = consume
        self._buffer = buffer
        self.ended = trio.Event()
        self.error: Exception | None = None

    def read(self, descriptor: int) -> None:
        if self.ended.is_set():
            return
        try:
            block = self._buffer.read(descriptor)
            if block:
                self._consume(block)
                return
        except BlockingIOError:
            return
        except Exception as error:  # noqa: BLE001 - `read_pipe` raises it
            self.error = error
        self.ended.set()


def _forget(epoll: select.epoll, descriptor: int) -> None:
    try:
        epoll.unregister(descriptor)
    except (OSError, ValueError):
        pass  # either has been closed already: the kernel has forgotten it


class Laggards:
    """Clients that have sent more than is dealt with in a row: each goes on for a slice when it is its turn.

    In a task of its own: after a turn's time all other tasks get theirs. `on_error` hears of errors of our own.
    """

    def __init__(self, feed: Chain, on_error: Callable[[Exception], object]) -> None:
        self._feed = feed
        self._on_error = on_error
        self._waiting: OrderedDict[Conversation, None] = OrderedDict()
        """The clients that wait for their turn, in its order: each once, even if it has been on hold meanwhile.

        A plain dict takes longer to find its first key the more have been deleted before it.
        """
        self._end = 0.0
        """Until when clients that find room go on at once (perf_counter)."""
        self._has_some = trio.Event()
        self._has_none = trio.lowlevel.ParkingLot()

    def begin_turn(self) -> None:
        """Room appears now for many clients: let them go on at once for a turn's time, and the others afterwards."""
        self._end = perf_counter() + _TURN_S

    @property
    def has_time(self) -> bool:
        """Whether a client that finds room may go on at once."""
        return perf_counter() < self._end

    def add(self, conversation: Conversation) -> None:
        """Let a client go on when it is its turn."""
        self._waiting[conversation] = None
        self._has_some.set()

    async def wait_none(self) -> None:
        """Wait until all that has been read is dealt with, as far as it finds room."""
        while self._waiting:
            await self._has_none.park()

    async def run(self) -> None:
        """Let them go on, for ever."""
        while True:
            await self._has_some.wait()
            while self._waiting:
                await self._feed.wait_room()
                self._take_turn(perf_counter() + _TURN_S)
                self._feed.flush()
                await trio.lowlevel.checkpoint()
            self._has_some = trio.Event()
            self._has_none.unpark_all()

    def _take_turn(self, end: float) -> None:
        """Let one go on at least, and more until it is time for the other tasks."""
        while self._waiting and not self._feed.is_full:
            conversation, _ = self._waiting.popitem(last=False)
            self._let_go_on(conversation)
            if perf_counter() >= end:
                return

    def _let_go_on(self, conversation: Conversation) -> None:
        try:
            conversation.go_on()
        except Exception as error:  # noqa: BLE001 - told, and then it is over for this client
            self._on_error(error)
            conversation.wire.abort()


class TaskReaders:
    """A task for each connection. `epoll`, where there is one, notices when a paused client's connection is reset."""

    def __init__(self, feed: Chain, epoll: EpollReaders | None) -> None:
        self._feed = feed
        self._epoll = epoll
        self._tasks: dict[Conversation, _Task] = {}

    def add(self, conversation: Conversation) -> None:
        """Read a client from now on."""
        task = self._tasks[conversation] = _Task()
        conversation.wire.run_beside(self._read, conversation, task)

    def pause(self, conversation: Conversation) -> None:
        """Stop reading it until `resume`, but notice when its connection is reset."""
        self._tasks[conversation].may_read = trio.Event()
        if self._epoll is not None:
            self._epoll.watch(conversation)

    def resume(self, conversation: Conversation) -> None:
        """Read it again."""
        if self._epoll is not None:
            self._epoll.remove(conversation)
        self._tasks[conversation].may_read.set()

    def remove(self, conversation: Conversation) -> None:
        """Stop reading and watching it. Idempotent."""
        task = self._tasks.get(conversation)
        if task is not None:
            task.scope.cancel()
        if self._epoll is not None:
            self._epoll.remove(conversation)

    async def wait_removed(self, conversation: Conversation) -> None:
        """Wait until another task may read the connection."""
        task = self._tasks.get(conversation)
        if task is not None:
            await task.has_ended.wait()

    def unreceived(self, conversation: Conversation) -> bytes:
        """The block with which its task waits for room."""
        task = self._tasks.get(conversation)
        return task.unreceived if task is not None else b""

    async def _read(self, conversation: Conversation, task: _Task) -> None:
        try:
            with task.scope:
                while True:
                    await task.may_read.wait()  # others get their turn here, whether or not it has been paused
                    await task.wait_may_read()
                    block = await _receive(conversation)
                    task.unreceived = block or b""
                    await self._feed.wait_room()
                    await task.wait_may_read()  # a filter may have put it on hold meanwhile
                    task.unreceived = b""
                    if not block:
                        break
                    conversation.receive(block, trio.current_time())
                    self._feed.flush()
        finally:
            del self._tasks[conversation]
            task.has_ended.set()
        if task.scope.cancelled_caught:
            return
        if block is None:
            conversation.lose()
        else:
            conversation.note_end()


class _Task:
    """What a reading task can be told, and tells."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.may_read = trio.Event()
        self.may_read.set()
        self.has_ended = trio.Event()
        self.unreceived = b""
        """What has been read while there was no room for it."""

    async def wait_may_read(self) -> None:
        """Wait while it is paused, also when it is paused again between its wake-up and its turn."""
        while not self.may_read.is_set():
            await self.may_read.wait()


async def _receive(conversation: Conversation) -> bytes | None:
    """Some bytes, or none at the end of what the client sends; None when the connection is broken."""
    try:
        return await conversation.wire.transport.receive_some(conversation.appetite)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return None


def readers_for(wire: Wire, tasks: TaskReaders, epoll: EpollReaders | None) -> Readers:
    """What reads a connection, from its first message to its end: epoll where there is one and it can, or a task."""
    return tasks if epoll is None or wire.transport.descriptor is None else epoll
