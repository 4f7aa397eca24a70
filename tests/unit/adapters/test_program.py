"""One run of a program: its pipes never block us, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fws_pipe.adapters.command import command_of
from fws_pipe.adapters.guard import Guard
from fws_pipe.adapters.loop import Loop
from fws_pipe.adapters.program import BACKLOG_BYTES, Program
from fws_pipe.errors import UsageError
from tests.harness import PATIENCE_S, eventually


class Run:
    """A program, and what comes of it."""

    def __init__(self, loop: Loop, guard: Guard, script: str, *, has_terminal: bool = False) -> None:
        self.loop = loop
        self.output = b""
        self.errors: list[bytes] = []
        self.status: int | None = None
        self.rooms = 0
        self.waits_for = b""
        self.program = Program(
            loop, guard, command_of(["/bin/sh", "-c", script], has_terminal=has_terminal),
            on_output=self._take, on_end=self._end, on_room=self._note_room, on_error_line=self.errors.append,
        )  # fmt: skip

    def _take(self, block: bytes) -> None:
        self.output += block
        if self.waits_for and self.waits_for in self.output:
            self.loop.stop()

    def _end(self, status: int) -> None:
        assert self.status is None
        self.status = status
        self.loop.stop()

    def _note_room(self) -> None:
        self.rooms += 1

    def until(self, output: bytes) -> None:
        """Let it run until it has written this."""
        self.waits_for = output
        self._run()

    def to_end(self) -> int | None:
        self.waits_for = b""
        self._run()
        return self.status

    def _run(self) -> None:
        self.loop._is_stopped = False
        watchdog = self.loop.call_later(PATIENCE_S, self.loop.stop)
        self.loop.run(lambda: None)
        watchdog.cancel()


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


@pytest.fixture
def guard(loop: Loop) -> Iterator[Guard]:
    guard = Guard()
    yield guard
    guard.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].startswith(" Z")


def test_what_it_reads_and_writes(loop: Loop, guard: Guard) -> None:
    run = Run(loop, guard, "cat; echo to stderr >&2; printf rest >&2; exit 7")
    run.program.write(b"hello\n")
    run.until(b"hello\n")
    assert not run.program.is_full
    run.program.end_input()
    assert run.to_end() == 7
    assert run.errors == [b"to stderr", b"rest"]
    run.program.write(b"too late")
    run.program.end()
    run.program.kill()


def test_what_it_does_not_read_yet_waits_and_says_so(loop: Loop, guard: Guard) -> None:
    run = Run(loop, guard, "echo ready; read -r go; wc -c")
    run.until(b"ready\n")
    run.program.write(b"x" * 2 * BACKLOG_BYTES)
    assert run.program.is_full
    assert run.program.backlog > BACKLOG_BYTES
    run.program.write(b"\n12345")
    run.program.end_input()
    assert run.to_end() == 0
    assert run.output.split() == [b"ready", b"5"]
    assert (run.rooms, run.program.backlog) == (1, 0)


def test_both_directions_at_once_do_not_block(loop: Loop, guard: Guard) -> None:
    data = os.urandom(3 * BACKLOG_BYTES)
    run = Run(loop, guard, "cat")
    run.program.write(data)
    run.program.end_input()
    assert run.to_end() == 0
    assert run.output == data


def test_one_that_closes_its_input_reads_nothing_and_harms_nobody(loop: Loop, guard: Guard) -> None:
    run = Run(loop, guard, "exec <&-; echo closed; sleep 0.01; exit 0")
    run.until(b"closed\n")
    run.program.write(b"x" * 2 * BACKLOG_BYTES)
    assert not run.program.is_reading
    assert not run.program.is_full
    assert run.to_end() == 0


def test_held_output_waits(loop: Loop, guard: Guard) -> None:
    run = Run(loop, guard, "echo one; read -r go; echo two; read -r end")
    run.until(b"one\n")
    run.program.hold_output()
    run.program.hold_output()
    run.program.write(b"go\n")
    loop.call_later(0.05, loop.stop)
    run.until(b"never")
    assert run.output == b"one\n"
    run.program.resume_output()
    run.program.resume_output()
    run.until(b"one\ntwo\n")


def test_last_words_come_also_from_one_that_is_held(loop: Loop, guard: Guard) -> None:
    run = Run(loop, guard, "echo last words")
    run.program.hold_output()
    assert run.to_end() == 0
    assert run.output == b"last words\n"


def test_a_terminal_makes_it_write_each_line(loop: Loop, guard: Guard) -> None:
    script = f"""exec {sys.executable} -c '
import sys
print(sys.stdin.isatty(), sys.stdout.isatty())
print("a\\tb")
sys.stdin.read()'"""
    run = Run(loop, guard, script, has_terminal=True)
    run.until(b"False True\na\tb\n")
    run.program.end()
    assert run.to_end() == 0


def test_the_ladder_ends_the_whole_group(loop: Loop, guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fws_pipe.adapters.program.TERM_S", 0.05)
    monkeypatch.setattr("fws_pipe.adapters.program.KILL_S", 0.2)
    run = Run(loop, guard, "trap 'echo SIGTERM' TERM; sleep 1000 & echo $!; while :; do wait; done")
    run.until(b"\n")
    started = time.monotonic()
    run.program.end()
    run.program.end()
    assert run.to_end() == -signal.SIGKILL
    assert time.monotonic() - started >= 0.2
    sleeper, word = run.output.split()
    assert word == b"SIGTERM"
    eventually(lambda: not is_alive(int(sleeper)), "the end of what it has started")


def test_terminate_leaves_out_a_rung(loop: Loop, guard: Guard) -> None:
    run = Run(loop, guard, "echo ready; while :; do sleep 0.01; done")
    run.until(b"ready")
    run.program.terminate()
    assert run.to_end() == -signal.SIGTERM


def test_what_it_leaves_behind_gets_a_moment_and_then_sigkill(
    loop: Loop, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fws_pipe.adapters.program.LEFTOVERS_S", 0.05)
    run = Run(loop, guard, "sleep 1000 & echo $!")
    assert run.to_end() == 0
    eventually(lambda: not is_alive(int(run.output)), "the end of what it has started")


def test_what_it_leaves_behind_without_its_output_goes_at_once(loop: Loop, guard: Guard) -> None:
    run = Run(loop, guard, "sleep 1000 >/dev/null 2>&1 & echo $!")
    assert run.to_end() == 0
    eventually(lambda: not is_alive(int(run.output)), "the end of what it has started")


def test_one_that_closes_its_output_is_ended(loop: Loop, guard: Guard) -> None:
    run = Run(loop, guard, "exec >&-; cat; exit 3")
    assert run.to_end() == 3


def test_kill_leaves_nothing_and_calls_nobody(loop: Loop, guard: Guard) -> None:
    run = Run(loop, guard, "sleep 1000 & echo $!; wait")
    run.until(b"\n")
    run.program.kill()
    run.program.kill()
    assert run.status is None
    eventually(lambda: not is_alive(int(run.output)), "the end of what it has started")


def test_one_that_can_not_be_started_leaves_no_descriptor(loop: Loop, guard: Guard) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(UsageError, match="no such command on PATH"):
        Program(
            loop, guard, command_of(["no-such-command"], has_terminal=True),
            on_output=lambda block: None, on_end=lambda status: None, on_room=lambda: None,
        )  # fmt: skip
    assert set(os.listdir("/proc/self/fd")) == before


def test_descriptors_are_given_back(loop: Loop, guard: Guard) -> None:
    Run(loop, guard, "exit 0").to_end()  # the guard has started
    before = set(os.listdir("/proc/self/fd"))
    for script in ("exit 0", "cat", "exec <&- >&- 2>&-"):
        run = Run(loop, guard, script)
        run.program.end()
        run.to_end()
    assert set(os.listdir("/proc/self/fd")) == before
