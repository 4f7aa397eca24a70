"""A tap as a stage: passes everything on, and copies it to the server's control socket for `fws-ctl tap STAGE`.

Reads: frames on stdin. Writes: the same bytes on stdout at once; each block's whole frames to the control socket, as a
`copy` request. Never: waits for the copy. When more than 1 MiB of it waits it ends, and the stage only passes on.
"""

from __future__ import annotations

import os
import select
import socket
import time

from fws_pipe.pipes.blocks import STDIN, STDOUT, OutputClosedError, ReadBuffer, input_source, run_program, write_all
from fws_pipe.protocol.codec import FrameDecoder, encode
from fws_pipe.protocol.control import COPY, REQUEST_LIMIT_BYTES

PATH_VARIABLE = "FWS_TAP_PATH"
KEY_VARIABLE = "FWS_TAP_KEY"
"""The path of the control socket, and what tells the server which tap the copy is for."""

BEHIND_BYTES = 1024 * 1024

_LAST_S = 0.5
"""How long the last copies may take once the input has ended."""


class Copy:
    """The way to the control socket, for as long as it keeps up. `key` says which tap the copies are for."""

    def __init__(self, path: str, key: str) -> None:
        self._key = key
        self._waiting = bytearray()
        self._socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        try:
            self._socket.connect(path)
        except OSError:  # the server has ended, or too many others wait for it
            self._give_up()

    def add(self, frames: bytes, passed: float) -> None:
        """Copy whole frames, now or later; `passed` is when they came (CLOCK_MONOTONIC, in seconds)."""
        if self._socket is None or not frames:
            return
        # What keeps up may send a block of any size that a request may have.
        if len(self._waiting) > BEHIND_BYTES or len(frames) > REQUEST_LIMIT_BYTES // 2:
            self._give_up()
        else:
            self._waiting += encode({"type": COPY, "key": self._key, "time": passed, "data": frames})
            self.write()

    def write(self) -> None:
        """Write as much as is taken at once."""
        try:
            while self._socket is not None and self._waiting:
                del self._waiting[: self._socket.send(self._waiting)]
        except BlockingIOError:
            pass
        except OSError:  # the server listens no more
            self._give_up()

    @property
    def descriptor(self) -> int | None:
        """What must become writable first; None: nothing waits."""
        return self._socket.fileno() if self._socket is not None and self._waiting else None

    def finish(self) -> None:
        """Write the rest, for a short while at most."""
        deadline = time.monotonic() + _LAST_S
        while (descriptor := self.descriptor) is not None and time.monotonic() < deadline:
            select.select([], [descriptor], [], _LAST_S)
            self.write()
        self._give_up()

    def _give_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._waiting.clear()


def pass_on(copy: Copy) -> None:
    """Pass stdin on to its end.

    Raises FrameError for what isn't frames, OutputClosedError when nothing reads stdout any more.
    """
    buffer = ReadBuffer()
    decoder = FrameDecoder(input_source())
    while True:
        descriptor = copy.descriptor
        readable, writable, _ = select.select([STDIN], [] if descriptor is None else [descriptor], [])
        if writable:
            copy.write()
        if readable:
            block = buffer.read_waiting(STDIN)
            passed = time.monotonic()
            if not block:
                return decoder.finish()
            try:
                write_all(STDOUT, block)
            except BrokenPipeError:
                raise OutputClosedError from None
            decoder.feed(block)
            for _frame in decoder.frames():
                pass
            copy.add(decoder.run_raw(), passed)


def _run() -> None:
    copy = Copy(os.environ.get(PATH_VARIABLE, ""), os.environ.get(KEY_VARIABLE, ""))
    try:
        pass_on(copy)
    finally:
        copy.finish()


if __name__ == "__main__":
    run_program("tap", _run)
