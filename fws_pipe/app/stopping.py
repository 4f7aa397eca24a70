"""The end of the server: what asks for it, and whether the clients are closed at once or over a time."""

from __future__ import annotations

import trio


class Stopping:
    """What has been asked for. `over_s`: the seconds over which the clients are closed, unless `begin` says others."""

    def __init__(self, over_s: float = 0.0) -> None:
        self.over_s = over_s
        """The seconds over which the clients are closed; 0: all at once."""
        self.has_handed_over = False
        """Whether another server has the clients, and the listening sockets."""
        self._begun = trio.Event()
        self._spread: trio.CancelScope | None = None
        """Where the clients are being closed one after the other; None: they aren't."""

    def begin(self, over_s: float | None = None) -> bool:
        """Begin to stop the server, and close its clients over some seconds (None: as configured).

        Returns False if it is stopping already.
        """
        if self.is_set():
            return False
        if over_s is not None:
            self.over_s = over_s
        self._begun.set()
        return True

    def hand_over(self) -> None:
        """End the server since another one has its clients."""
        self.has_handed_over = True
        self._begun.set()

    def is_set(self) -> bool:
        """Whether the server has been asked to end."""
        return self._begun.is_set()

    async def wait(self) -> None:
        """Wait until it is."""
        await self._begun.wait()

    @property
    def is_spreading(self) -> bool:
        """Whether its clients are being closed one after the other, and `hurry` would close the rest."""
        return self._spread is not None

    def spread(self) -> trio.CancelScope:
        """The scope for closing clients one after the other: `hurry` cancels it."""
        self._spread = trio.CancelScope()
        return self._spread

    def end_spread(self) -> None:
        """The clients that are left are closed at once."""
        self._spread = None

    def hurry(self) -> None:
        """Close the clients that are left at once."""
        if self._spread is not None:
            self._spread.cancel()
            self._spread = None
