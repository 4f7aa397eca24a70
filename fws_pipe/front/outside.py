"""The front's side of the source: what other servers and programs have published comes in, who is here goes out.

Unlike the chain's own actions, what comes in can wait: when the chain is slow the source isn't read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from fws_pipe.front.front import Front
from fws_pipe.front.presence import Presence
from fws_pipe.pipes import Outlet
from fws_pipe.protocol.codec import FrameDecoder, type_of
from fws_pipe.protocol.events import CONSUMER, TICK, consumer_event


class Outside:
    """A `pipeline.supervisor.Exchange` for the source."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._presence = Presence(front.clients)
        self.ready = trio.Event()

    async def write_events(self, pipe: Outlet) -> None:
        """Tell who is here, for ever."""
        await self._presence.run(pipe.write)

    async def execute_all(self, read: Callable[[], Awaitable[bytes]], source: str) -> None:
        """Take what the source sends to its end. Raises FrameError for what isn't frames."""
        decoder = FrameDecoder(source)
        while block := await read():
            decoder.feed(block)
            for frame, _ in decoder:
                kind = type_of(frame)
                if kind == TICK:
                    self.ready.set()
                elif kind == CONSUMER:
                    await self._front.feed.put_from_outside(
                        consumer_event(frame.get("channel"), frame.get("data"), frame.get("origin"))
                    )
                else:
                    self._front.execute(frame)
            self._front.clients.flush()
        decoder.finish()

    def prepare_restart(self, consumed: int) -> tuple[int, int]:
        """The source has died: the next one is told everything again, so nothing is lost and nothing waits."""
        self.ready = trio.Event()
        return 0, 0

    def give_up_on_ticks(self) -> None:
        """The source has not come up yet: the server serves without."""
