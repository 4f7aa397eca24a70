"""How much waits in a pipe, seen from outside: the gauge is neither of its ends."""

from __future__ import annotations

import fcntl
import os
import sys

import pytest

from fws_pipe.pipes.ends import Fill, PipeGauge, fill_of, make_pipe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has O_PATH")


def test_a_gauge_counts_what_waits_and_takes_nothing() -> None:
    pipe = make_pipe()
    gauge = PipeGauge(pipe.read_end)
    assert gauge.measure() == 0
    os.write(pipe.write_end, b"x" * 5000)
    assert gauge.measure() == gauge.measure() == 5000
    os.close(pipe.write_end)
    assert len(os.read(pipe.read_end, 10_000)) == 5000
    assert os.read(pipe.read_end, 1) == b"", "the pipe ends though the gauge is there"
    os.close(pipe.read_end)
    assert gauge.measure() == 0
    gauge.close()
    gauge.close()
    assert gauge.measure() == 0


def test_a_pipe_that_nobody_reads_breaks_though_a_gauge_is_there() -> None:
    pipe = make_pipe()
    gauge = PipeGauge(pipe.write_end)
    os.close(pipe.read_end)
    with pytest.raises(BrokenPipeError):
        os.write(pipe.write_end, b"x")
    os.close(pipe.write_end)
    gauge.close()


def test_the_fill_of_a_pipe_tells_what_it_holds_when_it_is_full() -> None:
    pipe = make_pipe(is_large=False)
    gauge = PipeGauge(pipe.write_end)
    os.write(pipe.write_end, bytes(5000))
    assert gauge.fill() == fill_of(pipe.read_end) == Fill(5000, fcntl.fcntl(pipe.read_end, fcntl.F_GETPIPE_SZ))
    gauge.close()
    assert gauge.fill() is None
    os.close(pipe.read_end)
    os.close(pipe.write_end)
