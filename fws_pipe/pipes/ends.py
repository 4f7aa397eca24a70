"""Anonymous pipes and their ends (pipe(7)).

Only ends that this process alone holds are made non-blocking: O_NONBLOCK belongs to the open file, which a child or a
shell may share.
"""

from __future__ import annotations

import array
import fcntl
import os
import termios
from typing import NamedTuple, Protocol

import trio

from fws_pipe.protocol.codec import BLOCK_BYTES, PIPE_BYTES


class Pipe(NamedTuple):
    """Both ends, as descriptors that no child inherits unless it is told to."""

    read_end: int
    write_end: int


def make_pipe(*, is_large: bool = True) -> Pipe:
    """Make a pipe, enlarged where the kernel allows. Raises OSError."""
    pipe = Pipe(*os.pipe())
    if is_large and hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(pipe.write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            # EPERM: the user's pipes hold as much as they may (pipe-user-pages-soft). 64 KiB work as well, slower.
            pass
    return pipe


class Outlet(Protocol):
    """Where blocks of frames go."""

    async def write(self, data: bytes) -> None:
        """Write all of it, waiting as long as it takes. Raises OSError."""

    def write_nowait(self, data: bytes) -> int:
        """Write what can be written without waiting; returns how many bytes that were. Never raises: `write` will."""


class Inlet(Protocol):
    """Where blocks of frames come from."""

    descriptor: int | None
    """What can be read without waiting once it is readable; None where only `read` will do."""
    early: bytes
    """What somebody has read already, and comes before all that is read now."""

    async def read(self) -> bytes:
        """The next block, or nothing at the end of input. Raises OSError."""


class PipeWriter:
    """The write end of a pipe that this process alone holds. Owns the descriptor."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    async def write(self, data: bytes) -> None:
        """Write all of it; waits while the pipe is full. Raises BrokenPipeError when nobody can read it any more."""
        rest = memoryview(data)
        while rest:
            try:
                count = os.write(self._descriptor, rest)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._descriptor)
            else:
                rest = rest[count:]

    def write_nowait(self, data: bytes) -> int:
        """Write what the pipe takes now."""
        try:
            return os.write(self._descriptor, data)
        except OSError:  # it is full, or nobody can read it any more
            return 0

    def close(self) -> None:
        """Close the end: the reader sees the end of input once the pipe is empty. Idempotent."""
        if self._descriptor >= 0:
            trio.lowlevel.notify_closing(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


class PipeGauge:
    """Tells how much waits in a pipe whose ends belong to other processes. Owns a descriptor.

    That is neither end (O_PATH, open(2)), so the pipe breaks and ends as if it weren't there. Only Linux has that:
    elsewhere nothing ever seems to wait.
    """

    def __init__(self, end: int) -> None:
        """`end` is a descriptor of either end."""
        try:
            self._descriptor = os.open(f"/proc/self/fd/{end}", os.O_PATH)
        except (OSError, AttributeError):
            self._descriptor = -1

    def measure(self) -> int:
        """How many bytes wait (FIONREAD, ioctl_tty(2))."""
        try:
            reader = os.open(f"/proc/self/fd/{self._descriptor}", os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return 0
        try:
            count = array.array("i", [0])
            fcntl.ioctl(reader, termios.FIONREAD, count)
            return count[0]
        finally:
            os.close(reader)

    def close(self) -> None:
        """Give the descriptor back. Idempotent."""
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
        """The next block, or nothing at the end of input."""
        assert self.descriptor is not None, "it has been closed"
        # A pipe that is never empty must not keep the other tasks waiting; and what has been read is not lost by a
        # cancellation.
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return os.read(self.descriptor, BLOCK_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.descriptor)

    def close(self) -> None:
        """Close the end. Idempotent."""
        if self.descriptor is not None:
            trio.lowlevel.notify_closing(self.descriptor)
            os.close(self.descriptor)
            self.descriptor = None
