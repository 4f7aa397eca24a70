"""The end of a server, in order: what was read goes through, the clients are closed, the chain finishes."""

from __future__ import annotations

import trio

from fws_pipe.app.backend import Backend
from fws_pipe.config.options import Config
from fws_pipe.counters import Count
from fws_pipe.errors import UnfinishedError
from fws_pipe.front.front import Front
from fws_pipe.websocket.rfc6455 import GOING_AWAY
from fws_pipe.wording import counted

_CHAINS_SHARE_S = 2.0
"""How much of the drain timeout is left for the chain to finish after the clients have gone."""

_LAGGARDS_SHARE = 0.1
"""Share of the drain timeout for clients that have sent more than is dealt with at once: a flood never ends."""

_INPUTS_SHARE = 0.1
"""Share of the drain timeout for lines that inputs have read and for which the chain has no room yet."""

_HANDSHAKES_SHARE = 0.1
"""Share of the drain timeout for the handshakes under way, so that their clients are refused in order."""


async def drain(config: Config, front: Front, backend: Backend) -> None:
    """Let everything that was read go through, close the clients, and stop the backend, within --drain-timeout."""
    deadline = trio.current_time() + config.drain_timeout
    backend.expect_stop()
    if backend.serving.is_set():
        # Clients that take all their time must not take the chain's.
        with trio.move_on_at(deadline - min(_CHAINS_SHARE_S, config.drain_timeout / 2)):
            with trio.move_on_after(config.drain_timeout * _HANDSHAKES_SHARE):
                await front.lobby.wait_empty()
            front.let_all_go_on()
            with trio.move_on_after(config.drain_timeout * _LAGGARDS_SHARE):
                await front.laggards.wait_none()
            with trio.move_on_after(config.drain_timeout * _INPUTS_SHARE):
                await backend.wait_taken_in()
            # Replies to what has been read go out before the Close frames do.
            await front.link.feed.wait_settled()
            await front.close_all(GOING_AWAY, "the server is shutting down")
            front.link.feed.shut_out()  # no client is left to hear it
            await front.link.feed.wait_settled()
    front.abort_all()
    backend.stop(max(deadline - trio.current_time(), 0.0))


_PLURALS = {"event": "events", "publish": "publishes", "line": "lines"}


def check_finished(front: Front, backend: Backend) -> None:
    """Raise UnfinishedError where anything is left undone."""
    left = {("event", "that the chain has not finished"): front.link.feed.unfinished}
    if backend.was_cut_off:
        left["event", "that the chain, which lets no tick through, may not have read"] = front.link.feed.untracked
    left["publish", "that Redis has not confirmed"] = front.counters[Count.PUBLISHES_LOST]
    left["line", "of input that the chain has not got"] = front.counters[Count.LINES_LOST]
    if any(left.values()):
        what = " and ".join(
            f"{counted(count, noun, _PLURALS[noun])} {clause}" for (noun, clause), count in left.items() if count
        )
        raise UnfinishedError(f"stopped with {what}; --drain-timeout says how long that may take")
