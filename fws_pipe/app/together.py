"""Several backends as one: the chain, the sources and inputs beside it, and the stdout that their stages write on."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from fws_pipe.app.backend import Backend
from fws_pipe.chain.stdout import ServerStdout
from fws_pipe.counters import Count, Counters

_LAST_LINES_S = 2.0
"""How long stdout may take for its last lines when the chain has failed."""


class Together:
    """Several backends as one: the chain, and what is beside it; and the stdout that they write on."""

    def __init__(self, backends: Sequence[Backend], stdout: ServerStdout, counters: Counters) -> None:
        self._backends = backends
        self._stdout = stdout
        self._counters = counters
        self.serving = trio.Event()
        self._deadline: float | None = None
        """When all must have ended, once they are stopped (trio's clock)."""
        self._hurry = trio.Event()

    @property
    def was_cut_off(self) -> bool:
        """Whether one of them was."""
        return any(backend.was_cut_off for backend in self._backends)

    def stop(self, grace_s: float) -> None:
        """Stop them all."""
        self._deadline = trio.current_time() + grace_s
        for backend in self._backends:
            backend.stop(grace_s)

    def expect_stop(self) -> None:
        """Tell them all."""
        for backend in self._backends:
            backend.expect_stop()

    async def wait_taken_in(self) -> None:
        """Wait for all that they have read from outside."""
        for backend in self._backends:
            await backend.wait_taken_in()

    def hurry(self) -> None:
        """Hurry them all."""
        self._hurry.set()
        for backend in self._backends:
            backend.hurry()

    async def run(self) -> None:
        """Run them all. Raises FwsError when one of them can't go on."""
        try:
            async with trio.open_nursery() as watching:
                watching.start_soon(self._announce)
                async with trio.open_nursery() as nursery:
                    for backend in self._backends:
                        nursery.start_soon(backend.run)
                watching.cancel_scope.cancel()  # they may have been stopped before they had served
        finally:
            await self._finish_stdout()

    async def _finish_stdout(self) -> None:
        """Let the reader of stdout have what was written before the end, within the time that is left."""
        left_s = _LAST_LINES_S if self._deadline is None else max(self._deadline - trio.current_time(), 0.0)
        self._counters.add(Count.STDOUT_DROPPED, await self._stdout.finish(left_s, self._hurry))

    async def _announce(self) -> None:
        for backend in self._backends:
            await backend.serving.wait()
        self.serving.set()
