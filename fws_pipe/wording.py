"""Numbers in sentences for people: `1 event`, `2 events`. No I/O."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun in the right number; `plural` is the form for all counts but 1, noun + "s" unless given."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
