"""The interface of what stands behind a front, as the start and the end of the server see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import trio

from fws_pipe.chain.resolver import Command
from fws_pipe.chain.successor import Outcome


class Backend(Protocol):
    """A supervised chain, or the server's own stdin and stdout."""

    serving: trio.Event
    """Set once it has served for the first time."""

    @property
    def was_cut_off(self) -> bool:
        """Whether it was ended before it had finished by itself."""

    @property
    def silences(self) -> list[str]:
        """A clause about each chain that serves although no tick has come back from it."""

    async def run(self) -> None:
        """Run until `stop`. Raises FwsError if it can't go on."""

    def stop(self, grace_s: float) -> None:
        """Finish within `grace_s` seconds."""

    def hurry(self) -> None:
        """End now."""

    def expect_stop(self) -> None:
        """Stop reading from outside: a `stop` follows soon."""

    async def wait_taken_in(self) -> None:
        """Wait until the lines that were read from outside before `expect_stop` are in the feeds."""


ReadChains = Callable[[], Mapping[str, Sequence[Command]]]
"""Reads the present chains, by the patterns of their paths. Raises FwsError."""

Reload = Callable[[str], Outcome]
"""Reloads the chains and the files of secrets, and logs the outcome; the argument names the cause, for the log."""
