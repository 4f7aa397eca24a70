"""Drains a server in order: messages that were read go through, the clients are closed, the chain finishes.

With --drain-over the clients are closed one after the other before that, so that they don't all come back at once. Each
client is told to wait for that same time. So they return in the order in which they were closed, and the first one
returns when the last one has been closed.
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import replace
from typing import NamedTuple

import trio

from fws_pipe.app.backend import Backend
from fws_pipe.app.stopping import Stopping
from fws_pipe.clients.client import Client
from fws_pipe.config.options import Config
from fws_pipe.counters import Count
from fws_pipe.errors import UnfinishedError
from fws_pipe.front.front import Front
from fws_pipe.front.route import Route
from fws_pipe.http.handshake import CLOSING
from fws_pipe.http.responses import Refusal
from fws_pipe.websocket.rfc6455 import GOING_AWAY, SERVICE_RESTART
from fws_pipe.wording import counted

CHAINS_SHARE_S = 2.0
"""The part of the drain timeout that is left for the chain after the clients have gone."""

_LAGGARDS_SHARE = 0.1
"""The share of the drain timeout for clients with unread messages, since a flood never ends."""

_INPUTS_SHARE = 0.5
"""The share of the drain timeout for lines that inputs have read and the feeds had no room for."""

_HANDSHAKES_SHARE = 0.1
"""Share of the drain timeout for handshakes under way, whose clients are refused in order, and then for files."""


_STEP_S = 0.1
"""The least time between two steps of a spread close: of thousands of clients each step closes many."""

_SETTLE_S = 1.0
"""The time limit of a step for replies to messages that were read, so that a slow chain doesn't stretch the close."""


class Farewell(NamedTuple):
    """The server's last word: `refusal` for handshakes, `code` and `reason` for clients."""

    refusal: Refusal
    code: int
    reason: str


GOODBYE = Farewell(CLOSING, GOING_AWAY, "the server is shutting down")


def see_you_in(seconds: float) -> Farewell:
    """The farewell that tells clients when to come back; docs/operations.md says in which form."""
    hint = math.ceil(seconds)
    refusal = replace(CLOSING, headers=(("Retry-After", str(hint)),))
    return Farewell(refusal, SERVICE_RESTART, f"the server restarts: try again in {hint} s")


async def drain(config: Config, front: Front, backend: Backend, stopping: Stopping) -> None:
    """Close the clients over the time of --drain-over, if any; then, within --drain-timeout, end the rest in order.

    Messages that were read go through, the remaining clients are closed, and the backend stops.
    """
    farewell = see_you_in(stopping.over_s) if stopping.over_s else GOODBYE
    if stopping.over_s and backend.serving.is_set():
        with stopping.spread():
            await _close_over(front, stopping.over_s, farewell)
        stopping.end_spread()
    deadline = trio.current_time() + config.drain_timeout
    backend.expect_stop()
    if backend.serving.is_set():
        # Slow clients must not use up the chain's time.
        with trio.move_on_at(deadline - min(CHAINS_SHARE_S, config.drain_timeout / 2)):
            with trio.move_on_after(config.drain_timeout * _HANDSHAKES_SHARE):
                await front.lobby.wait_empty()
                await front.downloads.wait_empty()
            with trio.move_on_after(config.drain_timeout * _INPUTS_SHARE):
                await backend.wait_taken_in()
            async with trio.open_nursery() as nursery:
                for route in front.open_routes:
                    nursery.start_soon(finish_clients, route, config.drain_timeout, farewell)
    front.abort_all()
    backend.stop(max(deadline - trio.current_time(), 0.0))


async def _close_over(front: Front, over_s: float, farewell: Farewell) -> None:
    """Close the present clients one after the other, over `over_s` seconds.

    Clients whose handshake ends meanwhile stay.
    """
    clients = [client for link in front.links for client in link.clients if client.is_open]
    random.shuffle(clients)  # no route's clients before another's
    waiting = deque(clients)
    end = trio.current_time() + over_s
    while waiting:
        left_s = max(end - trio.current_time(), 0.0)
        count = math.ceil(len(waiting) * min(_STEP_S / left_s, 1.0)) if left_s else len(waiting)
        await trio.sleep(left_s * count / len(waiting))
        with trio.move_on_after(_SETTLE_S):
            for link in front.links:
                await link.feed.wait_settled()  # replies to what has been read go out before the Close frames do
        for _ in range(count):
            _close(waiting.popleft(), farewell)


def _close(client: Client, farewell: Farewell) -> None:
    if not client.has_ended:
        client.wire.begin_close(farewell.code, farewell.reason)


async def finish_clients(route: Route, drain_timeout: float, farewell: Farewell) -> None:
    """Let the messages of a route's clients go through, close the clients, and let the chain hear of that.

    New clients are refused meanwhile.
    """
    route.let_all_go_on()
    with trio.move_on_after(drain_timeout * _LAGGARDS_SHARE):
        await route.laggards.wait_none()
    feed = route.link.feed
    await feed.wait_settled()  # replies to what has been read go out before the Close frames do
    await route.close(*farewell)
    feed.shut_out()  # no client is left for events from outside
    await feed.wait_settled()


_PLURALS = {"event": "events", "publish": "publishes", "line": "lines"}


def check_finished(front: Front, backend: Backend) -> None:
    """Raise UnfinishedError if events, publishes or lines are left unfinished."""
    left = {("event", "that the chain has not finished"): sum(link.feed.unfinished for link in front.links)}
    if backend.was_cut_off:
        untracked = sum(link.feed.untracked for link in front.links)
        left["event", "that the chain, which lets no tick through, may not have read"] = untracked
    left["publish", "that Redis has not confirmed"] = front.own_counts()[Count.PUBLISHES_LOST]
    left["line", "of input that the chain did not get"] = front.counters[Count.LINES_LOST]
    if any(left.values()):
        what = " and ".join(
            f"{counted(count, noun, _PLURALS[noun])} {clause}" for (noun, clause), count in left.items() if count
        )
        raise UnfinishedError(f"stopped with {what}; a longer --drain-timeout gives them more time")
