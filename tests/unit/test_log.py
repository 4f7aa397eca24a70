"""The log never waits for stderr, and drops and counts what it can't hold."""

from __future__ import annotations

import os
import threading

from fws_pipe.log import QUEUE_LIMIT_BYTES, Level, LineWriter, Log
from tests.harness import eventually


def test_lines_come_out_in_order_and_by_level() -> None:
    read_end, write_end = os.pipe()
    log = Log("p", Level.INFO, write_end)
    log.debug("hidden")
    log.info("one")
    log.always("two \x1b[2J\r\n\u202e\udc9b")
    log.line("as it is: é")
    log.close()
    os.close(write_end)
    with open(read_end, "rb") as file:
        assert file.read() == b"p: one\np: two \\x1b[2J\\r\\n\\u202e\\udc9b\nas it is: \xc3\xa9\n"


def test_a_stuck_stderr_blocks_nobody_and_the_loss_is_told() -> None:
    read_end, write_end = os.pipe()
    log = Log("p", Level.INFO, write_end)
    line = "x" * 1000
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
                assert text.decode() == line + "\n"
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


def test_what_a_full_disk_refuses_is_told_once_and_again_when_there_is_room() -> None:
    losses: list[str] = []
    recoveries: list[int] = []
    told = threading.Event()

    def recover(count: int) -> None:
        recoveries.append(count)
        told.set()

    read_end, write_end = os.pipe()
    number = os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(number, losses.append, recover)
    for _ in range(3):
        writer.write(b"one\ntwo\n")
        eventually(lambda: writer.waiting == 0, "the write")
    os.dup2(write_end, number)
    writer.write(b"three\n")
    assert told.wait(30)
    assert (losses, recoveries, writer.dropped) == (["No space left on device"], [6], 6)
    assert os.read(read_end, 100) == b"three\n"
    writer.finish(30)
    for descriptor in (read_end, write_end, number):
        os.close(descriptor)


def test_a_non_blocking_descriptor_loses_nothing() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    log = Log("p", Level.INFO, write_end)
    with open(read_end, "rb") as file:
        for number in range(3000):
            log.line(f"{number} " + "x" * 100)
        for number in range(3000):
            assert file.readline().startswith(b"%d " % number)
    log.close()
    os.close(write_end)
