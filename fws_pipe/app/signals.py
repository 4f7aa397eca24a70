"""What the server does on SIGTERM, SIGINT and SIGHUP."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

from fws_pipe.app.backend import Backend, Reload
from fws_pipe.app.stopping import Stopping
from fws_pipe.front.front import Front
from fws_pipe.log import Log


async def watch_signals(
    signals: AsyncIterator[int],
    stopping: Stopping,
    drain_timeout: float,
    backend: Backend,
    front: Front,
    reload: Reload,
    log: Log,
) -> None:
    """SIGHUP reloads; the first SIGTERM or SIGINT begins `stopping`, the second ends what is still going on.

    While clients are closed one after the other, a signal closes the rest at once, and the next one is the second.

    `drain_timeout`, in seconds, is only told.
    """
    had_terminal = _has_terminal()
    hurrying = False
    async for number in signals:
        name = signal.Signals(number).name
        if number == signal.SIGHUP and not (had_terminal and not _has_terminal()):
            if stopping.is_set():
                log.always("SIGHUP: too late, the server is stopping")
            else:
                reload(name)
        elif not stopping.is_set():
            over = f"closing the clients over {stopping.over_s:g} s, then " if stopping.over_s else ""
            hint = "closes the rest at once" if stopping.over_s else "stops the server now"
            log.info(f"{name}: {over}draining for up to {drain_timeout:g} s; a second signal {hint}")
            stopping.begin()
        elif stopping.is_spreading:
            log.info(f"{name}: closing the clients that are left, and draining for up to {drain_timeout:g} s")
            stopping.hurry()
        elif not hurrying:
            hurrying = True
            log.info(f"{name} again: stopping now")
            backend.hurry()
            front.abort_all()
            backend.stop(0.0)


def _has_terminal() -> bool:
    """Whether there is a terminal that controls us; when it hangs up (SIGHUP) it is gone (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
