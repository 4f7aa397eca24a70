"""What one client may send, and when it last did: for those servers that have a limit to either. No I/O, no clock.

Everything that a client sends counts: a WebSocket frame is one of --rate, and its bytes, header and all, are those of
--rate-bytes. So floods of fragments and pings are held back as well. A frame may put --rate-bytes into debt: one of any
size is allowed, as long as those before it are made good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fws_pipe.websocket.frames import Kind, head_at
from fws_pipe.websocket.rates import Rate, RatePolicy, TokenBucket


@dataclass(frozen=True)
class Pace:
    """The rates that every client is held to; None: no limit."""

    frames: Rate | None = None
    bytes: Rate | None = None
    policy: RatePolicy = RatePolicy.WAIT
    """What to do about a client that sends faster."""


class Meter:
    """One client's buckets, and the time of its last message. Times are in seconds, by any clock."""

    __slots__ = ("_buckets", "_bytes", "_frames", "last_message", "policy")

    def __init__(self, pace: Pace, now: float) -> None:
        self._frames = None if pace.frames is None else TokenBucket(pace.frames, now)
        self._bytes = None if pace.bytes is None else TokenBucket(pace.bytes, now)
        self._buckets = [bucket for bucket in (self._frames, self._bytes) if bucket is not None]
        self.policy = pace.policy
        self.last_message = now

    @property
    def is_limited(self) -> bool:
        """Whether there is a rate at all."""
        return bool(self._buckets)

    def room(self, now: float) -> tuple[float, float]:
        """How many whole frames, and how many bytes, it may send now; the last frame may exceed the bytes."""
        frames = math.inf if self._frames is None else math.floor(self._frames.left(now))
        return frames, math.inf if self._bytes is None else self._bytes.left(now)

    def may_send(self, now: float) -> bool:
        """Whether one more frame may come."""
        frames, size = self.room(now)
        return frames >= 1 and size >= 1

    def charge(self, frames: int, size: int) -> None:
        """Note `frames` that have been taken, and their `size` in bytes, as of the last `room`."""
        if self._frames is not None:
            self._frames.spend(frames)
        if self._bytes is not None:
            self._bytes.spend(size)

    def exported(self, now: float) -> list[float | None]:
        """What another process can `restore`: the tokens left of frames and bytes, and how long it has been idle."""
        left = [None if bucket is None else bucket.left(now) for bucket in (self._frames, self._bytes)]
        return [*left, now - self.last_message]

    def restore(self, state: Sequence[float | None], now: float) -> None:
        """Go on where a meter in another process has stopped, as far as both have the same limits."""
        for bucket, tokens in zip((self._frames, self._bytes), state, strict=False):
            if bucket is not None and tokens is not None:
                bucket.restore(tokens)
        self.last_message = now - (state[2] or 0.0)

    def wait_s(self) -> float:
        """Seconds, as of the last `room`, until it is read again; 0: one more frame may come now."""
        return max((bucket.wait_s(max(1.0, bucket.per_second * _PAUSE_S)) for bucket in self._buckets), default=0.0)


_PAUSE_S = 0.05
"""A client that is held to its rate is read this often at the most: a task for each of its frames would cost others."""


def ends_of_messages(block: bytes, position: int, frames: float, size: float) -> list[int]:
    """Where the whole messages at `position` end, each in one frame: at most `frames`, and none beyond `size` bytes."""
    ends: list[int] = []
    begin = position
    while len(ends) < frames and position - begin < size:
        head = head_at(block, position)
        if head.kind is not Kind.MESSAGE:
            break
        position = head.end
        ends.append(position)
    return ends
