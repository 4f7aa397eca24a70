"""Several backends as one: the routes and the inputs beside them, with the stdout that they share."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from fws_pipe.app.backend import Backend
from fws_pipe.chain.stdout import ServerStdout
from fws_pipe.counters import Count, Counters

_LAST_LINES_S = 2.0
"""The time limit for the last lines on stdout when the chain has failed."""


class Together:
    """Several backends as one (`backend.Backend`), with the stdout that they share."""

    def __init__(self, backends: Sequence[Backend], stdout: ServerStdout, counters: Counters) -> None:
        self._backends = backends
        self._stdout = stdout
        self._counters = counters
        self.serving = trio.Event()
        self._deadline: float | None = None
        """The time at which all must have ended (trio's clock); None: they aren't stopped."""
        self._hurry = trio.Event()

    @property
    def was_cut_off(self) -> bool:
        """Whether any of them was cut off."""
        return any(backend.was_cut_off for backend in self._backends)

    @property
    def silences(self) -> list[str]:
        """Those of all."""
        return [clause for backend in self._backends for clause in backend.silences]

    def stop(self, grace_s: float) -> None:
        """Finish all backends within `grace_s` seconds."""
        self._deadline = trio.current_time() + grace_s
        for backend in self._backends:
            backend.stop(grace_s)

    def expect_stop(self) -> None:
        """Prepare all backends for a `stop` that follows soon."""
        for backend in self._backends:
            backend.expect_stop()

    async def wait_taken_in(self) -> None:
        """Wait until the lines that they have read from outside are in the feeds."""
        for backend in self._backends:
            await backend.wait_taken_in()

    def hurry(self) -> None:
        """End all backends now."""
        self._hurry.set()
        for backend in self._backends:
            backend.hurry()

    async def run(self) -> None:
        """Run all backends. Raises FwsError if one of them can't go on."""
        try:
            async with trio.open_nursery() as watching:
                watching.start_soon(self._announce)
                async with trio.open_nursery() as nursery:
                    for backend in self._backends:
                        nursery.start_soon(backend.run)
                watching.cancel_scope.cancel()  # they may have been stopped before they served
        finally:
            await self._finish_stdout()

    async def _finish_stdout(self) -> None:
        """Write the remaining lines to stdout, within the time that is left."""
        left_s = _LAST_LINES_S if self._deadline is None else max(self._deadline - trio.current_time(), 0.0)
        self._counters.add(Count.STDOUT_DROPPED, await self._stdout.finish(left_s, self._hurry))

    async def _announce(self) -> None:
        for backend in self._backends:
            await backend.serving.wait()
        self.serving.set()
