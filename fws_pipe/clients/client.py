"""One client: its identity, its groups, and what the chain has answered to its handshake."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import trio

from fws_pipe.clients.sender import Load, Sender
from fws_pipe.http.handshake import Refusal
from fws_pipe.websocket.frames import event_tail
from fws_pipe.websocket.wire import Wire


class Ping(NamedTuple):
    """A ping that was sent at the `check`th keep-alive check, and the last sign of life before it (trio's clock)."""

    since: float
    check: int


class GateAnswer(NamedTuple):
    """What the chain answers to a handshake, with --gate; `refusal` is None when the client may come in."""

    refusal: Refusal | None
    auth: dict[str, object] | None = None
    subprotocol: str | None = None


class Client(Sender):
    """One connection; `share_limit` and `load` as its sender has them."""

    __slots__ = (
        "_answered",
        "addressed",
        "auth",
        "event_tail",
        "gate_answer",
        "groups",
        "has_ended",
        "id",
        "is_open",
        "open_event",
        "pinged",
        "subprotocol",
    )

    def __init__(self, client_id: str, wire: Wire, share_limit: int, load: Load | None = None) -> None:
        super().__init__(wire, share_limit, load)
        self.id = client_id
        self.event_tail = event_tail(client_id)
        """What all its events have in common (frames.py)."""
        self.groups: set[str] | frozenset[str] = frozenset()
        """Those that it is in, or was in when it left."""
        self.open_event = b""
        """The `open` that told the chain of this client, as it was written; repeated in snapshots."""
        self.auth: dict[str, Any] | None = None
        """Who it is, as far as anybody has found out."""
        self.subprotocol: str | None = None
        """What it speaks within WebSocket; None: nothing has been agreed on."""
        self.is_open = False
        """Whether its handshake is over; with a gate the chain knows of it before."""
        self.has_ended = False
        """Whether the feed takes no event of it any more: it has departed, or its `open` kills the chain."""
        self.gate_answer: GateAnswer | None = None
        """The chain's answer to its handshake, once there is one."""
        self._answered: trio.Event | None = None
        self.pinged: Ping | None = None
        """The last ping."""
        self.addressed = -math.inf
        """When the keep-alive last saw that something had been sent to it, or waited for that (trio's clock)."""

    def join(self, group: str) -> None:
        """Note that it is in a group."""
        self.groups = {*self.groups, group}

    def leave(self, group: str) -> None:
        """Note that it is in a group no more."""
        self.groups = self.groups - {group}

    def answer(self, answer: GateAnswer) -> None:
        """Note what the chain answers to its handshake; the first answer counts."""
        if not self.is_open and self.gate_answer is None:
            self.gate_answer = answer
            if self._answered is not None:
                self._answered.set()

    async def wait_answered(self) -> None:
        """Wait for the chain's answer."""
        self._answered = trio.Event()
        if self.gate_answer is None:
            await self._answered.wait()
