"""Relays: `send` actions that servers pass to each other through Redis, numbered so that gaps show. No I/O.

    sink of server A: RelaySender -> the servers' channel -> source of each server: RelayReceiver -> its front

Pub/sub is at most once: a server that is away from Redis misses what is published meanwhile. Each sink numbers its
relays from 1 under a random run id, so a receiver counts a gap as missed, within one run. A gap doesn't show where a
run begins or ends in it, or where no relay of that run follows it. For the same reason a receiver knows a relay that it
has had: Redis delivered it, died before it confirmed the publish, and the sink published it again.

Any user of Redis who may publish can forge a relay, so a receiver accepts `send` actions only, checked as a filter's.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

import msgpack

from fws_pipe.protocol.actions import SEND, check_action
from fws_pipe.protocol.codec import Frame, encode, type_of

RELAY = "relay"

_REMEMBERED_ORIGINS = 1000


_NUMBER_LIMIT = 2**63
"""More relays than any server ever sends; a forged number must fit the arithmetic of gaps."""


class MalformedRelayError(Exception):
    """A message on the servers' channel is none that a server writes; the text says why."""


class Relayed(NamedTuple):
    """An action of another server, and the number of actions before it that never arrived."""

    action: Frame
    missed: int


class RelaySender:
    """Numbers the relays of one run of a server's sink. `origin` is the server's run id, which no other server has."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._run = secrets.token_hex(4)
        self._number = 0

    def wrap(self, action: Frame) -> bytes:
        """The message on the servers' channel that carries an action."""
        self._number += 1
        relay = {"type": RELAY, "origin": self._origin, "run": self._run, "number": self._number, "action": action}
        return encode(relay)


class RelayReceiver:
    """Checks relays that arrive, and counts the gaps between them. `origin` is this server's run id."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._last: dict[str, tuple[str, int]] = {}

    def unwrap(self, message: bytes) -> Relayed | None:
        """The `send` in a message; None for this server's own, and for one that has come before.

        Raises MalformedRelayError for anything else.
        """
        try:
            relay = msgpack.unpackb(message, unicode_errors="surrogateescape", strict_map_key=False)
        except (ValueError, TypeError, msgpack.UnpackException):
            raise MalformedRelayError("it is not msgpack") from None
        if not _is_relay(relay):
            raise MalformedRelayError("it is no relayed send")
        if relay["origin"] == self._origin:
            return None
        if problem := check_action(_bare(relay["action"])):
            raise MalformedRelayError(problem)
        run, number = relay["run"], relay["number"]
        last_run, last_number = self._last.get(relay["origin"], ("", 0))
        if run != last_run:
            missed = 0
        elif number > last_number:
            missed = number - last_number - 1
        else:
            return None
        self._note_last(relay["origin"], run, number)
        return Relayed(_bare(relay["action"]), missed)

    def _note_last(self, origin: str, run: str, number: int) -> None:
        self._last.pop(origin, None)
        self._last[origin] = (run, number)
        if len(self._last) > _REMEMBERED_ORIGINS:
            del self._last[next(iter(self._last))]  # the origin that has been silent for longest


def _is_relay(relay: object) -> bool:
    if not isinstance(relay, dict) or relay.get("type") != RELAY or not isinstance(relay.get("action"), dict):
        return False
    if type_of(relay["action"]) != SEND:
        return False
    number = relay.get("number")
    return (
        isinstance(relay.get("origin"), str)
        and isinstance(relay.get("run"), str)
        and type(number) is int
        and 0 < number < _NUMBER_LIMIT
    )


def _bare(action: Frame) -> Frame:
    """The action without the fields that concern only its sender."""
    return {name: value for name, value in action.items() if name not in ("everywhere", "seq")}
