"""Finds a server's control socket and asks it, with a deadline for everything: used by fws-ctl and fws-top."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import socket
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fws_pipe.errors import FrameError, FwsError, SystemRefusedError, UsageError
from fws_pipe.protocol.codec import BLOCK_BYTES, Frame, FrameDecoder, encode, type_of
from fws_pipe.protocol.control import DONE, REFUSED, REQUEST_LIMIT_BYTES, STATUS
from fws_pipe.system.runtime_folder import control_sockets
from fws_pipe.wording import counted

_LOOK_S = 1.0
"""How long one of several servers may take to say which it is."""

_ENDED = "the server has ended the connection"

EXIT_SEVERAL = 4

WINDOW = 64
"""How many requests may be without an answer: the answers fit into the socket, so neither side waits for the other."""


class RefusedRequestError(FwsError):
    """The server can't do what it was asked for."""

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


class SeveralServersError(FwsError):
    """Several servers run, and the command line does not say which is meant."""

    exit_code = EXIT_SEVERAL


class ControlClient:
    """A connection to a server's control socket. Raises SystemRefusedError when the server is gone, or too slow."""

    def __init__(self, path: str, timeout_s: float) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._decoder = FrameDecoder("the server")
        self._frames: Iterator[Frame] = iter(())
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        with self._told(f"no server answers at {path}"):
            self._socket.connect(path)

    def write(self, request: Frame) -> None:
        """Write a request. Raises UsageError when it is too large."""
        raw = encode(request)
        if len(raw) > REQUEST_LIMIT_BYTES:
            raise UsageError(f"a message of {len(raw)} bytes is over the limit of {REQUEST_LIMIT_BYTES}")
        with self._told(_ENDED):
            self._socket.sendall(raw)

    def answers(self) -> Iterator[Frame]:
        """Yield the frames of the next answer but the last. Raises RefusedRequestError."""
        while True:
            frame = self._next()
            if frame is None:
                raise SystemRefusedError("the server has ended without an answer")
            if type_of(frame) == REFUSED:
                raise RefusedRequestError(str(frame["reason"]), int(frame["code"]))
            if type_of(frame) == DONE:
                return
            yield frame

    def ask(self, request: Frame) -> list[Frame]:
        """Write a request, and return the frames of its answer. Raises RefusedRequestError."""
        self.write(request)
        return list(self.answers())

    def stream(self) -> Iterator[tuple[Frame, bytes]]:
        """Yield frames and their bytes as they come, for as long as the server writes them."""
        self._socket.settimeout(None)
        while (frame := self._next()) is not None:
            yield frame, self._decoder.raw()

    def _next(self) -> Frame | None:
        """The next frame; None at the end."""
        while (frame := self._next_received()) is None:
            with self._told(_ENDED):
                block = self._socket.recv(BLOCK_BYTES)
            if not block:
                return None
            self._decoder.feed(block)
            self._frames = self._decoder.frames()
        return frame

    def _next_received(self) -> Frame | None:
        try:
            return next(self._frames, None)
        except FrameError:
            raise SystemRefusedError(f"what listens at {self.path} is no server of fws-pipe") from None

    @contextlib.contextmanager
    def _told(self, problem: str) -> Iterator[None]:
        """Tell of what goes wrong with the socket within the block. Raises SystemRefusedError."""
        try:
            yield
        except (TimeoutError, BlockingIOError):  # the latter: too many others wait for it
            text = f"the server at {self.path} has not answered within {self._timeout_s:g} s"
            raise SystemRefusedError(text) from None
        except OSError as error:
            raise SystemRefusedError(f"{problem}: {error.strerror or error}") from None

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def add_server_options(parser: argparse.ArgumentParser, timeout: str) -> None:
    """Add the options that choose a server, and bound how long it may take; `timeout` tells the default in seconds."""
    parser.add_argument("--control", metavar="PATH", help="the server's control socket")
    parser.add_argument("--server", metavar="SERVER", help="the server with this name (--name), process id or port")
    parser.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS",
        help=f"how long the server may take to answer (default: {timeout})",
    )  # fmt: skip


def _from_environment() -> str | None:
    path = os.environ.get("FWS_CONTROL")
    return None if path in (None, "", "auto", "off") else path


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        seconds = float(text)
        if 0 < seconds < math.inf:
            return seconds
    raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text}")


def connect_to(path: str | None, timeout_s: float, server: str | None = None) -> ControlClient:
    """Connect to the server of this socket; None: to the only one that this user runs.

    `server` is the name, the process or a port of one of several. Without both $FWS_CONTROL counts. Raises
    SystemRefusedError when there is none, SeveralServersError, and UsageError for both.
    """
    if path is not None and server is not None:
        raise UsageError("--control and --server both choose the server; leave one of them out")
    path = path if path or server else _from_environment()
    if path is not None:
        return ControlClient(path, timeout_s)
    alive = [path for path in control_sockets() if _is_alive(path)]
    if not alive:
        raise SystemRefusedError("no server of this user is running here; name its socket with --control PATH")
    if server is None and len(alive) == 1:
        return ControlClient(alive[0], timeout_s)
    found = [_Found(path, _status_of(path)) for path in alive]
    fitting = found if server is None else [one for one in found if one.is_called(server)]
    if not fitting:
        raise SystemRefusedError(f"--server {server}: no such server of this user runs; there are: {_list(found)}")
    if len(fitting) > 1:
        raise SeveralServersError(
            f"{counted(len(fitting), 'server')} are running; choose one with --server: {_list(fitting)}"
        )
    return ControlClient(fitting[0].path, timeout_s)


def _is_alive(path: str) -> bool:
    """Whether a server has this socket open. One that is stopped counts."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # its queue is full
        except OSError:
            return False
    return True


class _Found(NamedTuple):
    """A server that runs: its socket, and what it says of itself; None: it does not answer."""

    path: str
    status: Frame | None

    def is_called(self, server: str) -> bool:
        """Whether this is its name, its process or one of its ports."""
        if self.status is None:
            return False
        ports = [str(url).rpartition(":")[2] for url in self.status["listening"]]
        return server in (self.status["name"], str(self.status["pid"]), *ports)

    def __str__(self) -> str:
        if self.status is None:
            return f"{self.path} (does not answer)"
        return f"{self.status['name']} (pid {self.status['pid']}, {', '.join(self.status['listening'])}, {self.path})"


def _status_of(path: str) -> Frame | None:
    try:
        client = ControlClient(path, _LOOK_S)
        try:
            (status,) = client.ask({"type": STATUS})
        finally:
            client.close()
    except (FwsError, ValueError):
        return None
    return status


def _list(found: Sequence[_Found]) -> str:
    return "; ".join(map(str, found))
