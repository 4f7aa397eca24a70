"""The loop of every program on a pipe: read a block, process it, write a block.

The output of a block is written before the next read, so nothing waits in a buffer while stdin is idle, and many small
frames still cost two system calls.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import sys
import threading
import time
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
    """The output has no reader any more. It is no OSError, since a filter's own code may raise those, too."""


class BlockWriter:
    """Collects output and writes it in blocks. `shared`: other programs write to the same FIFO, and take turns."""

    def __init__(self, descriptor: int = STDOUT, *, shared: bool = False) -> None:
        self._descriptor = descriptor
        self._shared = shared
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        """Queue some bytes; a full block (BLOCK_BYTES) is written at once, so memory stays bounded."""
        self._parts.append(data)
        self._size += len(data)
        if self._size >= BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write all queued bytes.

        Raises OutputClosedError when the output has no reader any more, SystemRefusedError for any other failure.
        """
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            try:
                write = _write_exclusively if self._shared else write_all
                write(self._descriptor, b"".join(parts))
            except BrokenPipeError:
                raise OutputClosedError from None
            except OSError as error:
                raise SystemRefusedError(f"can't write: {error.strerror}") from None


def block_writer_for_the_front() -> BlockWriter:
    """The writer of the sink and the source to the front; by hand both write to one FIFO, so they take turns there."""
    return BlockWriter(shared="FWS_STAGE" not in os.environ and stat.S_ISFIFO(os.fstat(STDOUT).st_mode))


def _write_exclusively(descriptor: int, data: bytes) -> None:
    """Write all bytes under a lock; without it a pipe keeps no more than PIPE_BUF bytes together (pipe(7))."""
    try:
        # A record lock belongs to the process; processes that inherited one descriptor would share a lock of flock.
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
    except OSError:  # this system locks regular files only
        write_all(descriptor, data)
        return
    try:
        write_all(descriptor, data)
    finally:
        fcntl.lockf(descriptor, fcntl.LOCK_UN)


def identity_of(descriptor: int) -> str:
    """A text that identifies an open file: two descriptors of one pipe have the same."""
    status = os.fstat(descriptor)
    return f"{status.st_dev}:{status.st_ino}"


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes, and wait as long as that takes. Raises OSError."""
    count = write_some(descriptor, data) if data else 0
    if count < len(data):
        rest = memoryview(data)[count:]
        while rest:
            rest = rest[write_some(descriptor, rest) :]


def write_some(descriptor: int, data: bytes | memoryview) -> int:
    """Wait until bytes can be written, and write some; returns how many. Raises OSError.

    The descriptor may be non-blocking: that flag belongs to the open file, and a program that shares it may have set it
    (fcntl(2)).
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
    """Reusable memory to read into.

    os.read allocates a block for each read. The kernel maps, clears and unmaps one of this size each time, which takes
    longer than reading a few messages and copying them.
    """

    def __init__(self, size: int = BLOCK_BYTES) -> None:
        self._view = memoryview(bytearray(size))
        self._whole = (self._view,)

    def read(self, descriptor: int, limit: int = BLOCK_BYTES) -> bytes:
        """Read at most `limit` bytes; b"" at the end of input. Raises OSError as os.read does."""
        room = self._whole if limit >= len(self._view) else (self._view[:limit],)
        return self._view[: os.readv(descriptor, room)].tobytes()

    def read_waiting(self, descriptor: int) -> bytes:
        """Wait for input and read it, also from a non-blocking descriptor; b"" at the end of input. Raises OSError."""
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
    """Yield each frame until the end of input; `after_block` is called before each read that may wait.

    `decoder.raw` gives the bytes of the frame yielded last. Raises FrameError where the input isn't frames.
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
    """Yield each frame and its bytes until the end of input; `after_block` is called before each read that may wait.

    `source` names the writer in messages. Raises FrameError where the input isn't frames.
    """
    decoder = FrameDecoder(source)
    for frame in read_frames(decoder, after_block, descriptor):
        yield frame, decoder.raw()


def lines_of_blocks(after_block: Callable[[], None], descriptor: int = STDIN) -> Iterator[bytes]:
    """Yield each line, without its newline, until the end of input; `after_block` is called before each read.

    Raises FrameError for a line over FRAME_LIMIT_BYTES.
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
    """Write a program's message as one line on stderr; text of others in it is made safe for a terminal.

    In the form that $FWS_LOG_FORMAT names: programs that stand beside fws-front log as it does.
    """
    form = os.environ.get("FWS_LOG_FORMAT", "")
    line = one_line(text) if form in ("", "text") else _structured(text, form)
    sys.stderr.write(line + "\n")  # one write: print would write the newline apart
    sys.stderr.flush()


def _structured(text: str, form: str) -> str:
    from fws_pipe import log_form

    if form not in tuple(log_form.LogFormat):
        return one_line(text)
    entry = log_form.entry_of(time.time(), "warning", "stage", text, {"pid": os.getpid()})
    return log_form.structured(log_form.LogFormat(form), entry)


def run_program(name: str, main: Callable[[], None]) -> NoReturn:
    """Run a filter's or tool's main, and exit as the contract says.

    The exit code is 0 at the end of input, and when the output has no reader any more. A FwsError is shown as one line,
    and has its own code (1 for a broken frame). An interrupt from the keyboard ends the process as it ends `cat`.
    """
    die_of_interrupts()
    open_standard_streams()
    try:
        main()
    except OutputClosedError:
        os._exit(EXIT_OK)  # not sys.exit: Python's own flush of stdout would fail again
    except FwsError as error:
        first, *more = error.lines
        for line in (f"{name}: {first}{_mend_of(error)}", *more):
            say(line)
        os._exit(error.exit_code)
    sys.exit(EXIT_OK)


def _mend_of(error: FwsError) -> str:
    """What to do about text where a frame should be."""
    if not isinstance(error, FrameError) or not error.is_text:
        return ""
    if error.offset:
        return "; text for people goes to stderr"
    command = os.environ.get("FWS_READS_FROM_COMMAND") if error.source == input_source() else None
    return f'; a program that writes text runs under an adapter: "per_client {command or "COMMAND"}"?'


def start_thread(work: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread whose failure ends the process, as a failure of the main thread does.

    A FwsError is shown as one line, and has its own exit code; any other exception is a defect, and shows its
    traceback.
    """

    def run() -> None:
        try:
            work()
        except OutputClosedError:
            os._exit(EXIT_OK)
        except FwsError as error:
            say(f"{name}: {error}")
            os._exit(error.exit_code)
        except BaseException:  # noqa: BLE001 - threading would hide it
            sys.excepthook(*sys.exc_info())  # not the module traceback, whose import slows each filter's start
            sys.stderr.flush()
            os._exit(EXIT_BROKEN_PIPE)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def open_standard_streams() -> None:
    """Open /dev/null for those of descriptors 0 to 2 that are closed (`<&-`); otherwise a pipe would get the number."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= STDERR:
        descriptor = os.dup(descriptor)
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(STDOUT, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(STDERR, "w", closefd=False)


def input_source() -> str:
    """The writer of stdin, as messages name it: the stage before; outside of a server "stdin"."""
    return os.environ.get("FWS_READS_FROM", "stdin")
