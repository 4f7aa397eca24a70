"""Taps in the middle of a chain: each is a stage that one reload puts in and another takes out, without a loss."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import trio

from fws_pipe.chain.spawn import Program, StageReport, module_program
from fws_pipe.chain.successor import Outcome
from fws_pipe.chain.tap_stage import KEY_VARIABLE, PATH_VARIABLE
from fws_pipe.control.tap import Tap

_LABEL = "tap"

_CHECK_S = 0.5
"""How often to look whether another reload has taken the tap out."""


class Chain(Protocol):
    """A supervised chain."""

    @property
    def name(self) -> str:
        """Which of several it is; empty where it is the only one."""

    @property
    def programs(self) -> Sequence[Program]:
        """Those that run now, the sink last."""

    def reload(self, programs: Sequence[Program]) -> Outcome:
        """Replace it."""

    def report(self) -> list[StageReport]:
        """What its processes are doing."""


class TapRefusedError(Exception):
    """The chain with the tap in it does not serve; the text says why."""


def label_of(chain: Chain, stage: str) -> str | None:
    """The label of the stage that has this number, name or label, perhaps behind `CHAIN: `; None: there is none."""
    stage = stage.removeprefix(prefix_of(chain))
    for program in chain.programs[:-1]:
        number, _, name = program.label.partition(' "')
        if stage in (program.label, number.removeprefix("stage "), name.removesuffix('"')):
            return program.label
    return None


def prefix_of(chain: Chain) -> str:
    """What names a chain before its stages."""
    return f"{chain.name}: " if chain.name else ""


class StageTaps:
    """The taps of all chains. `path` is that of the control socket, to which the tap stages copy."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._open: dict[str, Tap] = {}
        self._reloading = trio.Lock()
        """Held while a tap is put in or taken out: each begins with the programs that the last one has left."""

    def of(self, key: object) -> Tap | None:
        """The tap that a copy is for; None: it has ended."""
        return self._open.get(key) if isinstance(key, str) else None

    @contextlib.asynccontextmanager
    async def tapped(self, chain: Chain, label: str) -> AsyncIterator[tuple[Tap, Program]]:
        """A tap on what the stage `label` writes, until the end of the block. Raises TapRefusedError."""
        key, tap = secrets.token_hex(16), Tap()
        program = module_program(_LABEL, "fws_pipe.chain.tap_stage", {PATH_VARIABLE: self._path, KEY_VARIABLE: key})
        self._open[key] = tap
        try:
            async with self._reloading:
                problem = await chain.reload(_with_behind(chain.programs, label, program)).wait()
            if problem:
                raise TapRefusedError(problem)
            yield tap, program
        finally:
            del self._open[key]
            async with self._reloading:
                if program in chain.programs:
                    await chain.reload([other for other in chain.programs if other != program]).wait()


def _with_behind(programs: Sequence[Program], label: str, added: Program) -> list[Program]:
    """The programs, and behind the one of this label another one."""
    return [each for program in programs for each in ((program, added) if program.label == label else (program,))]


async def wait_taken_out(chain: Chain, program: Program) -> None:
    """Wait until a chain without this program runs: somebody else has reloaded it."""
    while program in chain.programs:
        await trio.sleep(_CHECK_S)
