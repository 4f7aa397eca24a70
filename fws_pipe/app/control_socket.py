"""Opens the control socket that the configuration asks for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from fws_pipe.app.backend import Reload
from fws_pipe.app.handing_over import HandingOver
from fws_pipe.app.routes import Routes
from fws_pipe.app.stopping import Stopping
from fws_pipe.chain.figures import Reporter
from fws_pipe.config.options import CONTROL_AUTO, CONTROL_OFF, Config
from fws_pipe.control.joints import Joints
from fws_pipe.control.requests import Controls, Requests
from fws_pipe.control.server import ControlServer
from fws_pipe.errors import SystemRefusedError
from fws_pipe.front.front import Front
from fws_pipe.front.listener import Listener, url_of
from fws_pipe.front.unix_socket import UnixListener, listen_unix
from fws_pipe.log import Log, Subject
from fws_pipe.system.runtime_folder import CONTROL_NAME

Control = Callable[[Sequence[Listener]], ControlServer]
"""Makes the control server; the argument gives the listening sockets of the moment."""

_BESIDE = ".new"
"""Behind the path of the control socket of a server that takes over one with the same path."""

_MODE = 0o600
_BACKLOG = 64


@contextlib.contextmanager
def control_listener(config: Config, folder: str | None, log: Log) -> Iterator[UnixListener | None]:
    """Listen for fws-ctl; yields None if there is no control socket. `folder` is the server's own.

    Raises SystemRefusedError only for a path that --control names: the default one isn't needed to serve.
    """
    listener = None
    if config.control == CONTROL_AUTO:
        try:
            path = os.path.join(folder, CONTROL_NAME) if folder else ""
            listener = listen_unix(path, _MODE, _BACKLOG, "--control") if path else None
        except SystemRefusedError as error:
            log.info(f"fws-ctl can't reach this server: {error}")
    elif config.control != CONTROL_OFF:
        is_taken = config.control == config.takeover  # until that server has handed over
        listener = listen_unix(config.control + _BESIDE * is_taken, _MODE, _BACKLOG, "--control")
    try:
        yield listener
    finally:
        if listener is not None:
            listener.close()


def control_of(
    listener: UnixListener,
    front: Front,
    routes: Routes,
    beside: Sequence[Reporter],
    joints: Joints,
    reload: Reload,
    stopping: Stopping,
    log: Log,
) -> Control:
    """A function that makes the control server for a listener. `beside` are the processes beside the chains.

    A drain sets `stopping`.
    """

    def drain(over_s: float | None) -> bool:
        has_begun = stopping.begin(over_s)
        if has_begun:
            over = f"closing the clients over {stopping.over_s:g} s, then " if stopping.over_s else ""
            log.info(f"fws-ctl drain: {over}draining")
        return has_begun

    def control(listeners: Sequence[Listener]) -> ControlServer:
        controls = Controls(
            front,
            routes.chains,
            beside,
            joints,
            lambda: [url_of(each, front.entrance.has_tls) for each in listeners],
            partial(reload, "fws-ctl reload"),
            drain,
            HandingOver(front, routes, listeners, stopping, log).answer,
        )
        return ControlServer(listener, Requests(controls), front.spawn, log.about(Subject.CONTROL))

    return control
