"""Anonymous pipes and their ends (pipe(7)).

Only ends that no other process holds are made non-blocking: O_NONBLOCK belongs to the open file, which a child or a
shell may share.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import termios
from typing import NamedTuple, Protocol

import trio

from fws_pipe.protocol.codec import BLOCK_BYTES, PIPE_BYTES


class Pipe(NamedTuple):
    """The descriptors of both ends; a child inherits one only where it is passed explicitly."""

    read_end: int
    write_end: int


def make_pipe(*, is_large: bool = True) -> Pipe:
    """Make a pipe, enlarged where the kernel allows. Raises OSError."""
    pipe = Pipe(*os.pipe())
    if is_large and hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(pipe.write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            # EPERM: the user's pipes are at their limit (pipe-user-pages-soft). 64 KiB work as well, only slower.
            pass
    return pipe


class Fill(NamedTuple):
    """How full a pipe is."""

    waiting: int
    """Bytes that have been written and not yet read."""
    capacity: int | None
    """Bytes that it holds when it is full; None where the system doesn't tell (only Linux does)."""


def fill_of(descriptor: int) -> Fill:
    """How full a pipe is, by a descriptor of its read end (FIONREAD, ioctl_tty(2); F_GETPIPE_SZ, fcntl(2))."""
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return Fill(count[0], fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ) if hasattr(fcntl, "F_GETPIPE_SZ") else None)


class Outlet(Protocol):
    """A destination of blocks of frames."""

    async def write(self, data: bytes) -> None:
        """Write all bytes, and wait as long as that takes. Raises OSError."""

    def write_nowait(self, data: bytes) -> int:
        """Write as many bytes as can be without waiting; returns how many. It never raises: `write` will."""


class Inlet(Protocol):
    """A source of blocks of frames."""

    descriptor: int | None
    """A non-blocking descriptor that may be read directly; None where only `read` may be used."""
    early: bytes
    """Bytes that were read before; they precede all that `read` returns."""

    async def read(self) -> bytes:
        """The next block; b"" at the end of input. Raises OSError."""


class PipeWriter:
    """The write end of a pipe that this process alone holds. Owns the descriptor."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    async def write(self, data: bytes) -> None:
        """Write all bytes, and wait while the pipe is full. Raises BrokenPipeError when the pipe has no reader."""
        rest = memoryview(data)
        while rest:
            try:
                count = os.write(self._descriptor, rest)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._descriptor)
            else:
                rest = rest[count:]

    def write_nowait(self, data: bytes) -> int:
        """Write as many bytes as the pipe takes now; returns how many."""
        try:
            return os.write(self._descriptor, data)
        except OSError:  # the pipe is full, or has no reader any more
            return 0

    def close(self) -> None:
        """Close the end: once the pipe is empty its reader gets the end of input. Idempotent."""
        if self._descriptor >= 0:
            trio.lowlevel.notify_closing(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


class PipeGauge:
    """Measures how many bytes wait in a pipe whose ends belong to other processes. Owns a descriptor.

    The descriptor counts as neither end (O_PATH, open(2)), so it doesn't keep the pipe open. Only Linux has it:
    elsewhere nothing is known.
    """

    def __init__(self, end: int) -> None:
        """`end` is a descriptor of either end."""
        try:
            self._descriptor = os.open(f"/proc/self/fd/{end}", os.O_PATH)
        except (OSError, AttributeError):
            self._descriptor = -1

    def fill(self) -> Fill | None:
        """How full the pipe is; None where the system doesn't tell.

        The pipe is opened for the moment that this takes, and never read.
        """
        try:
            reader = os.open(f"/proc/self/fd/{self._descriptor}", os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            return fill_of(reader)
        finally:
            os.close(reader)

    def measure(self) -> int:
        """The number of bytes that wait in the pipe; 0 where the system doesn't tell."""
        fill = self.fill()
        return fill.waiting if fill else 0

    def close(self) -> None:
        """Close the descriptor. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class PipeReader:
    """The read end of a pipe that this process alone holds. Owns the descriptor."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor: int | None = descriptor
        self.early = b""

    async def read(self) -> bytes:
        """The next block, of BLOCK_BYTES at most; b"" at the end of input. Canceling loses no bytes. Raises OSError."""
        assert self.descriptor is not None, "it has been closed"
        # The checkpoint is before the read: a pipe that is never empty lets other tasks run, and a cancellation loses
        # no bytes.
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return os.read(self.descriptor, BLOCK_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.descriptor)

    def fill(self) -> Fill | None:
        """How full the pipe is; None once the end is closed."""
        return None if self.descriptor is None else fill_of(self.descriptor)

    def close(self) -> None:
        """Close the end. Idempotent."""
        if self.descriptor is not None:
            trio.lowlevel.notify_closing(self.descriptor)
            os.close(self.descriptor)
            self.descriptor = None


def has_reader(descriptor: int) -> bool:
    """Whether a write to it could be read: False for a pipe or socket whose other end is closed (POLLERR, poll(2))."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return not any(event & select.POLLERR for _, event in poll.poll(0))
