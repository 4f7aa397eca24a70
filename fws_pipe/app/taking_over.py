"""Takes over the clients and the listening sockets of a server that runs (app/handing_over.py is its side).

It connects to that server's control socket once its own chain serves, and gets everything before it touches anything.
What goes wrong before it has written `taken` ends this server, and leaves the other as it was.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from collections.abc import Iterator

import trio

from fws_pipe import __version__
from fws_pipe.errors import FrameError, SystemRefusedError, UsageError
from fws_pipe.front.front import Front
from fws_pipe.front.listener import Listener, listener_of
from fws_pipe.front.moving import Arriving
from fws_pipe.log import Log
from fws_pipe.protocol.codec import BLOCK_BYTES, Frame, FrameDecoder, encode, type_of
from fws_pipe.protocol.control import REFUSED
from fws_pipe.protocol.takeover import ALL, CLIENTS, PROTOCOL, RECEIVED, ROUTE, SERVER, TAKEN, TAKEOVER
from fws_pipe.system.runtime_folder import control_sockets
from fws_pipe.wording import counted

AUTO = "auto"
"""In place of a path: the only server of this user."""

_PATIENCE_S = 45.0
"""How long the old server may take for each part: before the first one its chain finishes and ends."""

_MOST_DESCRIPTORS = 253
"""SCM_MAX_FD, unix(7)."""


def find_old_server(path: str, own: str | None) -> str:
    """The control socket of the server to take over; `own` is this server's. Raises SystemRefusedError, UsageError."""
    if path != AUTO:
        with _connected(path):
            return path
    alive = []
    for found in control_sockets():
        with contextlib.suppress(SystemRefusedError), _connected(found):
            alive += [found] * (found != own)
    if not alive:
        raise SystemRefusedError("--takeover auto: no server of this user is running here; name its control socket")
    if len(alive) > 1:
        raise UsageError(f"--takeover auto: {len(alive)} servers are running; name one's socket: {'; '.join(alive)}")
    return alive[0]


@contextlib.contextmanager
def _connected(path: str) -> Iterator[socket.socket]:
    """A connection to a control socket. Raises SystemRefusedError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        try:
            connection.connect(path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise SystemRefusedError(f"--takeover: no server answers at {path}: {reason}") from None
        yield connection


class Taken:
    """What has been taken over: the listeners, and the clients, which go on with `begin`."""

    def __init__(self, arriving: Arriving) -> None:
        self.listeners: list[Listener] = []
        self._arriving = arriving

    def begin(self) -> None:
        """Let the clients go on."""
        self._arriving.begin()


async def take_over(path: str, front: Front, log: Log) -> Taken:
    """Take over from the server with this control socket. Raises SystemRefusedError, and then nothing has changed."""
    arriving = Arriving(front)
    taken = Taken(arriving)
    has_all = False
    with _connected(path) as connection:
        old = _OldServer(connection, path)
        try:
            await old.write({"type": TAKEOVER, "protocol": PROTOCOL, "version": __version__})
            await _receive_all(old, front, taken, arriving)
            await old.write({"type": TAKEN})  # from here on the clients are ours
            has_all = True
        finally:
            old.close()
            if not has_all:
                arriving.give_up()
                for listener in taken.listeners:
                    socket.socket.close(listener)  # the file stays, it is the old server's
    log.notice(f"took over {counted(len(arriving), 'client')} from the server at {path}")
    return taken


async def _receive_all(old: _OldServer, front: Front, taken: Taken, arriving: Arriving) -> None:
    while type_of(frame := await old.read()) != ALL:
        kind = type_of(frame)
        if kind == SERVER:
            front.continue_from(frame["accepted"])
            taken.listeners += [listener_of(old.take_descriptor(), file) for file in frame["files"]]
        elif kind == ROUTE:
            arriving.add_route(frame)
        elif kind == CLIENTS:
            for state in frame["clients"]:
                arriving.add(state, socket.socket(fileno=old.take_descriptor()))
        await old.write({"type": RECEIVED})


class _OldServer:
    """The old server, at the other end of its control socket."""

    def __init__(self, connection: socket.socket, path: str) -> None:
        self._connection = connection
        self._path = path
        self._decoder = FrameDecoder("the old server")
        self._frames: deque[Frame] = deque()
        self._descriptors: deque[int] = deque()

    def take_descriptor(self) -> int:
        """The next descriptor that has come. Raises SystemRefusedError when there is none."""
        if not self._descriptors:
            raise self._error("it has sent too few descriptors; does ulimit -n allow this server as many as that one?")
        return self._descriptors.popleft()

    async def read(self) -> Frame:
        """The next frame. Raises SystemRefusedError when it is refused, or the old server gone or too slow."""
        while not self._frames:
            block = await self._receive()
            try:
                self._decoder.feed(block)
                self._frames.extend(self._decoder.frames())
            except FrameError as error:
                raise self._error(f"it is no server of fws-pipe ({error})") from None
        frame = self._frames.popleft()
        if type_of(frame) == REFUSED:
            raise self._error(str(frame.get("reason")))
        return frame

    async def _receive(self) -> bytes:
        with trio.move_on_after(_PATIENCE_S):
            while True:
                await trio.lowlevel.wait_readable(self._connection)
                with contextlib.suppress(BlockingIOError):
                    return self._receive_now()
        raise self._error(f"it has not answered for {_PATIENCE_S:.0f} s")

    def _receive_now(self) -> bytes:
        try:
            block, descriptors, _, _ = socket.recv_fds(
                self._connection, BLOCK_BYTES, _MOST_DESCRIPTORS, getattr(socket, "MSG_CMSG_CLOEXEC", 0)
            )
        except ConnectionError as error:
            raise self._error(error.strerror or str(error)) from None
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        self._descriptors.extend(descriptors)
        if not block:
            raise self._error("it has ended the connection, and keeps its clients")
        return block

    async def write(self, frame: Frame) -> None:
        """Write a frame. Raises SystemRefusedError when the old server reads no more."""
        rest = memoryview(encode(frame))
        while rest:
            try:
                rest = rest[self._connection.send(rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._connection)
            except OSError as error:
                raise self._error(error.strerror or str(error)) from None

    def close(self) -> None:
        """Close what has come and was not taken."""
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def _error(self, problem: str) -> SystemRefusedError:
        return SystemRefusedError(f"can't take over from the server at {self._path}: {problem}")
