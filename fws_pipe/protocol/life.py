"""How a filter that waits for something else shows that it lives. No I/O.

A chain that returns no tick for --stall-timeout is taken for one that hangs. What waits deep within a filter, as a
storage does for a Redis that is away, doesn't know how the filter writes its frames; the filter's side says so here.
"""

from __future__ import annotations

from collections.abc import Callable

SHOW_EVERY_S = 1.0
"""How often to show it while waiting, in seconds: the shortest sensible --stall-timeout is some of these."""

_shown_by: list[Callable[[], object]] = []


def show_life_by(show: Callable[[], object]) -> None:
    """From now on `show_life` calls this; it may be called from any thread."""
    _shown_by[:] = [show]


def show_life() -> None:
    """Show that this process lives, if it is a filter that can."""
    for show in _shown_by:
        show()
