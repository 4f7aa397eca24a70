"""From listening to the exit code.

Start: listen, start what is behind the front, wait until it serves, accept. End (docs/promises.md): stop accepting,
(close clients one after the other, with 1012), let what was read go through, close the clients with 1001, end the
chain's input, wait for the sink. A second signal skips the waiting.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import trio

from fws_pipe.app.backend import Backend
from fws_pipe.app.control_socket import Control
from fws_pipe.app.drain import check_finished, drain
from fws_pipe.app.handing_over import leave
from fws_pipe.app.reloads import Reloads
from fws_pipe.app.signals import watch_signals
from fws_pipe.app.stopping import Stopping
from fws_pipe.app.watchdog import feed_watchdog
from fws_pipe.config.options import Config
from fws_pipe.errors import FrameError, GaveUpError
from fws_pipe.front.front import Front
from fws_pipe.front.listener import accept_all, open_listeners, open_unix_listeners, quiet_libraries, url_of
from fws_pipe.http.handshake import CHAIN_FAILED
from fws_pipe.log import Log
from fws_pipe.pipes.blocks import STDOUT
from fws_pipe.pipes.ends import has_reader
from fws_pipe.system.service_manager import Handover, Notifier
from fws_pipe.system.signals import is_ignored
from fws_pipe.websocket.rfc6455 import INTERNAL_ERROR

_GAVE_UP_S = 2.0
"""How long the clients may take for their Close frames when the chain has failed."""


TakeOver = Callable[[], Awaitable[Sequence[socket.socket]]]
"""Takes over from another server: its clients go on here. Returns its listeners. Raises SystemRefusedError."""


async def serve(
    config: Config,
    front: Front,
    backend: Backend,
    handover: Handover,
    stopping: Stopping,
    reload: Reloads,
    log: Log,
    control: Control | None = None,
    takeover: TakeOver | None = None,
) -> None:
    """Serve until a signal, or until the backend ends. Raises FwsError.

    `takeover` gets the listeners and the clients of another server; None: this one opens its own.
    """
    quiet_libraries()
    minded = [number for number in (signal.SIGINT, signal.SIGHUP) if not is_ignored(number)]
    with trio.open_signal_receiver(signal.SIGTERM, *minded) as signals:
        listeners = [] if takeover else await _open_all(config, handover.listeners)
        async with _closing(listeners), trio.open_nursery() as nursery:
            nursery.start_soon(watch_signals, signals, stopping, config.drain_timeout, backend, front, reload, log)
            nursery.start_soon(feed_watchdog, handover.notifier, front)
            if control is not None:
                nursery.start_soon(control(listeners).run)
            try:
                async with trio.open_nursery() as serving:
                    serving.start_soon(_run_backend, backend, front)
                    serving.start_soon(
                        _accept_and_drain,
                        config,
                        front,
                        backend,
                        listeners,
                        handover.notifier,
                        reload,
                        stopping,
                        log,
                        takeover,
                    )
            finally:
                front.abort_all()
            nursery.cancel_scope.cancel()
    counts = front.statistics().describe()
    log.info("stopped" + (f"; counted {counts}" if counts else ""))
    if not stopping.has_handed_over:
        check_finished(front, backend)


async def _open_all(config: Config, inherited: Sequence[socket.socket]) -> list[socket.socket]:
    """All sockets to listen on: no port beside an inherited or a Unix socket, unless one is named. Raises FwsError."""
    wants_tcp = config.names_tcp or not (config.unix or inherited)
    listeners = [*inherited, *open_unix_listeners(config.unix, config.unix_mode)]
    try:
        return [*listeners, *(await open_listeners(config.host, config.port) if wants_tcp else [])]
    except BaseException:
        for listener in listeners:
            listener.close()
        raise


@contextlib.asynccontextmanager
async def _closing(listeners: Sequence[socket.socket]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for listener in listeners:
            listener.close()


async def _run_backend(backend: Backend, front: Front) -> None:
    try:
        await backend.run()
    except* (GaveUpError, FrameError):
        with trio.move_on_after(_GAVE_UP_S):
            await front.close_all(CHAIN_FAILED, INTERNAL_ERROR, "the server's chain has failed")
        raise


async def _accept_and_drain(
    config: Config,
    front: Front,
    backend: Backend,
    listeners: list[socket.socket],
    notifier: Notifier,
    reload: Reloads,
    stopping: Stopping,
    log: Log,
    takeover: TakeOver | None,
) -> None:
    async with trio.open_nursery() as accepting:
        accepting.start_soon(_cancel_when, stopping, accepting)
        await backend.serving.wait()
        if takeover is not None:
            listeners += await takeover()
            notifier.become_main()
        accepting.start_soon(front.bounds.close_idle)
        accepting.start_soon(front.bounds.bound_memory)
        urls = ", ".join(url_of(listener, front.entrance.has_tls) for listener in listeners)
        silence = "; ".join(backend.silences)  # it is served all the same: what lets no tick through may work
        log.notice(f"listening on {urls}" + (f", although {silence}" if silence else ""))
        if not has_reader(STDOUT):
            log.always('stdout has no reader. If all of "A | B" is the chain, put it in quotes: fws-pipe "A | B"')
        for listener in listeners:
            accepting.start_soon(accept_all, listener, front.serve, log, front.lobby)
        notifier.ready(silence)
        accepting.start_soon(reload.tell_ends)
    if not stopping.has_handed_over:
        notifier.stopping()
    for listener in listeners:
        listener.close()
    if stopping.has_handed_over:
        await leave(front, backend)
    else:
        await drain(config, front, backend, stopping)


async def _cancel_when(stopping: Stopping, nursery: trio.Nursery) -> None:
    await stopping.wait()
    nursery.cancel_scope.cancel()
