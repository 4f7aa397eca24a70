"""Taps in the middle of a chain: one lossless reload puts them in as stages, and another takes them out."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

import trio

from fws_pipe.chain.spawn import Program, StageReport, module_program
from fws_pipe.chain.successor import Outcome
from fws_pipe.chain.tap_stage import KEY_VARIABLE, PATH_VARIABLE

_LABEL = "tap"

_CHECK_S = 0.5
"""The interval of checks whether another reload has taken the tap out."""


Receiver = Callable[[bytes, float], object]
"""Gets whole frames that have passed a tap, and the time of that, in seconds of CLOCK_MONOTONIC (clock_gettime(2))."""


class Chain(Protocol):
    """A supervised chain."""

    @property
    def name(self) -> str:
        """The route's pattern; empty for the only chain."""

    @property
    def programs(self) -> Sequence[Program]:
        """The programs that run, the sink last."""

    def reload(self, programs: Sequence[Program]) -> Outcome:
        """Replace the chain by these programs."""

    def reports(self) -> list[list[StageReport]]:
        """The state of each process."""


class TapRefusedError(Exception):
    """The chain with the taps in it does not serve; the text says why."""


def stage_labels(chain: Chain) -> list[str]:
    """The labels of a chain's stages, in order, without the sink and without taps."""
    return [program.label for program in chain.programs[:-1] if program.label != _LABEL]


def label_of(chain: Chain, stage: str) -> str | None:
    """The label of the stage with this number, name or label, perhaps behind `CHAIN: `; None: there is none."""
    stage = stage.removeprefix(prefix_of(chain))
    for label in stage_labels(chain):
        number, _, name = label.partition(' "')
        if stage in (label, number.removeprefix("stage "), name.removesuffix('"')):
            return label
    return None


def prefix_of(chain: Chain) -> str:
    """The text before a stage's label that tells its chain."""
    return f"{chain.name}: " if chain.name else ""


class StageTaps:
    """The taps of all chains. `path` tells where the control socket is, to which the tap stages send their copies."""

    def __init__(self, path: Callable[[], str]) -> None:
        self._path = path
        self._open: dict[str, Receiver] = {}
        self._reloading = trio.Lock()
        """Held during a reload, so that each begins with the programs that the last one has left."""

    def of(self, key: object) -> Receiver | None:
        """The receiver of a tap's copies, by the tap's key; None: the tap has ended."""
        return self._open.get(key) if isinstance(key, str) else None

    @contextlib.asynccontextmanager
    async def tapped(self, chain: Chain, receivers: Mapping[str, Receiver]) -> AsyncIterator[list[Program]]:
        """Tap the output of stages until the end of the block; yields the taps' programs.

        `receivers` are by stage label. One reload puts all taps in, and another takes them out. Raises TapRefusedError.
        """
        keys = {label: secrets.token_hex(16) for label in receivers}
        taps = {label: self._program(key) for label, key in keys.items()}
        self._open.update((keys[label], receiver) for label, receiver in receivers.items())
        try:
            async with self._reloading:
                problem = await chain.reload(_with_taps(chain.programs, taps)).wait()
            if problem:
                raise TapRefusedError(problem)
            yield list(taps.values())
        finally:
            for key in keys.values():
                del self._open[key]
            async with self._reloading:
                without = [program for program in chain.programs if program not in taps.values()]
                if len(without) < len(chain.programs):
                    await chain.reload(without).wait()

    def _program(self, key: str) -> Program:
        return module_program(_LABEL, "fws_pipe.chain.tap_stage", {PATH_VARIABLE: self._path(), KEY_VARIABLE: key})


def _with_taps(programs: Sequence[Program], taps: Mapping[str, Program]) -> list[Program]:
    """The programs, with a tap behind each program whose label is in `taps`."""
    return [
        each
        for program in programs
        for each in ((program, taps[program.label]) if program.label in taps else (program,))
    ]


async def wait_taken_out(chain: Chain, taps: Sequence[Program]) -> None:
    """Wait until another reload has taken one of these taps out."""
    while all(program in chain.programs for program in taps):
        await trio.sleep(_CHECK_S)
