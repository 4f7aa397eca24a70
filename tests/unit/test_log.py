"""The log never waits for stderr, and drops and counts what it can't hold."""

from __future__ import annotations

import os

from fws_pipe.log import QUEUE_LIMIT_BYTES, Level, Log


def test_lines_come_out_in_order_and_by_level() -> None:
    read_end, write_end = os.pipe()
    log = Log("p", Level.INFO, write_end)
    log.debug("hidden")
    log.info("one")
    log.always("two")
    log.line(b"raw \xff")
    log.close()
    os.close(write_end)
    with open(read_end, "rb") as file:
        assert file.read() == b"p: one\np: two\nraw \xff\n"


def test_a_stuck_stderr_blocks_nobody_and_the_loss_is_told() -> None:
    read_end, write_end = os.pipe()
    log = Log("p", Level.INFO, write_end)
    line = b"x" * 1000
    count = 2 * QUEUE_LIMIT_BYTES // 1000 + 5000  # one queue is being written, and another waits behind it
    for _ in range(count):
        log.line(line)
    with open(read_end, "rb") as file:
        came = dropped = 0
        while came + dropped < count:
            text = file.readline()
            if b"lines were dropped" in text:
                dropped += int(text.split()[1])
            else:
                assert text == line + b"\n"
                came += 1
    assert dropped > 0
    log.close()
    os.close(write_end)


def test_a_stderr_that_is_gone_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    log = Log("p", Level.INFO, write_end)
    for _ in range(10):
        log.always("x")
    log.close()
    os.close(write_end)
