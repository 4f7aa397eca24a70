"""Sends signs of life to the service manager's watchdog while a chain's ticks come back (sd_watchdog_enabled(3)).

So the manager replaces a server that doesn't serve although its process runs: because it is stuck itself, or because
its chain hangs even after `--stall-timeout` has restarted it. With a chain that lets no tick through, the sign only
tells that the server itself runs. With several routes one that lives is enough, since a hung chain is no reason to end
the others.
"""

from __future__ import annotations

import trio

from fws_pipe.front.front import Front
from fws_pipe.system.service_manager import Notifier

_LOOKS = 4
"""Checks of the ticks per timeout of the watchdog."""


async def feed_watchdog(notifier: Notifier, front: Front) -> None:
    """Send signs of life while the chains return ticks, until cancelled; no-op without a watchdog."""
    if not notifier.watchdog_s:
        return
    before = _pulses(front)
    while True:
        for link in front.links:
            link.nudge()  # an idle chain would get its next tick too late for a short timeout
        await trio.sleep(notifier.watchdog_s / _LOOKS)
        now = _pulses(front)
        if now != before or any(link.feed.ticks.are_swallowed for link in front.links):
            notifier.alive()
        before = now


def _pulses(front: Front) -> list[int]:
    return [link.feed.ticks.pulse for link in front.links]
