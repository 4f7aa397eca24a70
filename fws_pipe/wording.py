"""Numbers in sentences for people: `1 event`, `2 events`. No I/O."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """The count and its noun, singular for 1; `plural` is the form for all other counts, noun + "s" by default."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
