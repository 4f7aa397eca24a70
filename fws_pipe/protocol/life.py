"""Lets any code in a filter show that the filter lives while it waits. No I/O.

The server restarts a chain that returns no tick for --stall-timeout: it seems to hang. Code deep within a filter, such
as a storage that waits for Redis, doesn't know how the filter writes its frames. So the filter registers here how it
shows life, and that code calls `show_life`.
"""

from __future__ import annotations

from collections.abc import Callable

SHOW_EVERY_S = 1.0
"""How often to call `show_life` while waiting, in seconds: a sensible --stall-timeout is a few times longer."""

_shown_by: list[Callable[[], object]] = []


def show_life_by(show: Callable[[], object]) -> None:
    """Register the function that `show_life` calls, from any thread; it replaces an earlier one."""
    _shown_by[:] = [show]


def show_life() -> None:
    """Show that this process lives; a no-op in a process that has registered no way."""
    for show in _shown_by:
        show()
