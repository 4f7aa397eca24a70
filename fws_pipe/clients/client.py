"""One client: its identity, its groups, and the chain's answer to its handshake."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import trio

from fws_pipe.clients.remembered import Remembered
from fws_pipe.clients.sender import Load, Sender
from fws_pipe.http.responses import Refusal
from fws_pipe.websocket.frames import event_tail
from fws_pipe.websocket.wire import Wire


class Ping(NamedTuple):
    """A ping that was sent at the `check`th keep-alive check, and the last sign of life before it (trio's clock)."""

    since: float
    check: int


class GateAnswer(NamedTuple):
    """The chain's answer to a handshake, with --gate; `refusal` is None where the client is accepted."""

    refusal: Refusal | None
    auth: dict[str, object] | None = None
    subprotocol: str | None = None


class Client(Sender):
    """One connected client, or one whose handshake waits for the chain; for `share_limit` and `load` see Sender."""

    __slots__ = (
        "_answered",
        "addressed",
        "auth",
        "bytes_in",
        "close_code",
        "event_tail",
        "expires",
        "gate_answer",
        "groups",
        "has_ended",
        "id",
        "is_open",
        "messages_in",
        "messages_out",
        "open_event",
        "pinged",
        "remembered",
        "since",
        "subprotocol",
    )

    def __init__(self, client_id: str, wire: Wire, share_limit: int, load: Load | None = None) -> None:
        super().__init__(wire, share_limit, load)
        self.id = client_id
        self.event_tail = event_tail(client_id)
        """The bytes that all its events have in common (websocket/frames.py)."""
        self.groups: set[str] | frozenset[str] = frozenset()
        """The names of its groups; of one that has left, those that it was in."""
        self.remembered: Remembered | None = None
        """What the chain has it remember; None: nothing, ever."""
        self.open_event = b""
        """Its `open` event, as it was written to the chain; snapshots repeat it."""
        self.auth: dict[str, Any] | None = None
        """The claims of its token, or those that the gate has given it; None: there are none."""
        self.expires: float | None = None
        """When its token expires (seconds since the epoch); None: never, or it has none."""
        self.subprotocol: str | None = None
        """The subprotocol that was agreed on; None: none was."""
        self.is_open = False
        """Whether its handshake is complete; with a gate the chain gets its `open` before that."""
        self.has_ended = False
        """Whether the feed takes no event of it any more: it has departed, or its `open` kills the chain."""
        self.gate_answer: GateAnswer | None = None
        """The chain's answer to its handshake; None: there is none yet."""
        self._answered: trio.Event | None = None
        self.since = time.monotonic()
        """When its request had arrived, in seconds of CLOCK_MONOTONIC."""
        self.messages_in = 0
        """How many messages it has sent."""
        self.bytes_in = 0
        """How many bytes of WebSocket frames it has sent; `wire.outbox.written` has those that it was sent."""
        self.messages_out = 0
        """How many messages were queued for it, without those that were dropped again."""
        self.close_code: int | None = None
        """The close code with which it has departed; None: it has not."""
        self.pinged: Ping | None = None
        """The last keep-alive ping; None: there was none."""
        self.addressed = -math.inf
        """The time of the last keep-alive check that found bytes sent to it, or waiting (trio's clock)."""

    def recall(self, values: Mapping[str, Any]) -> None:
        """Remember values that another server had it remember."""
        if values:
            self.remembered = Remembered()
            for name, value in values.items():
                self.remembered.note(name, value, None)

    def join(self, group: str) -> None:
        """Add a group to its groups."""
        self.groups = {*self.groups, group}

    def leave(self, group: str) -> None:
        """Remove a group from its groups."""
        self.groups = self.groups - {group}

    def answer(self, answer: GateAnswer) -> None:
        """Note the chain's answer to its handshake; only the first counts."""
        if not self.is_open and self.gate_answer is None:
            self.gate_answer = answer
            if self._answered is not None:
                self._answered.set()

    async def wait_answered(self) -> None:
        """Wait for the chain's answer to its handshake."""
        self._answered = trio.Event()
        if self.gate_answer is None:
            await self._answered.wait()
