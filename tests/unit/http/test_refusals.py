"""Lines about refusals: bounded in number and in length, and what is not shown is counted."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from fws_pipe.http.refusals import LINES, WINDOW_S, Refusals
from fws_pipe.log import Level, Log


@pytest.mark.parametrize("level", list(Level))
def test_a_window_shows_so_many_and_counts_the_rest(tmp_path: Path, level: Level) -> None:
    clock = trio.testing.MockClock()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            refusals = Refusals(log, nursery.start_soon)
            for count in (LINES + 5, LINES, 1):
                for _ in range(count):
                    refusals.tell(("203.0.113.5", 7), "400, no", ["https://\x1b[31m" + "x" * 9000])
                await trio.testing.wait_all_tasks_blocked()
                clock.jump(WINDOW_S)
                await trio.testing.wait_all_tasks_blocked()

    with (tmp_path / "log").open("wb") as file:
        log = Log("fws-pipe", level, file.fileno())
        trio.run(main, clock=clock)
        log.close()
    lines = (tmp_path / "log").read_text().splitlines()
    if level < Level.DEBUG:
        assert not lines
        return
    assert len(lines) == 2 * LINES + 2
    assert lines[LINES] == "fws-pipe: refused 5 more within 10 s, which are not shown"
    assert lines[0].startswith("fws-pipe: refused 203.0.113.5:7, Origin 'https://\\x1b[31mxxx")
    assert all(len(line) < 400 for line in lines)
