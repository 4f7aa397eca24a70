"""A route: a chain's link, with the tasks that read and watch the clients of the chain.

    reception -> a client of this route -> its conversation -> link.feed -> the chain
                                           readers, laggards   (a full chain holds up only its own clients)

Routes share nothing of this, so that a chain that fails or is slow costs the clients of other routes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import quote

import trio

from fws_pipe.clients.client import Client, GateAnswer
from fws_pipe.clients.keep_alive import KeepAlive
from fws_pipe.clients.sender import Load
from fws_pipe.counters import Count, Counters
from fws_pipe.front.limits import Limits
from fws_pipe.http.responses import Refusal
from fws_pipe.http.routes import EVERY_PATH
from fws_pipe.ledger.link import Link, LinkLimits
from fws_pipe.log import Log
from fws_pipe.pipes.ends import Inlet
from fws_pipe.websocket.conversation import Conversation, Readers
from fws_pipe.websocket.readers import EpollReaders, Laggards, SharedWait, TaskReaders, readers_for
from fws_pipe.websocket.rfc6455 import ABNORMAL
from fws_pipe.websocket.wire import Wire


class Surroundings(Protocol):
    """What a route needs of the front."""

    name: str
    """The server's name."""
    counters: Counters
    is_fast: bool

    def spawn(self, task: Callable[[], Awaitable[object]]) -> None:
        """Start a task that may outlive the route."""

    def tell_error(self, error: Exception) -> None:
        """Log an error in the server itself that a connection has met."""

    def leave(self, client: Client) -> None:
        """Take back the place of an admitted client, whose connection has been closed."""


class Route:
    """The clients of one chain. It is the host of their conversations, and serves while `run` runs.

    `pattern` tells its paths (http/routes.py). `shared_wait` is None where there is no epoll.
    """

    def __init__(
        self,
        pattern: str,
        limits: Limits,
        link_limits: LinkLimits,
        front: Surroundings,
        shared_wait: SharedWait | None,
        log: Log,
    ) -> None:
        self.pattern = pattern
        self.max_message = limits.max_message
        self.max_fragments = limits.max_fragments
        self.counters = front.counters
        self.is_fast = front.is_fast
        self._outbox_limit = limits.outbox
        self._front = front
        self._load = Load()
        self.refusal: Refusal | None = None
        """The answer to all new clients; None: they may come in."""
        files_name = _name_of_files(front.name, pattern)
        self.link = Link(front.name, link_limits, self, front.counters, log, files_name)
        feed = self.link.feed
        self.laggards = Laggards(feed, front.tell_error)
        self._epoll_readers = EpollReaders(feed, front.tell_error, shared_wait) if shared_wait is not None else None
        self._task_readers = TaskReaders(feed, self._epoll_readers)
        self._keep_alive = KeepAlive(
            limits.ping_interval, limits.ping_timeout, self.link.clients, lambda: feed.is_full, front.counters
        )
        self._scope = trio.CancelScope()
        self._present = 0
        """The number of admitted clients, with those that wait at the gate."""
        self._left = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Read and watch the clients until `end`."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.laggards.run)
                nursery.start_soon(self._keep_alive.run)
                if self._epoll_readers is not None:
                    nursery.start_soon(self._epoll_readers.run)

    def end(self) -> None:
        """Let `run` return: the clients and the chain have gone."""
        self._scope.cancel()

    # One client.

    def client_of(self, client_id: str, wire: Wire) -> Client:
        """Make a client of this route, which is not admitted yet."""
        return Client(client_id, wire, self._outbox_limit, self._load)

    def note_admitted(self) -> None:
        """Note that a client has been admitted."""
        self._present += 1

    def readers_for(self, wire: Wire) -> Readers:
        """The readers for a connection: those with epoll, or those with a task for each."""
        return readers_for(wire, self._task_readers, self._epoll_readers)

    def tell_error(self, error: Exception) -> None:
        """Log an error in the server itself that a connection has met."""
        self._front.tell_error(error)

    def depart(self, client: Client, code: int, reason: str, *, clean: bool) -> None:
        """Forget a client and tell the chain, once."""
        self.link.depart(client, code, reason, clean=clean)

    def leave(self, client: Client) -> None:
        """Forget a client whose connection has been closed. Called once, last of all."""
        self.link.depart(client, ABNORMAL, "", clean=False)
        self._front.leave(client)
        self._present -= 1
        self._left.unpark_all()

    def let_go(self, conversation: Conversation[Client]) -> None:
        """Another server goes on with a client."""
        conversation.let_go()
        self.link.let_go(conversation.client)
        self._present -= 1
        self._left.unpark_all()

    # What the link needs.

    def spawn(self, task: Callable[[], Awaitable[object]]) -> None:
        """Start a task that may outlive the chain."""
        self._front.spawn(task)

    def begin_turn(self) -> None:
        """Clients are about to find room: resume as many of them at once as one turn has time for."""
        self.laggards.begin_turn()

    async def read_all(self, inlet: Inlet, consume: Callable[[bytes], object]) -> None:
        """Give each block of a pipe to `consume`, until the pipe ends. Raises whatever `consume` raises."""
        if self._epoll_readers is not None and inlet.descriptor is not None:
            await self._epoll_readers.read_pipe(inlet.descriptor, consume)
        else:
            while block := await inlet.read():
                consume(block)

    # All its clients.

    def let_all_go_on(self) -> None:
        """End holds and lift rate limits, so that all messages that were read become events before the end."""
        self.link.resume_all()
        for conversation in list(self.link.conversations.values()):
            conversation.lift_rate()

    async def close(self, refusal: Refusal, code: int, reason: str) -> None:
        """Close the clients with this code and reason, and wait until they are gone.

        Clients at the gate and new ones get `refusal`.
        """
        self.refusal = refusal
        while self._present:
            for client in self.link.clients:
                if client.is_open:
                    client.wire.begin_close(code, reason)
                else:
                    client.answer(GateAnswer(refusal))
            if self._present:  # the last one may have left just now, if a write has found it gone
                await self._left.park()

    def abort_all(self) -> None:
        """End the clients' connections now, and end all waiting for the chain."""
        for client in self.link.clients:
            client.wire.abort()
        self.link.close()

    def counts(self) -> dict[Count, int]:
        """The counts of the link."""
        return {
            Count.CONSUMER_DROPPED: self.link.feed.dropped,
            Count.JOURNAL_FULL: self.link.feed.times_full,
            Count.SUPPRESSED: self.link.progress.suppressed,
            Count.PUBLISHES_LOST: self.link.publishes_lost,
        }


_NAMED_LETTERS = 100


def _name_of_files(server: str, pattern: str) -> str:
    """The part of file names that tells one server's routes apart; of a long pattern only its end."""
    return server if pattern == EVERY_PATH else f"{server}-{quote(pattern, safe='')[-_NAMED_LETTERS:]}"
