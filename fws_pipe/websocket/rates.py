"""Rates, such as 100/s, and the token bucket that holds somebody to one. No I/O and no clock: who asks brings the time.

A bucket holds as many tokens as the rate names, and fills at that rate; what is taken may put it into debt, by one
taking at most, and then it has nothing until the debt is made good. So over any time no more is taken than the rate
gives, one bucketful, and what the last taking has taken too much.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_LARGEST = 2**40
"""Beyond this a float's steps are no longer small beside one token."""

_SLACK = 1e-3
"""So much of a token is as good as none: a wait that was reckoned in floats must not end just short of its token."""


class RatePolicy(enum.StrEnum):
    """What to do about a client that sends faster than its rate (--rate-policy)."""

    WAIT = "wait"
    """Read it more slowly."""
    CLOSE = "close"
    """Close it, with 1008."""


EXPECTED = "expected a rate such as 100/s, 6000/m (a minute) or 0"


@dataclass(frozen=True)
class Rate:
    """`amount` in `seconds`; as many may come at once."""

    amount: int
    seconds: float = 1.0

    @property
    def per_second(self) -> float:
        """Tokens a second."""
        return self.amount / self.seconds


def split_rate(text: str) -> tuple[str, float]:
    """The amount, as text, and the seconds that it is for; a second where no unit is named. Raises ValueError."""
    found = re.fullmatch(r"\s*([^/\s]+)\s*(?:/\s*([smh])\s*)?", text)
    if found is None:
        raise ValueError(EXPECTED)
    return found[1], _UNITS[found[2] or "s"]


def rate_of(amount: int, seconds: float) -> Rate | None:
    """A rate; None for an amount of 0, which is no limit. Raises ValueError."""
    if amount > _LARGEST:
        raise ValueError(f"expected a rate of {_LARGEST} at most")
    return Rate(amount, seconds) if amount else None


class TokenBucket:
    """Bounds something by a rate. Times are in seconds, by any clock that doesn't go back."""

    __slots__ = ("_as_of", "_capacity", "_per_second", "_tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        self._capacity = float(rate.amount)
        self._per_second = rate.per_second
        self._tokens = self._capacity
        self._as_of = now

    @property
    def per_second(self) -> float:
        """Tokens a second."""
        return self._per_second

    def left(self, now: float) -> float:
        """How many tokens there are; less than none while a debt is being made good."""
        self._tokens = min(self._capacity, self._tokens + (now - self._as_of) * self._per_second)
        self._as_of = now
        return self._tokens + _SLACK

    def restore(self, tokens: float) -> None:
        """Have as many tokens as another bucket had, as of now."""
        self._tokens = min(tokens, self._capacity)

    def spend(self, amount: int) -> None:
        """Take tokens, as of the last `left`."""
        self._tokens -= amount

    def wait_s(self, needed: float) -> float:
        """How long, as of the last `left`, until there are `needed` tokens; 0 when there are, or the bucket is full."""
        missing = min(needed, self._capacity) - self._tokens
        # To the whole token: a wait to where the slack begins would itself end just short of that.
        return missing / self._per_second if missing > _SLACK else 0.0
