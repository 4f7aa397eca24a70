"""Runs a filter through the conversations of the contract: a process for each, its frames in, its answer out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO

from fws_pipe.errors import FrameError
from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.json_form import JsonFormError
from fws_pipe.sdk.contract import (
    CONVERSATIONS,
    Answer,
    Conversation,
    Finding,
    Form,
    Outcome,
    Requirement,
    count_ticks,
    expected_frames,
    judge,
    passes_on,
)

_READ_BYTES = 1 << 16
_STDERR_BYTES = 2000
_OUTPUT_BYTES = 64 << 20
"""How much of a filter's output is kept; no conversation asks for a tenth of it."""

_SHORT_PATIENCE_S = 0.5
_NOT_TAKEN_S = 0.001
"""How long to wait before looking again whether a filter has read a byte."""


def try_filter(
    argv: Sequence[str],
    reads: Form,
    writes: Form,
    environment: Mapping[str, str],
    patience_s: float,
    complainer: str | None = None,
) -> Iterator[Finding]:
    """Try a filter, and yield how it meets each requirement of the contract.

    `complainer` is the adapter in `argv` whose program is tried, if there is one; `patience_s` is what a conversation
    may take, in seconds. Raises OSError when the filter can't be started.
    """
    trial = _Trial(argv, reads, writes, environment, patience_s)
    yield from judge(argv, list(trial.answers()), typed_only=trial.typed_only, complainer=complainer)
    yield trial.judge_closed_output()


class _Trial:
    """The processes of one filter."""

    def __init__(
        self, argv: Sequence[str], reads: Form, writes: Form, environment: Mapping[str, str], patience_s: float
    ) -> None:
        self._argv = argv
        self._reads = reads
        self._writes = writes
        self._environment = dict(environment)
        self._patience_s = patience_s
        self._idle_s = patience_s
        """How long a filter may take for an answer while its input is open."""
        self.typed_only = reads is not writes
        """from_json writes no frame without a type, so a filter between JSON and frames need not pass one."""

    def _start(self, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._argv,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=self._environment,
            process_group=0,
        )

    def answers(self) -> Iterator[Answer]:
        """What the filter makes of each conversation; of the first alone when it doesn't even pass that on."""
        for conversation in CONVERSATIONS:
            answer = self._answer(conversation)
            yield answer
            if answer.is_late:
                self._idle_s = min(self._idle_s, _SHORT_PATIENCE_S)  # it is known, and the rest need not take as long
            elif not passes_on(answer, typed_only=self.typed_only):
                return

    def _answer(self, conversation: Conversation) -> Answer:
        """What the filter makes of a conversation."""
        frames = expected_frames(conversation, typed_only=self.typed_only)
        stream = b"".join(map(self._reads.encode, frames))
        pieces = [stream[at : at + 1] for at in range(len(stream))] if conversation.is_cut else [stream]
        with tempfile.TemporaryFile() as stderr, self._start(stderr) as process:
            try:
                with _Talk(process, self._writes, self._idle_s) as talk:
                    talk.write(pieces)
                    talk.read_ticks(count_ticks(frames))
                    has_ended, seen = talk.has_ended, count_ticks(talk.frames)
                    talk.end_input(self._patience_s)
                    talk.read_to_end()
                    status = talk.wait()
            finally:
                _kill_group(process)
            stderr.seek(0)
            words = stderr.read(_STDERR_BYTES).decode(errors="replace").strip()
        is_late = not has_ended and seen < count_ticks(talk.frames)
        return Answer(conversation, talk.frames, talk.broken, has_ended, is_late, status, words)

    def judge_closed_output(self) -> Finding:
        """Any end will do, by SIGPIPE as well: a chain whose pipe is closed is about to be started anew."""
        frames = expected_frames(CONVERSATIONS[0], typed_only=self.typed_only)
        with tempfile.TemporaryFile() as stderr, self._start(stderr) as process:
            assert process.stdout is not None
            process.stdout.close()
            try:
                with _Talk(process, self._writes, self._patience_s) as talk:
                    talk.write([b"".join(map(self._reads.encode, frames))])
                    talk.end_input(self._patience_s)
                    status = talk.wait()
            finally:
                _kill_group(process)
        if status is None:
            return Finding(Requirement.CLOSED_OUTPUT, Outcome.FAILED, "it went on", "it ends when a write fails")
        return Finding(Requirement.CLOSED_OUTPUT, Outcome.OK)


class _Talk:
    """Both pipes of a process: neither waits for the other, as in a chain."""

    def __init__(self, process: subprocess.Popen[bytes], form: Form, patience_s: float) -> None:
        self._process = process
        self._form = form
        self._deadline = time.monotonic() + patience_s
        self._received = b""
        self.frames: list[Frame] = []
        self.broken: str | None = None
        self._selector = selectors.DefaultSelector()
        self.has_ended = process.stdout is None or process.stdout.closed
        """Whether its output has ended, or can't be understood any more."""
        if process.stdout is not None and not process.stdout.closed:
            self._selector.register(process.stdout, selectors.EVENT_READ)

    def __enter__(self) -> _Talk:
        return self

    def __exit__(self, *error: object) -> None:
        self._selector.close()

    def write(self, pieces: Iterable[bytes]) -> None:
        """Write these pieces, each once the one before it has been read; reads meanwhile."""
        stdin = self._process.stdin
        assert stdin is not None
        os.set_blocking(stdin.fileno(), False)
        self._selector.register(stdin, selectors.EVENT_WRITE)
        try:
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    rest = rest[self._write_some(stdin.fileno(), rest) :]
                while len(piece) == 1 and _is_unread(stdin.fileno()) and self._left_s():
                    self._read_ready(_NOT_TAKEN_S, is_writing=False)
        except (BrokenPipeError, TimeoutError):
            pass  # what it has written says whether it may
        finally:
            self._selector.unregister(stdin)

    def _write_some(self, descriptor: int, rest: memoryview) -> int:
        if not self._left_s():
            raise TimeoutError
        self._read_ready(self._left_s(), is_writing=True)
        try:
            return os.write(descriptor, rest)
        except BlockingIOError:
            return 0

    def _left_s(self) -> float:
        return max(self._deadline - time.monotonic(), 0.0)

    def _read_ready(self, wait_s: float, *, is_writing: bool) -> None:
        for key, _ in self._selector.select(wait_s if is_writing else 0.0):
            if key.fileobj is self._process.stdout:
                self._read()
        if not is_writing:
            time.sleep(wait_s)

    def _read(self) -> None:
        assert self._process.stdout is not None
        block = os.read(self._process.stdout.fileno(), _READ_BYTES)
        self._received += block
        if len(self._received) > _OUTPUT_BYTES:
            self.broken = f"it wrote more than {_OUTPUT_BYTES >> 20} MiB in answer to little"
        if not block or self.broken is not None:
            self.has_ended = True
            self._selector.unregister(self._process.stdout)

    def _decode(self) -> None:
        if self.broken is None:
            try:
                self.frames = self._form.decode(self._received)
            except (FrameError, JsonFormError) as error:
                self.broken = str(error)

    def read_ticks(self, count: int) -> None:
        """Read until this many ticks have come, the output ends or isn't frames, or time is up."""
        self._decode()
        while not self.has_ended and self.broken is None and count_ticks(self.frames) < count and self._left_s():
            self._select_and_read()
            self._decode()

    def _select_and_read(self) -> None:
        if self._selector.select(self._left_s()):
            self._read()

    def end_input(self, patience_s: float) -> None:
        """Give the filter the end of its input, and so many seconds from now to end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._deadline = time.monotonic() + patience_s

    def read_to_end(self) -> None:
        """Read to the end of the output, or until time is up."""
        while not self.has_ended and self._left_s():
            self._select_and_read()
        self._decode()

    def wait(self) -> int | None:
        """The status that the process ends with, None when it doesn't in time."""
        try:
            return self._process.wait(self._left_s())
        except subprocess.TimeoutExpired:
            return None


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _is_unread(descriptor: int) -> bool:
    """Whether a pipe holds anything (FIONREAD, pipe(7)); False where a system doesn't say."""
    try:
        return bool(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0])
    except OSError:
        return False
