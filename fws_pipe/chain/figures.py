"""What every process of a running server uses, how full the pipes between them are, and which stage is the brake.

Reads: /proc and the pipes, when it is asked, without the stages' help. Nothing is paid otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import trio

from fws_pipe.chain.delay import brake_of
from fws_pipe.chain.spawn import StageReport
from fws_pipe.pipes.ends import Fill
from fws_pipe.protocol.codec import PIPE_BYTES
from fws_pipe.system.processes import Usage, family_of, usage_of

MOST_PROCESSES = 2000
"""How many processes of one stage are looked at; the usage of further ones is left out."""

_SLICE = 16
"""How many processes are looked at before other tasks have a turn: 20 to 60 us each."""

_LOOKS = 3
_LOOK_S = 0.01
"""How often the pipes are looked at, and the pause between: bytes that are there each time wait for their reader."""


class Reporter(Protocol):
    """Has chains of processes."""

    def reports(self) -> list[list[StageReport]]:
        """What they are doing, chain by chain, each in the order of its pipes: a ring that begins with the front."""


class StageFigures(NamedTuple):
    """What one process does and uses."""

    report: StageReport
    usage: Usage | None
    """Of the process and all that it has started; of the front it is its own. None: it can't be known."""
    is_brake: bool
    """Whether the other stages of its chain wait for this one to read."""


async def figures_of(reporters: Sequence[Reporter]) -> list[StageFigures]:
    """The figures of all processes, in order. It takes some 20 ms, in which other tasks run."""
    looks = [_chains_of(reporters)]
    for _ in range(_LOOKS - 1):
        await trio.sleep(_LOOK_S)
        looks.append(_chains_of(reporters))
    brakes = [brake_of(shares) for shares in _lasting_shares(looks)]
    return [
        StageFigures(report, await _usage_of_stage(report.pid), number == brake)
        for chain, brake in zip(looks[-1], brakes, strict=True)
        for number, report in enumerate(chain)
    ]


def _chains_of(reporters: Sequence[Reporter]) -> list[list[StageReport]]:
    return [chain for reporter in reporters for chain in reporter.reports()]


def _lasting_shares(looks: Sequence[Sequence[Sequence[StageReport]]]) -> list[list[float]]:
    """How full, from 0 to 1, the input of each process of the last look has been at every look, chain by chain."""
    shares = [{(one.name, one.pid): _share_of(one.input) for chain in chains for one in chain} for chains in looks]
    return [[min(look.get((one.name, one.pid), 0.0) for look in shares) for one in chain] for chain in looks[-1]]


def _share_of(fill: Fill | None) -> float:
    return 0.0 if fill is None else fill.waiting / (fill.capacity or PIPE_BYTES)


async def _usage_of_stage(pid: int | None) -> Usage | None:
    """What a stage and all that it has started use; the server itself counts without its children."""
    if pid is None:
        return None
    if pid == os.getpid():
        return usage_of(pid, with_ended_children=False)
    together: Usage | None = None
    for number, member in enumerate(islice(family_of(pid), MOST_PROCESSES)):
        if number % _SLICE == 0:
            await trio.lowlevel.checkpoint()
        usage = usage_of(member, with_ended_children=True)
        if usage is not None:
            together = usage if together is None else together.plus(usage)
    return together
