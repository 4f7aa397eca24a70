"""Reads the clients' connections: all that are plain TCP in one epoll object, the others in a task each.

A task a client costs some 25 us a read, most of it in the scheduler. Here one task waits for one descriptor, reads
whoever is ready, and writes what has come together to the chain in one block. TLS, and systems without epoll, take
the tasks: the same conversations, the same events.
"""

from __future__ import annotations

import os
import select

import trio

from fws_pipe.front.conversation import Conversation, Readers
from fws_pipe.front.feed import Feed

_AT_ONCE = 256
"""How many connections are read before the chain gets what they have sent."""


class Switchboard:
    """One epoll object, epoll(7), and the task that waits for it."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._epoll = select.epoll()
        self._by_descriptor: dict[int, Conversation] = {}

    def add(self, conversation: Conversation) -> None:
        """Read a client from now on."""
        self.resume(conversation)

    def pause(self, conversation: Conversation) -> None:
        """Read it no more for a while."""
        self.remove(conversation)

    def resume(self, conversation: Conversation) -> None:
        """Read it again."""
        descriptor = _descriptor_of(conversation)
        self._by_descriptor[descriptor] = conversation
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, conversation: Conversation) -> None:
        """Read it no more. Idempotent, and to be called before its descriptor is closed."""
        descriptor = _descriptor_of(conversation)
        if self._by_descriptor.get(descriptor) is conversation:
            del self._by_descriptor[descriptor]
            try:
                # Not modified to wait for nothing: the end of a connection would be told all the same, again and again.
                self._epoll.unregister(descriptor)
            except OSError:
                pass  # closed already: the kernel has forgotten it

    async def wait_removed(self, conversation: Conversation) -> None:
        """Nobody reads but when told to: there is nothing to wait for."""

    async def run(self) -> None:
        """Read for ever."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll)
                await self._feed.wait_room()
                for descriptor, _ in self._epoll.poll(0, _AT_ONCE):
                    conversation = self._by_descriptor.get(descriptor)
                    if conversation is not None:
                        _read(conversation, descriptor)
                    if self._feed.is_full:
                        break
                self._feed.flush()
        finally:
            self._epoll.close()


def _read(conversation: Conversation, descriptor: int) -> None:
    try:
        block = os.read(descriptor, conversation.appetite)
    except BlockingIOError:
        return
    except OSError:
        block = b""
    if block:
        conversation.take(block)
    else:
        conversation.lose()


def _descriptor_of(conversation: Conversation) -> int:
    descriptor = conversation.wire.transport.descriptor
    assert descriptor is not None
    return descriptor


class TaskReaders:
    """A task for each connection."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._tasks: dict[Conversation, _Task] = {}

    def add(self, conversation: Conversation) -> None:
        """Read a client from now on."""
        task = self._tasks[conversation] = _Task()
        conversation.wire.run_beside(self._read, conversation, task)

    def pause(self, conversation: Conversation) -> None:
        """Read it no more for a while."""
        self._tasks[conversation].may_read = trio.Event()

    def resume(self, conversation: Conversation) -> None:
        """Read it again."""
        self._tasks[conversation].may_read.set()

    def remove(self, conversation: Conversation) -> None:
        """Read it no more. Idempotent."""
        task = self._tasks.get(conversation)
        if task is not None:
            task.scope.cancel()

    async def wait_removed(self, conversation: Conversation) -> None:
        """Wait until somebody else may read the connection."""
        task = self._tasks.get(conversation)
        if task is not None:
            await task.has_ended.wait()

    async def _read(self, conversation: Conversation, task: _Task) -> None:
        try:
            with task.scope:
                while True:
                    block = await _receive(conversation)
                    await self._feed.wait_room()
                    if not block:
                        break
                    conversation.take(block)
                    self._feed.flush()
                    await task.may_read.wait()
        finally:
            del self._tasks[conversation]
            task.has_ended.set()
        if not task.scope.cancelled_caught:
            conversation.lose()


class _Task:
    """What a reading task can be told, and tells."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.may_read = trio.Event()
        self.may_read.set()
        self.has_ended = trio.Event()


async def _receive(conversation: Conversation) -> bytes:
    try:
        return await conversation.wire.transport.receive_some(conversation.appetite)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return b""


class AllReaders:
    """Each connection to those who can read it: the switchboard (None where there is none), or a task."""

    def __init__(self, tasks: TaskReaders, switchboard: Switchboard | None) -> None:
        self._tasks = tasks
        self._switchboard = switchboard

    def add(self, conversation: Conversation) -> None:
        """Read a client from now on."""
        self._of(conversation).add(conversation)

    def pause(self, conversation: Conversation) -> None:
        """Read it no more for a while."""
        self._of(conversation).pause(conversation)

    def resume(self, conversation: Conversation) -> None:
        """Read it again."""
        self._of(conversation).resume(conversation)

    def remove(self, conversation: Conversation) -> None:
        """Read it no more. Idempotent."""
        self._of(conversation).remove(conversation)

    async def wait_removed(self, conversation: Conversation) -> None:
        """Wait until somebody else may read the connection."""
        await self._of(conversation).wait_removed(conversation)

    def _of(self, conversation: Conversation) -> Readers:
        if self._switchboard is None or conversation.wire.transport.descriptor is None:
            return self._tasks
        return self._switchboard


HAS_EPOLL = hasattr(select, "epoll")
