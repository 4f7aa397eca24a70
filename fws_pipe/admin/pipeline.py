"""What the live page shows: the chains as they are, the clients, and what waits where. Rates are the page's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from fws_pipe import __version__
from fws_pipe.admin.health import Health
from fws_pipe.admin.metrics import Observed, outbox_bytes
from fws_pipe.chain.figures import figures_of
from fws_pipe.control.joints import Joints
from fws_pipe.control.requests import descriptions, fields_of
from fws_pipe.counters import Gauge, Histogram
from fws_pipe.front.front import Front
from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.events import TICK

MOST_CLIENTS = 200
"""How many clients the page lists."""

_SHOWN = ("id", "path", "remote", "since", "groups", "subprotocol", "open", "outbox")
"""What is told of a client: not its claims, which may be secret."""

_STARTED = time.time()


async def picture(health: Health, observed: Observed, joints: Joints | None) -> dict[str, Any]:
    """The server now, as JSON has it; what isn't known is None. `joints` is None where the page shows only figures."""
    stages = [fields_of(one) for one in await figures_of(observed.reporters())]
    front = observed.front
    traffic, gauges = front.counters.traffic, front.gauges()
    return {
        "name": front.name,
        "version": __version__,
        "started": _STARTED,
        "time": time.time(),
        "problems": _problems(health),
        "may_act": joints is not None,
        "joints": joints.names() if joints is not None else [],
        "clients": gauges[Gauge.CLIENTS],
        "handshakes": gauges[Gauge.HANDSHAKES],
        "journal_bytes": gauges[Gauge.JOURNAL_BYTES],
        "held_bytes": gauges[Gauge.HELD_BYTES],
        "outbox_bytes": outbox_bytes(front),
        "events": sum(count for kind, count in traffic.events.items() if kind != TICK),
        "actions": sum(traffic.actions.values()),
        "chain_s": _mean(traffic.chain_seconds),
        "redis": observed.hears_redis() if observed.hears_redis is not None else None,
        "stages": stages,
        "connected": list(islice(_clients(front), MOST_CLIENTS)),
    }


def _problems(health: Health) -> list[str]:
    problem = health.problem()
    own = [f"{pattern}: {why}" for pattern, why in health.route_problems().items() if why]
    return [*([problem] if problem else []), *own]


def _mean(histogram: Histogram) -> float | None:
    count = sum(histogram.buckets)
    return histogram.total / count if count else None


def _clients(front: Front) -> Iterator[Frame]:
    for link in front.links:
        for described in descriptions(link, iter(link.clients)):
            yield {name: described[name] for name in _SHOWN}
