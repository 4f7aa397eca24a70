"""A filter that a test runs by hand: it writes frames to it, and reads frames while it runs."""

from __future__ import annotations

import os
import reprlib
import select
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from fws_pipe.protocol.codec import Frame, FrameDecoder, encode
from tests.harness import PATIENCE_S


class Running:
    """A running filter. `frames` are all that it has written so far."""

    def __init__(self, argv: Iterable[str], folder: Path, environment: dict[str, str]) -> None:
        self._errors = (folder / f"stderr-{id(self)}").open("w+b")
        self.process = subprocess.Popen(
            [*argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0, cwd=folder,
            env=environment,
        )  # fmt: skip
        self._decoder = FrameDecoder("the filter")
        self.frames: list[Frame] = []
        self._taken = 0
        """The number of frames that `read` has returned."""

    def write(self, *frames: Frame) -> None:
        """Write frames, and read meanwhile: a filter that passes frames on must not wait for us."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        rest = memoryview(b"".join(map(encode, frames)))
        deadline = time.monotonic() + PATIENCE_S
        while rest:
            left = max(deadline - time.monotonic(), 0.0)
            readable, writable, _ = select.select([self.process.stdout], [self.process.stdin], [], left)
            assert readable or writable, self.said
            if writable:
                rest = rest[os.write(self.process.stdin.fileno(), rest[: select.PIPE_BUF]) :]
            else:
                assert self._read(deadline), self.said

    def read_until(self, condition: Callable[[list[Frame]], bool], what: str) -> list[Frame]:
        """Read until the frames so far are as wanted; returns them."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(self.frames):
            assert self._read(deadline), f"ended without {what}: {reprlib.repr(self.frames[-5:])} {self.said}"
        return self.frames

    def read(self, count: int) -> list[Frame]:
        """Wait for `count` further frames; returns all that have come since the last call."""
        self.read_until(lambda frames: len(frames) >= self._taken + count, f"{count} frames")
        return self._take()

    def _take(self) -> list[Frame]:
        frames, self._taken = self.frames[self._taken :], len(self.frames)
        return frames

    def _read(self, deadline: float) -> bool:
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        ready, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0.0))
        assert ready, f"nothing more than {reprlib.repr(self.frames[-5:])} {self.said}"
        block = os.read(descriptor, 1 << 20)
        self._decoder.feed(block)
        self.frames += self._decoder.frames()
        return bool(block)

    def finish(self) -> list[Frame]:
        """End its input, and wait until it has exited with 0; returns all that it has written."""
        _, _, status = self.ending()
        assert status == 0, self.said
        return self.frames

    def ending(self) -> tuple[list[Frame], list[str], int]:
        """End its input; returns the frames that it still writes, the lines of its stderr and its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        deadline = time.monotonic() + PATIENCE_S
        while self._read(deadline):
            pass
        self._decoder.finish()
        status = self.process.wait(PATIENCE_S)
        return self._take(), self.said.splitlines(), status

    @property
    def said(self) -> str:
        """Its stderr so far."""
        self._errors.seek(0)
        return self._errors.read().decode()

    def end(self) -> None:
        """Kill it if it still runs."""
        self._errors.close()
        with self.process:
            self.process.kill()
