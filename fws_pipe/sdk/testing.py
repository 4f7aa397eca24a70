"""Checks a filter in any language against the contract that every filter keeps: `check_filter(["./my-filter"])`.

A filter passes on, in order and byte for byte, every frame that it doesn't understand; writes what it has before it
waits for more input; exits with 0 at the end of its input, and when its output has no reader any more.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fws_pipe.protocol.codec import Frame, FrameDecoder, encode
from fws_pipe.protocol.json_form import from_json, to_json

_UNKNOWN: tuple[Frame, ...] = (
    {"type": "tick", "seq": 1, "time": 1.5},
    {"type": "of another program", "payload": {"deep": [1, None, "é", b"\x00\xff"]}},
    {"type": "tick", "seq": 2, "time": 2.5},
    {"no": "type at all"},
    {"type": "accept", "id": "x-1", "auth": None},
    {"type": "tick", "seq": 3, "time": 3.5},
)


class ContractError(AssertionError):
    """A filter breaks the contract; the text says which part of it."""


@dataclass(frozen=True)
class Form:
    """A format of frames on a pipe: `encode` gives the bytes of one frame, `decode` all whole frames in some bytes."""

    encode: Callable[[Frame], bytes]
    decode: Callable[[bytes], list[Frame]]


def _decode_frames(data: bytes) -> list[Frame]:
    decoder = FrameDecoder("the filter")
    decoder.feed(data)
    return [frame for frame, _ in decoder]


FRAMES = Form(encode, _decode_frames)
JSON_LINES = Form(to_json, lambda data: [from_json(line) for line in data.split(b"\n")[:-1]])


def check_filter(
    argv: Sequence[str],
    *,
    reads: Form = FRAMES,
    writes: Form = FRAMES,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
) -> None:
    """Run a filter, and check that it keeps the contract.

    `reads` and `writes` are the formats of its input and its output. `timeout_s` bounds each wait, in seconds;
    `environment` is the filter's, by default this process's. Raises ContractError for a filter that breaks the
    contract, OSError for one that can't be started.
    """
    checker = _Checker(argv, reads, writes, dict(os.environ if environment is None else environment), timeout_s)
    checker.check_passing()
    checker.check_closed_output()


class _Checker:
    def __init__(
        self, argv: Sequence[str], reads: Form, writes: Form, environment: dict[str, str], timeout_s: float
    ) -> None:
        self._argv = argv
        self._reads = reads
        self._writes = writes
        self._environment = environment
        self._timeout_s = timeout_s
        # A filter between JSON and frames need not pass on a frame without a type.
        typed_only = reads is not writes
        self._frames = [frame for frame in _UNKNOWN if "type" in frame or not typed_only]

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._argv,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
        )

    def _write_frames(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(b"".join(map(self._reads.encode, self._frames)))
        except BrokenPipeError:
            pass  # it has ended already; the check of its output shows whether that is right

    def check_passing(self) -> None:
        with self._start() as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                self._write_frames(process)
                self._expect_frames(process.stdout.fileno(), while_what="stdin is open and idle")
                process.stdin.close()
                self._expect_exit(process, "at the end of input")
            finally:
                process.kill()

    def _expect_frames(self, descriptor: int, while_what: str) -> None:
        expected = b"".join(map(self._writes.encode, self._frames))
        received = b""
        deadline = time.monotonic() + self._timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while self._passed(received) != expected:
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise ContractError(
                        f"{self._argv}: while {while_what} it must pass on {self._frames!r}, "
                        f"and has written {received!r}"
                    )
                block = os.read(descriptor, 65536)
                if not block:
                    raise ContractError(f"{self._argv}: ended its output while {while_what}, after {received!r}")
                received += block

    def _passed(self, received: bytes) -> bytes:
        """The bytes that it has written, without the `want` that may come first."""
        frames = [frame for frame in self._writes.decode(received) if frame.get("type") != "want"]
        return b"".join(map(self._writes.encode, frames))

    def check_closed_output(self) -> None:
        with self._start() as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdout.close()
                self._write_frames(process)
                process.stdin.close()
                self._expect_exit(process, "when its output has no reader")
            finally:
                process.kill()

    def _expect_exit(self, process: subprocess.Popen[bytes], when: str) -> None:
        try:
            code = process.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            raise ContractError(f"{self._argv}: does not end {when}") from None
        if code != 0:
            assert process.stderr is not None
            words = process.stderr.read().decode(errors="replace").strip()
            raise ContractError(f"{self._argv}: exits with {code} {when}, must be 0; it said: {words}")
