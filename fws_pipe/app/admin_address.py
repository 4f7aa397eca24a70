"""The admin address that the configuration asks for."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import trio

from fws_pipe.admin.health import Health
from fws_pipe.admin.metrics import Observed
from fws_pipe.admin.operations import Operations
from fws_pipe.admin.server import AdminServer
from fws_pipe.admin.site import Site
from fws_pipe.admin.taps import Taps
from fws_pipe.app.backend import Reload
from fws_pipe.app.stopping import Stopping
from fws_pipe.chain.figures import Reporter
from fws_pipe.config.addresses import AdminAddress
from fws_pipe.config.options import Config
from fws_pipe.control.joints import Joints
from fws_pipe.front.front import Front
from fws_pipe.front.listener import open_listeners, url_of
from fws_pipe.front.unix_socket import listen_unix
from fws_pipe.log import Log

_OPTION = "--admin"
_MODE = 0o600
_BACKLOG = 64


@contextlib.asynccontextmanager
async def admin_listeners(address: AdminAddress | None) -> AsyncIterator[Sequence[socket.socket]]:
    """Listen on the admin address, if there is to be one. Raises SystemRefusedError."""
    listeners: Sequence[socket.socket] = []
    if address is not None and address.path:
        listeners = [listen_unix(address.path, _MODE, _BACKLOG, _OPTION)]
    elif address is not None:
        listeners = await open_listeners([address.host], address.port, _OPTION)
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


def admin_site(
    config: Config,
    front: Front,
    health: Health,
    reporters: Callable[[], Sequence[Reporter]],
    joints: Joints,
    reload: Reload,
    stopping: Stopping,
    log: Log,
) -> Site:
    """What the admin address answers; only over a Unix socket or with --admin-actions it acts, and shows contents."""

    def drain() -> bool:
        has_begun = stopping.begin()
        if has_begun:
            log.info("admin drain: draining")
        return has_begun

    def hears_redis() -> bool:
        return all(served.is_subscribed for served in health.routes() if not served.has_failed)

    observed = Observed(front, reporters, config.slow_client, hears_redis if config.redis else None)
    host = config.admin.host if config.admin else ""
    names = {name.lower() for name in (host, *config.admin_name) if name}
    may_act = config.admin_actions or not host
    taps = Taps(joints, stopping.wait)
    operations = Operations(front, partial(reload, "admin reload"), drain, taps, log.tail)
    return Site(health, observed, operations if may_act else None, names if host else None)


async def serve_admin(listeners: Sequence[socket.socket], server: AdminServer, log: Log) -> None:
    """Answer on these sockets, for ever."""
    if listeners:
        urls = ", ".join(url_of(listener, has_tls=False).replace("ws", "http", 1) for listener in listeners)
        log.notice(f"the admin address is {urls}")
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(server.run, listener)
