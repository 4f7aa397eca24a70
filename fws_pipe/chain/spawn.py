"""One run of a chain: its processes and its pipes, from start to end.

    our head pipe -> stage 1 -> stage 2 -> ... -> sink -> our tail pipe

The source is run in the same way, as a chain of one process.

Every process leads a process group of its own, so that the processes that it starts end with it. We hold two pipe ends:
the head's write end and the tail's read end; all others are closed as soon as the child has them. The caller of
`start_chain` must `watch` the `RunningChain` and `bury` it at last.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from fws_pipe.chain.buffering import mend_for
from fws_pipe.chain.delay import stage_waited_for
from fws_pipe.chain.stderr import StderrCopier
from fws_pipe.chain.stdout import ServerStdout, StdoutCopier
from fws_pipe.log import Log
from fws_pipe.pipes.blocks import identity_of
from fws_pipe.pipes.ends import Fill, PipeGauge, PipeReader, PipeWriter, make_pipe
from fws_pipe.system.signals import ending_of
from fws_pipe.wording import counted


class Rung(NamedTuple):
    """A step towards ending processes: a signal (None: only the end of their input), and how long to wait then."""

    name: str
    signal: signal.Signals | None
    wait_s: float


LADDER = (
    Rung("end of input", None, 2.0),
    Rung("SIGTERM", signal.SIGTERM, 2.0),
    Rung("SIGKILL", signal.SIGKILL, 1.0),
)

_BLAME_S = 0.1
"""How long to wait for a better reason than a process that only its neighbour's death has ended."""

_LAST_WORDS_S = 0.2
"""How long to wait for the end of a dead stage's stderr, which a process that it started may keep open."""


_SAMPLES = 4
"""How many checks a pipe must hold bytes at for its reader to count as slow."""

_SILENT_SAMPLES = 2
"""At how many checks no stage may have unread input, before one of them counts as silent."""

_LEFTOVERS_S = 1.0
"""How long processes that a stage has started may outlive it after a crash: clients wait for their chain."""


@dataclass(frozen=True)
class Surroundings:
    """What all processes of a chain share: their environment, and the server's stdout."""

    environment: Mapping[str, str]
    stdout: ServerStdout


class _Stage:
    """One process of the chain."""

    def __init__(
        self,
        label: str,
        command: str,
        process: trio.Process,
        stderr: StderrCopier,
        stdout: StdoutCopier,
        readers: Sequence[PipeReader],
        input_gauge: PipeGauge,
    ) -> None:
        self.label = label
        self.command = command
        """As the user wrote it; empty for a program of ours."""
        self.process = process
        self.input_gauge = input_gauge
        """Measures how many bytes wait on its stdin."""
        self.stderr = stderr
        self.stdout = stdout
        """Copies the text that it writes for people on the server's stdout."""
        self._readers = readers
        """The read ends behind `stderr` and `stdout`, which this object owns."""

    def signal_group(self, number: signal.Signals) -> None:
        # The group may be empty, or hold only processes that we may not signal (setuid).
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    @property
    def has_exited(self) -> bool:
        return self.process.returncode is not None

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        self.input_gauge.close()

    @property
    def innocence(self) -> int:
        """How unlikely it is to be the cause, from 0: a neighbour's death ends a stage with SIGPIPE or status 0."""
        return {0: 1, -signal.SIGPIPE: 2}.get(self.process.returncode or 0, 0)

    def epitaph(self) -> str:
        """How it ended: `stage 1 "cat" exited with status 1`."""
        return f"{self.label} {ending_of(self.process.returncode or 0)}"


class Epitaph(NamedTuple):
    """Why a run failed, and the last line on stderr of the stage to blame; empty where there is none."""

    failure: str
    last_words: str = ""

    def __str__(self) -> str:
        return f"{self.failure}; its last words: {self.last_words}" if self.last_words else self.failure


class StageReport(NamedTuple):
    """What one process is doing."""

    name: str
    pid: int | None
    """None: it doesn't run."""
    state: str
    restarts: int
    """How often it has been started again after a failure."""
    input: Fill | None = None
    """How full the pipe on its stdin is; None where it has none, or the system doesn't tell."""
    output: Fill | None = None
    """The same for its stdout."""
    events: int | None = None
    """How many events have come out of it since the server started, where that is counted."""


class RunningChain:
    """The processes of one run, started by `start_chain`.

    `head` takes events, `tail` gives actions.
    """

    def __init__(self, stages: list[_Stage], head: PipeWriter, tail: PipeReader, log: Log) -> None:
        self._stages = stages
        self.head = head
        self.tail = tail
        self._log = log
        self.failed = trio.Event()
        """Set when a process has exited, or `fail` was called."""
        self._failure = ""
        self._exited: list[_Stage] = []
        self._guilty_exit = trio.Event()
        self._all_exited = trio.Event()
        self.was_cut_off = False
        """Whether signals had to end processes, which so may not have read all that was written to them."""
        self.known: Mapping[str, bytes] = {}
        """The `open` of each client in the introduction that it got as a successor, by client id."""
        self._inputs: deque[Sequence[int]] = deque(maxlen=_SAMPLES)
        """The bytes that waited before each stage, at each of the last few checks."""
        self.leftovers_s = _LEFTOVERS_S
        """How long processes that a stage has started may outlive it. They share its stderr: its end shows theirs."""

    async def watch(self) -> None:
        """Copy the stages' stdout and stderr, and wait for the processes, until all have ended."""
        async with trio.open_nursery() as nursery:
            for stage in self._stages:
                nursery.start_soon(stage.stderr.run)
                nursery.start_soon(stage.stdout.run)
            async with trio.open_nursery() as processes:
                for stage in self._stages:
                    processes.start_soon(self._wait_for, stage)
            self._all_exited.set()

    async def _wait_for(self, stage: _Stage) -> None:
        await stage.process.wait()
        self._exited.append(stage)
        self.failed.set()
        if stage.innocence == 0:
            self._guilty_exit.set()
        # A process that the stage has started may have output to finish, as gzip has in `tee >(gzip >x)`; it ends when
        # it sees the end of its input. One that stays longer keeps the pipes open, and so the stages behind alive.
        with trio.move_on_after(self.leftovers_s):
            await stage.stderr.ended.wait()
        if not stage.stderr.ended.is_set():
            self._log.info(f"SIGKILL for the processes that {stage.label} has left behind")
        stage.signal_group(signal.SIGKILL)

    def fail(self, failure: str) -> None:
        """Declare the run failed for another reason than a process's end. The first reason counts."""
        self._failure = self._failure or failure
        self.failed.set()
        self._guilty_exit.set()

    def fail_unless_dead(self, failure: str) -> None:
        """Declare the run failed, unless it has failed already: then this is only a consequence."""
        if not self.failed.is_set():
            self.fail(failure)

    async def epitaph(self) -> Epitaph:
        """Why the run failed: how the most suspicious stage ended, with its last line on stderr."""
        with trio.move_on_after(_BLAME_S):
            # A dying process closes its pipes before its end can be noticed, so a neighbour may seem to die first.
            await self._guilty_exit.wait()
        if self._failure or not self._exited:
            return Epitaph(self._failure)
        # Of two that have just ended the one in front is the cause: the end of input travels down the chain.
        culprit = min(self._exited, key=lambda stage: (stage.innocence, self._stages.index(stage)))
        with trio.move_on_after(_LAST_WORDS_S):
            await culprit.stderr.ended.wait()
        return Epitaph(culprit.epitaph(), culprit.stderr.last_words)

    def kill_up_to_the_dead(self) -> None:
        """Kill the stages up to the last one that has exited, with the processes that they have started.

        The stages behind see the end of input and write what they have, so that finished replies still arrive.
        """
        exited = [index for index, stage in enumerate(self._stages) if stage.process.poll() is not None]
        last = max(exited, default=-1)
        for stage in self._stages[: last + 1]:
            stage.signal_group(signal.SIGKILL)

    def name_waited_for(self) -> str:
        """Which stage events wait for, and how that shows, as a clause. It is most reliable after several checks."""
        self._inputs.append([stage.input_gauge.measure() for stage in self._stages])
        index = stage_waited_for(self._inputs)
        if index is None:
            return "one of its stages has read all its input and does not answer"
        stage = self._stages[index]
        unread = counted(self._inputs[-1][index], "byte")
        return f"{stage.label} (pid {stage.process.pid}) leaves {unread} of its input unread"

    def name_silent(self) -> str | None:
        """The stage of the user's that keeps the first tick back, and the mend, as a clause.

        None while input lies unread, as it does until a program has started; it is called check by check.
        """
        self._inputs.append([stage.input_gauge.measure() for stage in self._stages])
        users = [stage for stage in self._stages if stage.command]
        if len(self._inputs) < _SILENT_SAMPLES or any(map(any, self._inputs)) or not users:
            return None
        # What has written nothing comes first; what a stage writes on stderr counts as well, so that is a hint.
        stage = min(users, key=lambda stage: _has_written(stage.process.pid))
        return f"{stage.label} has read its input and passes no tick on; {mend_for(stage.command)}"

    def report(self, state: str, restarts: int) -> list[StageReport]:
        """What the processes are doing; `state` is that of those that run."""
        fills = [*(stage.input_gauge.fill() for stage in self._stages), self.tail.fill()]
        return [
            StageReport(stage.label, stage.process.pid, "exited" if stage.has_exited else state, restarts, *pipes)
            for stage, pipes in zip(self._stages, itertools.pairwise(fills), strict=True)
        ]

    def end_input(self) -> None:
        """Close the head: the first stage sees the end of its input behind what is in the pipe."""
        self.head.close()

    async def wait_gone(self) -> None:
        """Wait until all processes have ended."""
        await self._all_exited.wait()

    @property
    def is_gone(self) -> bool:
        """Whether all processes have ended."""
        return self._all_exited.is_set()

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process group."""
        for stage in self._stages:
            stage.signal_group(number)

    async def climb_down(self, ladder: Sequence[Rung], hurry: trio.Event, name: str) -> None:
        """End the processes that still run, rung by rung; `hurry` skips to the last rung.

        `name` is the whole chain's name in messages.
        """
        for rung in ladder:
            if self._all_exited.is_set():
                break
            is_last = rung is ladder[-1]
            if hurry.is_set() and not is_last:
                continue
            remaining = [stage for stage in self._stages if not stage.has_exited]
            if rung.signal is not None and remaining:
                names = ", ".join(f"{stage.label} (pid {stage.process.pid})" for stage in remaining)
                self._log.always(f"{rung.name} for {names}")
                self.was_cut_off = True
                for stage in remaining:
                    stage.signal_group(rung.signal)
            elif rung.signal is None:
                self._log.info(f"{rung.name} for {name}")
            with trio.move_on_after(rung.wait_s):
                await wait_for_any(self._all_exited.wait, *([] if is_last else [hurry.wait]))

    def kill_leftovers(self) -> None:
        """Kill every process group: stages that the ladder has not ended, and processes that stages have started."""
        self.signal_all(signal.SIGKILL)

    def bury(self) -> None:
        """Kill every process group, and close our pipe ends. Idempotent."""
        self.kill_leftovers()
        for stage in self._stages:
            stage.close()
        self.end_input()
        self.tail.close()


def _has_written(pid: int) -> bool:
    """Whether a process has ever written anything (/proc/PID/io, proc(5)); False where the system doesn't tell."""
    try:
        with open(f"/proc/{pid}/io", "rb") as file:
            return b"wchar: 0\n" not in file.read()
    except OSError:
        return False


async def wait_for_any(*conditions: Callable[[], Awaitable[object]]) -> None:
    """Wait until one of these, such as an event's `wait`, returns."""
    async with trio.open_nursery() as nursery:

        async def wait(condition: Callable[[], Awaitable[object]]) -> None:
            await condition()
            nursery.cancel_scope.cancel()

        for condition in conditions:
            nursery.start_soon(wait, condition)


@dataclass(frozen=True)
class Program:
    """A process to start: `label` names it in messages, `environment` adds to that of the surroundings."""

    label: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    version: object = None
    """The signatures of its files: two programs with the same words differ if a file has changed."""
    command: str = ""
    """A stage that is no filter of ours, as the user wrote it; messages name it with their mends."""


def module_program(label: str, module: str, environment: Mapping[str, str]) -> Program:
    """A module of this package as a program."""
    # -P: a file in the current folder must not shadow a module of ours.
    return Program(label, [sys.executable, "-P", "-m", module], environment)


async def start_chain(programs: Sequence[Program], surroundings: Surroundings, log: Log) -> RunningChain:
    """Start the programs on new pipes, in order. Raises OSError when the system has no process or descriptor left."""
    stages: list[_Stage] = []
    with contextlib.ExitStack() as undo, contextlib.ExitStack() as childrens_ends:
        head = make_pipe()
        undo.callback(os.close, head.write_end)
        childrens_ends.callback(os.close, head.read_end)
        stdin, writer, writers_command = head.read_end, "the front", ""
        for program in programs:
            out = make_pipe()
            childrens_ends.callback(os.close, out.write_end)
            environment = {
                **surroundings.environment,
                **program.environment,
                "FWS_STDOUT_FD": str(surroundings.stdout.number),
                "FWS_STAGE": program.label,
                "FWS_READS_FROM": writer,
                "FWS_READS_FROM_COMMAND": writers_command,
            }
            if program in programs[-2:-1]:
                # So the last stage knows that only the sink reads its events: see sdk/functions.py.
                environment["FWS_SINK_PIPE"] = identity_of(out.write_end)
            stage = await _start(program, stdin, out.write_end, environment, surroundings.stdout, log)
            undo.callback(stage.close)
            undo.callback(stage.signal_group, signal.SIGKILL)
            stages.append(stage)
            if program is programs[-1]:
                undo.callback(os.close, out.read_end)
            else:
                childrens_ends.callback(os.close, out.read_end)
            stdin, writer, writers_command = out.read_end, program.label, program.command
        undo.pop_all()
        return RunningChain(stages, PipeWriter(head.write_end), PipeReader(stdin), log)


async def _start(
    program: Program, stdin: int, stdout: int, environment: dict[str, str], server_stdout: ServerStdout, log: Log
) -> _Stage:
    with contextlib.ExitStack() as undo, contextlib.ExitStack() as childs_ends:
        stderr = make_pipe()
        childs_ends.callback(os.close, stderr.write_end)
        errors = PipeReader(stderr.read_end)
        undo.callback(errors.close)
        text = make_pipe(is_large=False)
        childs_ends.callback(os.close, text.write_end)
        lines = PipeReader(text.read_end)
        undo.callback(lines.close)
        gauge = PipeGauge(stdin)
        undo.callback(gauge.close)
        async with server_stdout.lent(text.write_end):
            process = await trio.lowlevel.open_process(
                list(program.argv),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr.write_end,
                env=environment,
                process_group=0,
                pass_fds=(server_stdout.number,),
            )
        undo.pop_all()
    copiers = StderrCopier(errors, program.label, process.pid, log), server_stdout.copier_for(lines)
    return _Stage(program.label, program.command, process, *copiers, (errors, lines), gauge)
