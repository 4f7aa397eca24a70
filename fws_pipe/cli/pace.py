"""The pace of a replay: times in a recording, and the factor of --speed."""

from __future__ import annotations

import argparse
import math
from typing import TypeGuard

_SLOWEST, _FASTEST = 1e-3, 1e6


def parse_speed(text: str) -> float:
    """The factor of --speed, from 0.001 to 1,000,000. Raises ArgumentTypeError."""
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not _SLOWEST <= speed <= _FASTEST:
        raise argparse.ArgumentTypeError(f"expected a factor above 0, such as 1 or 0.5 (0.001 to 1000000), got {text}")
    return speed


def is_moment(value: object) -> TypeGuard[float]:
    """Whether a frame's `time` is one, in seconds since the epoch."""
    return isinstance(value, (int, float)) and 0 <= value < 1e11
