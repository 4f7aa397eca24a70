"""A filter by hand: frames go in as a test writes them, and come out while the filter runs on."""

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
    """A filter that runs. `frames` are all that it has written so far."""

    def __init__(self, argv: Iterable[str], folder: Path, environment: dict[str, str]) -> None:
        self._errors = (folder / f"stderr-{id(self)}").open("w+b")
        self.process = subprocess.Popen(
            [*argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0, cwd=folder,
            env=environment,
        )  # fmt: skip
        self._decoder = FrameDecoder("the filter")
        self.frames: list[Frame] = []

    def write(self, *frames: Frame) -> None:
        """Write these, and read meanwhile: a filter that passes frames on must not wait for us."""
        assert self.process.stdin is not None
        rest = memoryview(b"".join(map(encode, frames)))
        deadline = time.monotonic() + PATIENCE_S
        while rest:
            if select.select([], [self.process.stdin], [], 0)[1]:
                rest = rest[os.write(self.process.stdin.fileno(), rest[: select.PIPE_BUF]) :]
            else:
                assert self._read(deadline), self.said

    def read_until(self, condition: Callable[[list[Frame]], bool], what: str) -> list[Frame]:
        """Read until the frames so far are as wanted; returns them."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(self.frames):
            assert self._read(deadline), f"ended without {what}: {reprlib.repr(self.frames[-5:])} {self.said}"
        return self.frames

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
        """End its input; returns all that it has written when it has ended with 0."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        deadline = time.monotonic() + PATIENCE_S
        while self._read(deadline):
            pass
        assert self.process.wait(PATIENCE_S) == 0, self.said
        return self.frames

    @property
    def said(self) -> str:
        """What it has written on stderr."""
        self._errors.seek(0)
        return self._errors.read().decode()

    def end(self) -> None:
        """Kill it, if it still runs."""
        self._errors.close()
        with self.process:
            self.process.kill()
