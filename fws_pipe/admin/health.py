"""Whether the server is ready for clients, and why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fws_pipe.front.route import Route

LATE_TICK_S = 30.0
"""How long a tick may be under way: a chain at work on a whole batch at 50 ms an event takes 26 s."""


class ServedRoute(Protocol):
    """A route and what stands behind it."""

    route: Route
    has_failed: bool

    @property
    def is_subscribed(self) -> bool:
        """Whether its sources hear what is published."""


@dataclass(frozen=True)
class Health:
    """What readiness depends on."""

    routes: Callable[[], Sequence[ServedRoute]]
    """Those of now, also where their chain has failed."""
    is_serving: Callable[[], bool]
    """Whether the server has begun to accept clients."""
    is_stopping: Callable[[], bool]
    """Whether it drains."""

    def problem(self) -> str | None:
        """Why the server as a whole takes no clients; None: it does."""
        if self.is_stopping():
            return "the server is draining"
        return None if self.is_serving() else "the server is starting"

    def route_problems(self) -> dict[str, str | None]:
        """Why each route, by its pattern, takes no clients; None: it does."""
        return {served.route.pattern: route_problem(served) for served in self.routes()}


def route_problem(served: ServedRoute) -> str | None:
    """Why a route takes no clients, or serves them badly; None: it is ready."""
    ticks = served.route.link.feed.ticks
    if served.has_failed:
        return "its chain has failed"
    if not ticks.ready.is_set():
        return "its chain has not returned its first tick"
    if ticks.oldest_age_s > LATE_TICK_S:
        return f"its chain has not returned a tick for {ticks.oldest_age_s:.0f} s"
    return None if served.is_subscribed else "it does not hear Redis"
