"""The figures of stages: made-up pipes, real processes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence

import trio

from fws_pipe.chain.figures import StageFigures, figures_of
from fws_pipe.chain.spawn import StageReport
from fws_pipe.pipes.ends import Fill
from fws_pipe.system.processes import family_of


class Looks:
    """A reporter that tells other chains each time; the last one again and again."""

    def __init__(self, *looks: list[list[StageReport]]) -> None:
        self._looks = list(looks)

    def reports(self) -> list[list[StageReport]]:
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]


def ring(*waiting: int | None, pid: int | None = None, name: str = "process") -> list[StageReport]:
    """A chain with so many bytes before each process."""
    fills = [None if count is None else Fill(count, 1000) for count in waiting]
    return [StageReport(f"{name} {number}", pid, "up", 0, fill) for number, fill in enumerate(fills)]


def figures_from(*looks: list[list[StageReport]]) -> list[StageFigures]:
    return trio.run(figures_of, [Looks(*looks)])


def brakes_of(*looks: list[list[StageReport]]) -> Sequence[str]:
    return [one.report.name for one in figures_from(*looks) if one.is_brake]


def test_only_what_waits_at_every_look_makes_a_brake() -> None:
    full = [ring(0, 0, 900, 0)]
    assert brakes_of(full) == ["process 2"]
    assert brakes_of(full, full, [ring(0, 0, 0, 0)], full) == []
    assert brakes_of([ring(0, 500, 0)], [ring(0, 900, 300)], [ring(0, 900, 0)]) == ["process 1"]


def test_each_chain_has_its_own_brake() -> None:
    assert brakes_of([ring(0, 100), ring(0, 0, name="idle"), ring(5, name="source")]) == ["process 1", "source 0"]


def test_a_chain_that_has_been_started_again_meanwhile_has_no_brake_yet() -> None:
    assert brakes_of([ring(0, 900, pid=1)], [ring(0, 900, pid=2)]) == []


def test_where_nothing_can_be_known_nothing_is_told() -> None:
    (one,) = figures_from([ring(None)])
    assert (one.usage, one.is_brake) == (None, False)


def test_the_server_counts_without_its_children_and_a_stage_with_them() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 1000 & wait"], start_new_session=True) as stage:
        while len(list(family_of(stage.pid))) < 2:
            time.sleep(0.01)
        ours, theirs = figures_from([ring(0, pid=os.getpid()), ring(0, pid=stage.pid)])
        os.killpg(stage.pid, 9)
    assert ours.usage is not None
    assert ours.usage.processes == 1
    assert theirs.usage is not None
    assert theirs.usage.processes == 2
