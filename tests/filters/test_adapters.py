"""Adapters and programs of every sort: what bad ones get, and that nothing of them stays."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fws_pipe.protocol.codec import Frame, FrameDecoder, encode
from tests.harness import PATIENCE_S, Servers, eventually

_FULL_MS = 300
"""A pipe that takes nothing for so long is full."""

TICK: Frame = {"type": "tick", "seq": 9, "time": 1.5}


def message(text: str | bytes, seq: int = 1, client: str = "a-1") -> Frame:
    return {"type": "message", "seq": seq, "time": 1.0, "id": client, "data": text}


class Adapter:
    """A filter with a program behind it, by hand."""

    def __init__(self, servers: Servers, *argv: str) -> None:
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
            cwd=servers.folder, env=servers.environment(),
        )  # fmt: skip
        self._decoder = FrameDecoder()

    def write(self, *frames: Frame) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(map(encode, frames)))

    def read(self, count: int) -> list[Frame]:
        """Wait for so many frames, while stdin stays open."""
        assert self.process.stdout is not None
        frames: list[Frame] = []
        while len(frames) < count:
            block = os.read(self.process.stdout.fileno(), 65536)
            assert block, "it has ended"
            self._decoder.feed(block)
            frames += self._decoder.frames()
        return frames

    def finish(self) -> tuple[list[Frame], list[str], int]:
        """End its input; returns what it still writes, what it has said, and its exit status."""
        stdout, stderr = self.process.communicate(timeout=PATIENCE_S)
        self._decoder.feed(stdout)
        frames = list(self._decoder.frames())
        self._decoder.finish()
        return frames, stderr.decode().splitlines(), self.process.returncode


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[Servers, list[Adapter]]]:
    adapters: list[Adapter] = []
    with Servers(tmp_path) as servers:
        yield servers, adapters
        for adapter in adapters:
            with adapter.process:
                adapter.process.kill()
        # A guard ends after its adapter.
        eventually(lambda: not servers.processes(), "the end of all programs")


class Starter:
    """Starts adapters for one test."""

    def __init__(self, servers: Servers, adapters: list[Adapter]) -> None:
        self.servers = servers
        self._adapters = adapters

    def __call__(self, *argv: str) -> Adapter:
        adapter = Adapter(self.servers, *argv)
        self._adapters.append(adapter)
        return adapter


@pytest.fixture
def start(started: tuple[Servers, list[Adapter]]) -> Starter:
    return Starter(*started)


def test_map(start: Starter) -> None:
    adapter = start("map", "sed", "-u", "s/foo/bar/")
    adapter.write(message("foo\nfoo"), message(b"foo"), TICK)
    assert adapter.read(3) == [message("bar\nbar"), message(b"foo"), TICK]
    adapter.write(message("é foo"))
    assert adapter.finish() == ([message("é bar")], [], 0)


def test_map_answers_to_its_end_a_program_that_holds_its_lines_back(start: Starter) -> None:
    adapter = start("map", "rev | tr a b")
    adapter.write(*[message("abc", number) for number in range(1000)], TICK)
    frames, said, status = adapter.finish()
    assert frames == [*[message("cbb", number) for number in range(1000)], TICK]
    assert (said, status) == ([], 0)


@pytest.mark.parametrize("option", ["--stdbuf", "--pty"])
def test_a_program_that_holds_its_lines_back_can_be_helped(start: Starter, option: str) -> None:
    if option == "--stdbuf":
        subprocess.run(["stdbuf", "--version"], stdout=subprocess.DEVNULL, check=True)
    adapter = start("map", option, "sed", "s/foo/bar/")
    adapter.write(message("foo"), TICK)
    assert adapter.read(2) == [message("bar"), TICK]
    assert adapter.finish() == ([], [], 0)


def test_one_that_is_not_helped_is_told(start: Starter) -> None:
    adapter = start("map", "sed", "s/foo/bar/")
    adapter.write(message("foo"))
    assert adapter.process.stderr is not None
    assert b"has answered nothing for 1 s: give sed the option -u, or try map --pty" in os.read(
        adapter.process.stderr.fileno(), 4096
    )
    assert adapter.finish() == ([message("bar")], [], 0)


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (["nonesuch"], "map: nonesuch: no such command on PATH", 2),
        ([], "map: expected a command to run", 2),
        (["--newline", "drop", "cat"], "map: --newline: expected keep, escape or reject, got 'drop'", 2),
        (["false"], "map: false ended with status 1", 1),
        (["true"], "map: true ended with status 0", 1),
        (["read -r line"], "map: read -r line ended with status 0, with 1 message unanswered", 1),
        (["kill -9 $$"], "map: kill -9 $$ was killed by SIGKILL", 1),
        (["exec >&-; read -r go"], "map: exec >&-; read -r go ended with status", 1),
        (["echo banner; cat"], "map: a line that answers no message", 1),
        (["sed", "-u", "p"], "map: a line that answers no message", 1),
    ],
)
def test_map_with_a_program_that_fails(start: Starter, words: list[str], said: str, status: int) -> None:
    adapter = start("map", *words)
    try:
        adapter.write(TICK, message("foo"))
        assert adapter.process.wait(PATIENCE_S) == status  # at once: it doesn't wait for the end of its input
    except BrokenPipeError:
        pass
    frames, lines, code = adapter.finish()
    assert frames[:1] in ([], [TICK])
    assert len(lines) == 1
    assert lines[0].startswith(said)
    assert code == status


def test_map_with_garbage_that_is_not_utf_8(start: Starter) -> None:
    adapter = start("map", "tr x '\\377'")
    adapter.write(message("axb"))
    frames, [line], status = adapter.finish()
    assert (frames, status) == ([message("a\ufffdb")], 0)
    assert line.startswith("map: an answer that is not UTF-8: bytes b'a\\xffb'")


def test_map_with_lines_of_10_mb(start: Starter) -> None:
    large = "x" * 10_000_000
    adapter = start("map", "cat")
    adapter.write(message(large), TICK)
    assert adapter.finish() == ([message(large), TICK], [], 0)


def test_map_with_a_line_that_has_no_end(start: Starter) -> None:
    adapter = start("map", "cat /dev/zero")
    adapter.write(message("foo"))
    assert adapter.process.wait(PATIENCE_S) == 1
    _, [line], _ = adapter.finish()
    assert line == "map: a line of the program is over the limit of 16777216 bytes"


@pytest.mark.parametrize("script", ["sleep 1000", "exec <&-; sleep 1000"], ids=["never reads", "closes its input"])
def test_a_program_that_does_not_read_holds_its_adapter_and_no_memory(start: Starter, script: str) -> None:
    adapter = start("map", script)
    assert adapter.process.stdin is not None
    descriptor = adapter.process.stdin.fileno()
    os.set_blocking(descriptor, False)
    written = 0
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    while poll.poll(_FULL_MS):
        written += os.write(descriptor, encode(message("x" * 900)))
        assert written < 4_000_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("script", ["trap '' TERM; sleep 1000 & read -r go; sleep 1000", "sleep 1000"])
def test_nothing_is_left_running_when_the_adapter_is_ended(start: Starter, number: signal.Signals, script: str) -> None:
    adapter = start("map", script)
    adapter.write(TICK)
    adapter.read(1)
    adapter.process.send_signal(number)
    assert adapter.process.wait(PATIENCE_S) == -number
    eventually(lambda: not start.servers.processes(), "the end of all that it has started")


def test_nothing_is_left_running_when_the_program_forks_and_leaves(start: Starter) -> None:
    adapter = start("map", "sleep 1000 & exit 0")
    assert adapter.process.wait(PATIENCE_S) == 1
    assert adapter.finish()[1] == ["map: sleep 1000 & exit 0 ended with status 0"]
    eventually(lambda: not start.servers.processes(), "the end of all that it has started")


def test_broken_framing_is_told_when_what_came_before_it_is_answered(start: Starter) -> None:
    adapter = start("map", "sed", "s/foo/bar/")
    assert adapter.process.stdin is not None
    adapter.process.stdin.write(encode(message("foo")) + b"\xc1")
    frames, [line], status = adapter.finish()
    assert (frames, status) == ([message("bar")], 1)
    assert line.startswith("map: broken frame from stdin, at byte ")


def test_nobody_reads_its_output(start: Starter) -> None:
    adapter = start("map", "sleep 1000 & cat")
    assert adapter.process.stdout is not None
    adapter.process.stdout.close()
    adapter.write(message("foo"))
    assert adapter.process.wait(PATIENCE_S) == 0
