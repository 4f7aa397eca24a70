"""A chain of shell scripts under supervision, and a fake of the front's side of it."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import trio

from fws_pipe.chain.spawn import Program, Surroundings
from fws_pipe.chain.stdout import ServerStdout
from fws_pipe.chain.supervisor import Supervisor
from fws_pipe.log import Log
from fws_pipe.pipes.ends import Inlet, Outlet
from fws_pipe.protocol.codec import Frame, FrameDecoder, encode, type_of
from fws_pipe.protocol.events import TICK
from tests.harness import PATIENCE_S

FIRST_TICK = encode({"type": TICK, "seq": 1, "time": 0.0})
KNOWN = {"a": b"what the introduction said of client a"}

PASS_ALL = "exec cat"


def frame(name: str) -> bytes:
    """A frame that the fake exchange writes as an event, and notes by this name when it comes back."""
    return encode({"type": "message", "name": name})


def passing(*frames: bytes) -> str:
    """A command that passes on so many bytes, and then ends."""
    return f"dd bs=1 count={sum(map(len, frames))} 2>/dev/null"


def script(text: str, label: str = "stage") -> Program:
    """A program that runs a shell script."""
    return Program(label, ["/bin/sh", "-c", text])


class FakeExchange:
    """Writes a tick at the start of each run, then what `send` is given, and notes what comes back."""

    def __init__(self) -> None:
        self.ready = trio.Event()
        self.returns_ticks = True
        self.stalled = trio.Event()
        """Set by a test: the chain returns no tick."""
        self.introduced = trio.Event()
        """Set once a successor has asked for its introduction."""
        self.history: list[str] = []
        """What has happened, in order: "serves", names of frames, "died" or "replaced" between two runs."""
        self.known: list[Mapping[str, bytes]] = []
        """What each run's chain had been told before."""
        self.changes: list[bool] = []
        """Whether the programs changed, for each end of a run."""
        self._waiting: deque[bytes] = deque()
        self._is_finishing = False
        self._changed = trio.Event()

    def send(self, name: str) -> None:
        """Write an event as soon as the chain takes events."""
        self._waiting.append(frame(name))
        self._note_change()

    async def wait_written(self) -> None:
        """Wait until all that was sent is in the chain's first pipe."""
        while self._waiting:
            await self._changed.wait()

    async def wait_history(self, *history: str) -> None:
        """Wait until this has happened, and nothing else."""
        while self.history != list(history):
            assert self.history == list(history[: len(self.history)])
            await self._changed.wait()

    def _note(self, what: str) -> None:
        self.history.append(what)
        self._note_change()

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # What the supervisor calls.

    async def write_events(self, pipe: Outlet, known: Mapping[str, bytes]) -> None:
        self.known.append(known)
        self._is_finishing = False
        await pipe.write(FIRST_TICK)
        while not self._is_finishing:
            if self._waiting:
                await pipe.write(self._waiting[0])
                self._waiting.popleft()
                self._note_change()
            else:
                await self._changed.wait()

    def finish_events(self) -> None:
        self._is_finishing = True
        self._note_change()

    def introduce(self) -> tuple[bytes, Mapping[str, bytes]]:
        self.introduced.set()
        return FIRST_TICK, KNOWN

    async def wait_idle(self) -> None:
        await trio.lowlevel.checkpoint()

    async def execute_all(self, inlet: Inlet, source: str) -> None:
        decoder = FrameDecoder(source)
        block = inlet.early or await inlet.read()
        while block:
            decoder.feed(block)
            for action in decoder.frames():
                self._execute(action)
            block = await inlet.read()
        decoder.finish()

    def _execute(self, action: Frame) -> None:
        if type_of(action) != TICK:
            self._note(str(action["name"]))
        elif not self.ready.is_set():
            self.ready.set()
            self._note("serves")

    async def wait_stalled(self) -> None:
        await self.stalled.wait()

    @property
    def ticks_under_way(self) -> tuple[int | None, int]:
        return None, 0

    def nudge(self) -> None:
        pass

    def prepare_restart(self, *, is_replaced: bool, is_changed: bool) -> list[str]:
        self.ready, self.stalled = trio.Event(), trio.Event()
        self.changes.append(is_changed)
        self._note("replaced" if is_replaced else "died")
        return ["this is the consequence"]

    def give_up_on_ticks(self) -> None:
        pass


class Supervised:
    """A supervisor with its fake exchange, and what it has logged."""

    def __init__(self, programs: Sequence[Program], surroundings: Surroundings, log: Log) -> None:
        self.exchange = FakeExchange()
        self.supervisor = Supervisor(programs, surroundings, self.exchange, log)
        self.logged = ""
        """What it has logged, once it has ended."""


@contextlib.contextmanager
def surroundings_in(folder: Path) -> Iterator[tuple[Surroundings, Log]]:
    """The surroundings of a chain; the log goes to the file `log`, which is whole behind the block."""
    stdout = os.open(os.devnull, os.O_WRONLY)
    try:
        with (folder / "log").open("w") as file:
            log = Log("test", descriptor=file.fileno())
            try:
                yield Surroundings({"PATH": os.environ["PATH"]}, ServerStdout(stdout, log)), log
            finally:
                log.close()
    finally:
        os.close(stdout)


def supervise(
    folder: Path, programs: Sequence[Program], scenario: Callable[[Supervised], Awaitable[None]]
) -> Supervised:
    """Run a supervisor, a scenario beside it, and then stop it, unless the scenario has; returns what there was."""

    async def main() -> Supervised:
        with trio.fail_after(PATIENCE_S), surroundings_in(folder) as (surroundings, log):
            supervised = Supervised(programs, surroundings, log)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(supervised.supervisor.run)
                await scenario(supervised)
                supervised.supervisor.stop(PATIENCE_S)
        supervised.logged = (folder / "log").read_text()
        return supervised

    return trio.run(main)
