"""Accounts for every message: who said what, who heard it, and whether that is as it must be. No I/O but the time.

What must hold, for each sender and each of those who listen to it:

- a listener that was there when a message was said hears it, and all behind it as long as it stays: the numbers that it
  hears of a sender rise by one;
- who has stayed to the end has heard the last message of each sender. Of one that was reset nobody knows how much the
  server had read: it must be the same for all who listened to the end;
- a message may be heard twice in a row, where it was in flight when the chain died: at most one message a death.
"""

from __future__ import annotations

import enum
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

EVERYWHERE = -1
"""The room of a listener to all rooms."""

OUTSIDE = -1
"""The sender that publishes in Redis, for clients to hear."""

POISONER = 0
"""The sender of what kills the chain, which our subscriber may hear, if the chain had published it before."""

POISON = "POISON"
"""The end of what it says."""

_MAY_BE_MISSED = (OUTSIDE, POISONER)
"""Only their order counts."""


class Message(NamedTuple):
    """What a sender says for the `number`th time, from 1 on."""

    sender: int
    number: int

    def __str__(self) -> str:
        return f"message {self.number} of {self.sender}"


def compose(message: Message, padding: str = "") -> bytes:
    """A message as it travels, in ASCII: its checksum first."""
    rest = f"{message.sender} {message.number} {padding}".encode()
    return b"%08x %b" % (zlib.crc32(rest), rest)


def parse(payload: bytes) -> Message:
    """The message that has travelled. Raises ValueError for one that was damaged."""
    checksum, _, rest = payload.partition(b" ")
    if int(checksum, 16) != zlib.crc32(rest):
        raise ValueError(f"a wrong checksum: {payload[:80]!r}")
    sender, number, _ = rest.split(b" ", 2)
    return Message(int(sender), int(number))


class Ending(enum.Enum):
    """How a sender has ended."""

    HERE = enum.auto()
    """It is still there."""
    LEFT = enum.auto()
    """With a Close frame behind all that it said."""
    RESET = enum.auto()
    """With a TCP reset: what the server had not read by then is nobody's fault."""


@dataclass
class Sender:
    """What one has said."""

    number: int
    room: int
    said: int = 0
    ending: Ending = Ending.HERE


@dataclass
class Heard:
    """The numbers that a listener has heard of one sender: all from `first` to `last`."""

    first: int
    last: int


class Problem(NamedTuple):
    """What does not hold, and when it was noticed (time.monotonic); None: in the end."""

    text: str
    when: float | None = None


@dataclass
class Listener:
    """What one has heard. `owed_from`: what each sender had said before, None as long as nothing is owed to it."""

    name: str
    room: int
    owed_from: Mapping[int, int] | None = None
    is_here: bool = True
    heard: dict[int, Heard] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    repeated: list[Message] = field(default_factory=list)
    messages: int = 0
    missed: int = 0
    """Of those that may be."""

    def hear(self, payload: bytes) -> Message | None:
        """Note what has come; None for what makes no sense."""
        try:
            message = parse(payload)
        except ValueError as error:
            self.complain(f"got what nobody has said: {error}")
            return None
        self.messages += 1
        heard = self.heard.get(message.sender)
        if heard is None:
            self.heard[message.sender] = Heard(message.number, message.number)
        elif message.number == heard.last + 1:
            heard.last = message.number
        elif message.number == heard.last:
            self.repeated.append(message)
        elif message.number < heard.last:
            self.complain(f"heard {message} after {heard.last}")
        elif message.sender in _MAY_BE_MISSED:
            self.missed += message.number - heard.last - 1
            heard.last = message.number
        else:
            self.complain(f"heard {message} after {heard.last}: those between are missing")
            heard.last = message.number
        return message

    def complain(self, text: str) -> None:
        """Note what is wrong, and when."""
        self.problems.append(Problem(f"{self.name} {text}", time.monotonic()))

    def last_of(self, sender: int) -> int:
        """The last number that it has heard of a sender; 0: none."""
        heard = self.heard.get(sender)
        return heard.last if heard else 0


def find_problems(senders: Collection[Sender], listeners: Sequence[Listener], deaths: int) -> list[Problem]:
    """What is missing, doubled or out of order, when everything has come that will; `deaths` of the chain."""
    problems = [problem for listener in listeners for problem in listener.problems]
    rooms: dict[int, list[Listener]] = {}
    for listener in listeners:
        rooms.setdefault(listener.room, []).append(listener)
    for sender in senders:
        audience = rooms.get(sender.room, []) + rooms.get(EVERYWHERE, [])
        problems += map(Problem, _problems_of(sender, audience))
    repeated = {message for listener in listeners for message in listener.repeated}
    if len(repeated) > deaths:
        some = ", ".join(map(str, sorted(repeated)[:10]))
        problems.append(Problem(f"{len(repeated)} messages came twice, but the chain died {deaths} times: {some}"))
    return problems


def _problems_of(sender: Sender, audience: Sequence[Listener]) -> list[str]:
    problems = []
    is_reset = sender.ending is Ending.RESET
    final = max((listener.last_of(sender.number) for listener in audience), default=0) if is_reset else sender.said
    if final > sender.said:
        problems.append(f"{sender.number} has said {sender.said} messages, and somebody heard {final}")
    for listener in audience:
        if listener.owed_from is not None:
            problems += _debts(sender, listener, listener.owed_from.get(sender.number, 0), final)
        elif listener.is_here:
            problems.append(f"{listener.name} is here and has never heard itself")
            break
    return problems


def _debts(sender: Sender, listener: Listener, owed_from: int, final: int) -> list[str]:
    heard = listener.heard.get(sender.number)
    problems = []
    if heard is not None and heard.first > owed_from + 1:
        problems.append(f"{listener.name} missed messages {owed_from + 1} to {heard.first - 1} of {sender.number}")
    last = heard.last if heard else owed_from
    if listener.is_here and last < final:
        whose = f"{sender.number}, which is {sender.ending.name}"
        problems.append(f"{listener.name} missed messages {last + 1} to {final} of {whose}")
    return problems
