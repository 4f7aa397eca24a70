"""The loop of every program on a pipe: read a block, do its work, write a block.

What has been made of one block is written at once and before the next read, so nothing waits in a buffer while stdin is
idle, and many small frames still cost two system calls.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from fws_pipe.errors import EXIT_BROKEN_PIPE, EXIT_OK, FrameError, FwsError, SystemRefusedError
from fws_pipe.protocol.codec import BLOCK_BYTES, FRAME_LIMIT_BYTES, Frame, FrameDecoder
from fws_pipe.system.signals import die_of_interrupts
from fws_pipe.terminal import one_line

STDIN = 0
STDOUT = 1
STDERR = 2


class OutputClosedError(Exception):
    """Nobody reads our output any more. Not an OSError: those may come from a filter's own work, and mean nothing."""


class BlockWriter:
    """Collects output and writes it in blocks."""

    def __init__(self, descriptor: int = STDOUT, *, shared: bool = False) -> None:
        self._descriptor = descriptor
        self._shared = shared
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        """Queue some bytes; a full block is written at once, so memory stays bounded."""
        self._parts.append(data)
        self._size += len(data)
        if self._size >= BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is queued.

        Raises OutputClosedError when nobody reads any more, SystemRefusedError when it can't be written.
        """
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            try:
                write = _write_alone if self._shared else write_all
                write(self._descriptor, b"".join(parts))
            except BrokenPipeError:
                raise OutputClosedError from None
            except OSError as error:
                raise SystemRefusedError(f"can't write: {error.strerror}") from None


def block_writer_for_the_front() -> BlockWriter:
    """For the sink and the source, which by hand both write to the FIFO that the front reads: one block at a time."""
    return BlockWriter(shared="FWS_STAGE" not in os.environ and stat.S_ISFIFO(os.fstat(STDOUT).st_mode))


def _write_alone(descriptor: int, data: bytes) -> None:
    """Write all of it, while others that do so wait; a pipe itself keeps 4 KiB together, no more (pipe(7))."""
    try:
        # A record lock is the process's; flock's would be shared by those that have one descriptor from their shell.
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
    except OSError:  # a system that locks files only
        write_all(descriptor, data)
        return
    try:
        write_all(descriptor, data)
    finally:
        fcntl.lockf(descriptor, fcntl.LOCK_UN)


def identity_of(descriptor: int) -> str:
    """What tells an open file from all others: two descriptors of one pipe have the same."""
    status = os.fstat(descriptor)
    return f"{status.st_dev}:{status.st_ino}"


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, waiting as long as it takes."""
    count = write_some(descriptor, data) if data else 0
    if count < len(data):
        rest = memoryview(data)[count:]
        while rest:
            rest = rest[write_some(descriptor, rest) :]


def write_some(descriptor: int, data: bytes | memoryview) -> int:
    """Write what is taken, after waiting for that; returns how many bytes that were. Raises OSError.

    A program that shares the descriptor may have made it non-blocking: that belongs to the open file (fcntl(2)).
    """
    while True:
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            _wait_for(descriptor, select.POLLOUT)


def _wait_for(descriptor: int, readiness: int) -> None:
    poll = select.poll()
    poll.register(descriptor, readiness)
    poll.poll()


class ReadBuffer:
    """Memory to read into. os.read would take a new block for each read, and one of this size is mapped, cleared and
    unmapped by the kernel each time, which takes longer than to read a few messages and copy them.
    """

    def __init__(self, size: int = BLOCK_BYTES) -> None:
        self._view = memoryview(bytearray(size))
        self._whole = (self._view,)

    def read(self, descriptor: int, limit: int = BLOCK_BYTES) -> bytes:
        """Read at most `limit` bytes; none at the end. Raises OSError as os.read does."""
        room = self._whole if limit >= len(self._view) else (self._view[:limit],)
        return self._view[: os.readv(descriptor, room)].tobytes()

    def read_waiting(self, descriptor: int) -> bytes:
        """Read what there is, after waiting for it, also where the descriptor is non-blocking. Raises OSError."""
        while True:
            try:
                return self.read(descriptor)
            except BlockingIOError:
                _wait_for(descriptor, select.POLLIN)


def _read(buffer: ReadBuffer, descriptor: int, source: str) -> bytes:
    try:
        return buffer.read_waiting(descriptor)
    except OSError as error:
        raise SystemRefusedError(f"can't read from {source}: {error.strerror}") from None


def read_frames(decoder: FrameDecoder, after_block: Callable[[], None], descriptor: int = STDIN) -> Iterator[Frame]:
    """Yield each frame until the end of input; calls `after_block` before each read that may wait.

    `decoder.raw` gives the bytes of the frame at hand. Raises FrameError for what isn't frames.
    """
    buffer = ReadBuffer()
    try:
        while block := _read(buffer, descriptor, decoder.source):
            decoder.feed(block)
            yield from decoder.frames()
            after_block()
        decoder.finish()
    except FrameError:
        after_block()  # the frames before the broken one are whole
        raise


def frames_of_blocks(
    source: str, after_block: Callable[[], None], descriptor: int = STDIN
) -> Iterator[tuple[Frame, bytes]]:
    """The same, with each frame's bytes, for a reader that wants them all. `source` is who writes them."""
    decoder = FrameDecoder(source)
    for frame in read_frames(decoder, after_block, descriptor):
        yield frame, decoder.raw()


def lines_of_blocks(after_block: Callable[[], None], descriptor: int = STDIN) -> Iterator[bytes]:
    """Yield each line, without its newline, until the end of input; calls `after_block` before each read that may wait.

    Raises FrameError for a line that is longer than a frame may be.
    """
    parts: list[bytes] = []
    size = offset = 0
    buffer = ReadBuffer()
    while block := _read(buffer, descriptor, input_source()):
        first, *rest = block.split(b"\n")
        parts.append(first)
        size += len(first)
        for line in rest:
            yield b"".join(parts)
            offset += size + 1
            parts, size = [line], len(line)
        if size > FRAME_LIMIT_BYTES:
            raise FrameError(f"the line is over the limit of {FRAME_LIMIT_BYTES} bytes", input_source(), offset)
        after_block()
    if size:
        yield b"".join(parts)


def say(text: str) -> None:
    """Write a program's own words as one line on stderr, whatever they quote of others."""
    sys.stderr.write(one_line(text) + "\n")  # at once: print would write the newline by itself, and others between
    sys.stderr.flush()


def run_program(name: str, main: Callable[[], None]) -> NoReturn:
    """Run a filter's or tool's main, and end as the contract says.

    Exit 0 at end of input and when nobody reads the output any more; one line and its exit code for a FwsError (1 for a
    broken frame); an interrupt from the keyboard ends it as it ends `cat`.
    """
    die_of_interrupts()
    open_standard_streams()
    try:
        main()
    except OutputClosedError:
        os._exit(EXIT_OK)  # without Python's own flush of stdout, which would fail once more
    except FwsError as error:
        say(f"{name}: {error}")
        os._exit(error.exit_code)
    sys.exit(EXIT_OK)


def start_thread(work: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread whose failure ends the process, as that of the main thread does: the server restarts it.

    A FwsError is one line and its exit code; anything else is a defect, and shows its traceback.
    """

    def run() -> None:
        try:
            work()
        except OutputClosedError:
            os._exit(EXIT_OK)
        except FwsError as error:
            say(f"{name}: {error}")
            os._exit(error.exit_code)
        except BaseException:  # noqa: BLE001 - also what a thread's end would hide
            sys.excepthook(*sys.exc_info())  # without the module traceback, which filters would have to load
            sys.stderr.flush()
            os._exit(EXIT_BROKEN_PIPE)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def open_standard_streams() -> None:
    """See to it that descriptors 0 to 2 are taken, if we were started without (`<&-`): a pipe would get the number."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= STDERR:
        descriptor = os.dup(descriptor)
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(STDOUT, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(STDERR, "w", closefd=False)


def input_source() -> str:
    """Who writes our stdin, as messages name it: the stage before, or plain stdin outside of a server."""
    return os.environ.get("FWS_READS_FROM", "stdin")
