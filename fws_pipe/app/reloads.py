"""Tells the service manager when a reload begins and ends, whatever has caused it."""

from __future__ import annotations

import trio

from fws_pipe.app.backend import Reload
from fws_pipe.chain.successor import Outcome
from fws_pipe.system.service_manager import Notifier
from fws_pipe.terminal import one_line


class Reloads:
    """A `Reload` that tells the service manager (Type=notify-reload, systemd.service(5))."""

    def __init__(self, reload: Reload, notifier: Notifier) -> None:
        self._reload = reload
        self._notifier = notifier
        self._under_way: list[Outcome] = []
        self._asked = trio.Event()

    def __call__(self, why: str) -> Outcome:
        """Reload; returns the outcome."""
        self._notifier.reloading()
        outcome = self._reload(why)
        self._under_way.append(outcome)
        self._asked.set()
        return outcome

    async def tell_ends(self) -> None:
        """Tell the manager whenever the last reload under way has ended. To be started once the server is ready."""
        while True:
            await self._asked.wait()
            problem = ""
            while self._under_way:
                problem = await self._under_way.pop(0).wait()
            self._asked = trio.Event()
            self._notifier.ready(f"the last reload was refused: {one_line(problem)}" if problem else "")
