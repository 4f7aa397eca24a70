"""The service manager's watchdog gets a sign of life while the chain's ticks come back (sd_watchdog_enabled(3)).

So the manager replaces a server that doesn't serve although its process runs: one that is stuck itself, and one whose
chain hangs even after `--stall-timeout` has restarted it. A chain that lets no tick through can't be watched in this
way: then the server's own work is the sign. Of several routes one will do, since a chain that hangs is no reason to end
the others.
"""

from __future__ import annotations

import trio

from fws_pipe.front.front import Front
from fws_pipe.system.service_manager import Notifier

_LOOKS = 4
"""How often within the watchdog's timeout the ticks are looked at."""


async def feed_watchdog(notifier: Notifier, front: Front) -> None:
    """Tell the watchdog for ever while the chains return ticks; no-op where there is no watchdog."""
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
