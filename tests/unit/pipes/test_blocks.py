"""The loop of every program on a pipe, on descriptors that another program has made non-blocking."""

from __future__ import annotations

import os
import threading

from fws_pipe.pipes.blocks import ReadBuffer, write_all


def test_a_non_blocking_pipe_is_waited_for_at_both_ends() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    data = os.urandom(1024 * 1024)
    blocks: list[bytes] = []

    def read() -> None:
        buffer = ReadBuffer()
        while block := buffer.read_waiting(read_end):
            blocks.append(block)

    thread = threading.Thread(target=read)
    thread.start()
    write_all(write_end, data)
    os.close(write_end)
    thread.join(30)
    os.close(read_end)
    assert b"".join(blocks) == data
