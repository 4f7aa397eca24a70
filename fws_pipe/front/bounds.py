"""Closes clients that exceed what can only be seen over time, or of all of them together: idleness and memory."""

from __future__ import annotations

import math
from collections.abc import Set

import trio

from fws_pipe.clients.keep_alive import CHECKS
from fws_pipe.clients.memory import SWEEP_S, greediest
from fws_pipe.clients.registry import weight_of_group
from fws_pipe.counters import Count, Counters
from fws_pipe.front.limits import Limits
from fws_pipe.ledger.link import Link
from fws_pipe.log import Log
from fws_pipe.websocket.rfc6455 import GOING_AWAY, POLICY_VIOLATION, TRY_AGAIN_LATER
from fws_pipe.websocket.wire import Wire


class Bounds:
    """Holds the clients of a link to the limits; `wires` are all connections, also those that are no clients yet."""

    def __init__(self, limits: Limits, link: Link, wires: Set[Wire], counters: Counters, log: Log) -> None:
        self._limits = limits
        self._link = link
        self._wires = wires
        self._counters = counters
        self._log = log

    async def close_idle(self) -> None:
        """Close clients that have sent no message for the idle timeout, as long as it is them whom we wait for."""
        timeout = self._limits.idle_timeout
        last_full = -math.inf
        while timeout > 0:
            await trio.sleep(timeout / CHECKS)
            now = trio.current_time()
            if self._link.feed.is_full:
                last_full = now
            for conversation in list(self._link.conversations.values()):
                wire, meter = conversation.wire, conversation.meter
                is_idle = meter is not None and now - max(meter.last_message, last_full) >= timeout
                if is_idle and wire.waiting_since is not None and not wire.is_closing:
                    self._counters.add(Count.IDLE)
                    wire.begin_close(GOING_AWAY, f"no message for {timeout:g} s")

    async def bound_memory(self) -> None:
        """Close clients that take too long for a message, and those that hold most when all hold too much."""
        patience = self._limits.message_timeout / SWEEP_S
        while True:
            await trio.sleep(SWEEP_S)
            for conversation in [] if self._link.feed.is_full else list(self._link.conversations.values()):
                if 0 < patience < conversation.sweep():
                    self._fail_unfinished(conversation.wire)
            if 0 < self._limits.memory < self.held():
                self._close_greediest()

    def _fail_unfinished(self, wire: Wire) -> None:
        if not wire.is_closing:
            self._counters.add(Count.MESSAGE_TOO_SLOW)
            wire.fail(POLICY_VIOLATION, f"a message may take {self._limits.message_timeout:g} s to arrive")

    def held(self) -> int:
        """About how much memory all that clients hold takes, in bytes."""
        begun = sum(conversation.weight for conversation in self._link.conversations.values())
        return begun + sum(wire.weight for wire in self._wires) + self._link.clients.groups_weight

    def _close_greediest(self) -> None:
        conversations = {conversation.wire: conversation for conversation in self._link.conversations.values()}

        def weight_of(wire: Wire) -> int:
            conversation = conversations.get(wire)
            if conversation is None:
                return wire.weight
            return wire.weight + conversation.weight + sum(map(weight_of_group, conversation.client.groups))

        if not self._counters[Count.MEMORY_FULL]:
            self._log.always(
                f"clients hold more than --memory-limit, {self._limits.memory} bytes: "
                "those that hold most are closed with 1013; further ones are only counted"
            )
        for wire in greediest(((wire, weight_of(wire)) for wire in self._wires), self._limits.memory):
            self._counters.add(Count.MEMORY_FULL)
            if wire in conversations and not wire.is_closing:
                wire.outbox.drop_unstarted()
                wire.fail(TRY_AGAIN_LATER, "the server has no memory left for what you send, or don't read")
            else:
                wire.abort()
