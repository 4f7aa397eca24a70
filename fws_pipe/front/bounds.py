"""Closes clients that exceed the limits which only show over time, or over all clients: idleness and memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Set

import trio

from fws_pipe.clients.client import Client
from fws_pipe.clients.keep_alive import CHECKS
from fws_pipe.clients.memory import SWEEP_S, greediest
from fws_pipe.clients.registry import weight_of_group
from fws_pipe.counters import Count, Counters
from fws_pipe.front.limits import Limits
from fws_pipe.ledger.link import Link
from fws_pipe.log import Log
from fws_pipe.websocket.conversation import Conversation
from fws_pipe.websocket.rfc6455 import GOING_AWAY, POLICY_VIOLATION, TRY_AGAIN_LATER
from fws_pipe.websocket.wire import Wire


class Bounds:
    """Holds the clients of all links to the limits. `wires` are all connections, with those under handshake."""

    def __init__(
        self, limits: Limits, links: Callable[[], Iterable[Link]], wires: Set[Wire], counters: Counters, log: Log
    ) -> None:
        self._limits = limits
        self._links = links
        self._wires = wires
        self._counters = counters
        self._log = log

    async def close_idle(self) -> None:
        """Close clients that have sent no message for the idle timeout while the server was reading them."""
        timeout = self._limits.idle_timeout
        last_full: dict[Link, float] = {}
        while timeout > 0:
            await trio.sleep(timeout / CHECKS)
            now = trio.current_time()
            last_full = {link: now if link.feed.is_full else last_full.get(link, -math.inf) for link in self._links()}
            for link, since in last_full.items():
                self._close_idle_since(link, since, now)

    def _close_idle_since(self, link: Link, last_full: float, now: float) -> None:
        """Close the idle clients of a chain that was last full at `last_full`, when the server did not read them."""
        timeout = self._limits.idle_timeout
        for conversation in _all_of(link):
            wire, meter = conversation.wire, conversation.meter
            is_idle = meter is not None and now - max(meter.last_message, last_full) >= timeout
            if is_idle and wire.waiting_since is not None and not wire.is_closing:
                self._counters.add(Count.IDLE)
                wire.begin_close(GOING_AWAY, f"no message for {timeout:g} s")

    async def bound_memory(self) -> None:
        """Close clients that take too long to send a message, and, over the memory limit, those that hold most."""
        patience = self._limits.message_timeout / SWEEP_S
        while True:
            await trio.sleep(SWEEP_S)
            for conversation in [each for link in self._links() if not link.feed.is_full for each in _all_of(link)]:
                sweeps = conversation.sweep()  # always, since it also notices clients that have gone while on hold
                if 0 < patience < sweeps:
                    self._fail_unfinished(conversation.wire)
            if 0 < self._limits.memory < self.held():
                self._close_greediest()

    def _fail_unfinished(self, wire: Wire) -> None:
        if not wire.is_closing:
            self._counters.add(Count.MESSAGE_TOO_SLOW)
            wire.fail(POLICY_VIOLATION, f"a message may take {self._limits.message_timeout:g} s to arrive")

    def held(self) -> int:
        """The memory that all clients hold, roughly, in bytes."""
        begun = sum(conversation.weight for link in self._links() for conversation in _all_of(link))
        groups = sum(link.clients.groups_weight for link in self._links())
        remembered = sum(_weight_of_remembered(each) for link in self._links() for each in _all_of(link))
        return begun + sum(wire.weight for wire in self._wires) + groups + remembered

    def _close_greediest(self) -> None:
        conversations = {conversation.wire: conversation for link in self._links() for conversation in _all_of(link)}

        def weight_of(wire: Wire) -> int:
            conversation = conversations.get(wire)
            if conversation is None:
                return wire.weight
            groups = sum(map(weight_of_group, conversation.client.groups))
            return wire.weight + conversation.weight + groups + _weight_of_remembered(conversation)

        if not self._counters[Count.MEMORY_FULL]:
            self._log.always(
                f"clients hold more than --memory-limit, {self._limits.memory} bytes: "
                "closing those that hold most with 1013; further ones are only counted"
            )
        for wire in greediest(((wire, weight_of(wire)) for wire in self._wires), self._limits.memory):
            self._counters.add(Count.MEMORY_FULL)
            if wire in conversations and not wire.is_closing:
                wire.outbox.drop_unstarted()
                wire.fail(TRY_AGAIN_LATER, "the server is short of memory, and this client holds most of it")
            else:
                wire.abort()


def _weight_of_remembered(conversation: Conversation[Client]) -> int:
    remembered = conversation.client.remembered
    return remembered.weight if remembered is not None else 0


def _all_of(link: Link) -> list[Conversation[Client]]:
    return list(link.conversations.values())
