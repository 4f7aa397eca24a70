"""A short run of the fuzzer, the same each time; `python -m tests.fuzz` is the long one."""

from __future__ import annotations

import pytest

from fws_pipe.websocket.intake import Intake
from tests.e2e.raw import Reply, frame
from tests.fuzz.campaign import fuzz
from tests.fuzz.drive import BrokenInvariantError, drive
from tests.fuzz.streams import LAST_WORD, Ending, Stream, make_stream
from tests.harness import Servers


@pytest.mark.parametrize("intake", list(Intake))
def test_mutated_frames_harm_nobody(servers: Servers, intake: Intake) -> None:
    report = fuzz(servers, 1, 10_000, "--intake", intake)
    assert report.frames >= 10_000
    assert report.answered > 0
    # The streams are what they are meant to be, of all kinds.
    assert {"Close 1000", "Close 1002", "Close 1007", "reset by the client"} <= set(report.outcomes)


def test_a_seed_makes_the_same_streams_again() -> None:
    assert [make_stream(7, number) for number in range(20)] == [make_stream(7, number) for number in range(20)]
    assert make_stream(7, 1) != make_stream(8, 1)


def test_a_wrong_echo_is_seen(servers: Servers) -> None:
    server = servers.start("mirror")
    stream = Stream(1, [frame(b"a"), frame(LAST_WORD)], 2, Ending.CLOSE, [Reply(0x81, b"b"), Reply(0x81, LAST_WORD)])
    with pytest.raises(BrokenInvariantError, match="connection 1 sent nothing wrong"):
        drive(server.port, iter([stream]))
