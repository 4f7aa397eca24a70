"""The end of a server, in order: what was read goes through, the clients are closed, the chain finishes."""

from __future__ import annotations

import trio

from fws_pipe.app.backend import Backend
from fws_pipe.config.options import Config
from fws_pipe.counters import Count
from fws_pipe.errors import UnfinishedError
from fws_pipe.front.front import Front
from fws_pipe.front.route import Route
from fws_pipe.http.handshake import CLOSING, Refusal
from fws_pipe.websocket.rfc6455 import GOING_AWAY
from fws_pipe.wording import counted

CHAINS_SHARE_S = 2.0
"""How much of the drain timeout is left for the chain to finish after the clients have gone."""

_LAGGARDS_SHARE = 0.1
"""Share of the drain timeout for clients that have sent more than is dealt with at once: a flood never ends."""

_INPUTS_SHARE = 0.5
"""Share of the drain timeout for lines that inputs have read and for which the chain has no room yet."""

_HANDSHAKES_SHARE = 0.1
"""Share of the drain timeout for the handshakes under way, so that their clients are refused in order."""


_REASON = "the server is shutting down"


async def drain(config: Config, front: Front, backend: Backend) -> None:
    """Let everything that was read go through, close the clients, and stop the backend, within --drain-timeout."""
    deadline = trio.current_time() + config.drain_timeout
    backend.expect_stop()
    if backend.serving.is_set():
        # Clients that take all their time must not take the chain's.
        with trio.move_on_at(deadline - min(CHAINS_SHARE_S, config.drain_timeout / 2)):
            with trio.move_on_after(config.drain_timeout * _HANDSHAKES_SHARE):
                await front.lobby.wait_empty()
            with trio.move_on_after(config.drain_timeout * _INPUTS_SHARE):
                await backend.wait_taken_in()
            async with trio.open_nursery() as nursery:
                for route in front.open_routes:
                    nursery.start_soon(finish_clients, route, config.drain_timeout, CLOSING, _REASON)
    front.abort_all()
    backend.stop(max(deadline - trio.current_time(), 0.0))


async def finish_clients(route: Route, drain_timeout: float, refusal: Refusal, reason: str) -> None:
    """Let what a route's clients have sent go through, close them with 1001, and let the chain hear of that.

    Clients that come meanwhile are refused.
    """
    route.let_all_go_on()
    with trio.move_on_after(drain_timeout * _LAGGARDS_SHARE):
        await route.laggards.wait_none()
    feed = route.link.feed
    await feed.wait_settled()  # replies to what has been read go out before the Close frames do
    await route.close(refusal, GOING_AWAY, reason)
    feed.shut_out()  # no client is left to hear it
    await feed.wait_settled()


_PLURALS = {"event": "events", "publish": "publishes", "line": "lines"}


def check_finished(front: Front, backend: Backend) -> None:
    """Raise UnfinishedError where anything is left undone."""
    left = {("event", "that the chain has not finished"): sum(link.feed.unfinished for link in front.links)}
    if backend.was_cut_off:
        untracked = sum(link.feed.untracked for link in front.links)
        left["event", "that the chain, which lets no tick through, may not have read"] = untracked
    left["publish", "that Redis has not confirmed"] = front.statistics().counts[Count.PUBLISHES_LOST]
    left["line", "of input that the chain has not got"] = front.counters[Count.LINES_LOST]
    if any(left.values()):
        what = " and ".join(
            f"{counted(count, noun, _PLURALS[noun])} {clause}" for (noun, clause), count in left.items() if count
        )
        raise UnfinishedError(f"stopped with {what}; --drain-timeout says how long that may take")
