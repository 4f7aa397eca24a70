"""The log never waits for stderr, and drops and counts what it can't hold."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest

from fws_pipe.log import QUEUE_LIMIT_BYTES, TAIL_BYTES, Level, LineWriter, Log, LogSettings, Subject, Tail
from fws_pipe.log_form import LogFormat
from tests.harness import eventually


@contextlib.contextmanager
def logged(*settings: LogSettings) -> Iterator[tuple[Log, Callable[[], list[str]]]]:
    """A log, and what ends it and returns its lines."""
    read_end, write_end = os.pipe()
    log = Log("p", descriptor=write_end)
    for each in settings:
        log.configure(each)

    def lines() -> list[str]:
        log.close()
        os.close(write_end)
        with open(read_end, encoding="utf-8") as file:
            return file.read().split("\n")[:-1]

    yield log, lines


def test_lines_of_text_come_out_in_order_and_by_level() -> None:
    with logged() as (log, lines):
        log.debug("hidden")
        log.info("one", code=5)
        log.always("two \x1b[2J\r\n\u202e\udc9b")
        log.stage_line("s\x1b", 7, "as it is: é")
        log.of_part(lambda: "/chat").notice("three")
        log.of_part(lambda: "/chat").stage_line("s", 7, "four")
        log.of_part(lambda: "").notice("five")
        log.access("closed", {"id": "a 1", "code": 1000, "path": None})
        log.error(["a | b: no such filter", "a | b", "    ^"])
        assert lines() == [
            "p: one",
            "p: two \\x1b[2J\\r\\n\\u202e\\udc9b",
            "s\\x1b: as it is: é",
            "p: /chat: three",
            "/chat: s: four",
            "p: five",
            'p: closed id="a 1" code=1000',
            "p: a | b: no such filter",
            "a | b",
            "    ^",
        ]


def test_lines_of_json_have_level_subject_route_and_fields() -> None:
    with logged(LogSettings(form=LogFormat.JSON)) as (log, lines):
        part = log.of_part(lambda: "/chat").about(Subject.CHAIN)
        part.always("a\x1b", code=5)
        part.stage_line("stage 1", 7, "b\t\x00")
        log.access("closed", {"id": "a"})
        log.error(["c", "  ^"])
        found = [json.loads(line) for line in lines()]
        assert all(abs(datetime.fromisoformat(line.pop("time")).timestamp() - time.time()) < 60 for line in found)
        assert found == [
            {"level": "warning", "subject": "chain", "message": "a\x1b", "route": "/chat", "code": 5},
            {
                "level": "notice",
                "subject": "chain",
                "message": "b\t\x00",
                "route": "/chat",
                "stage": "stage 1",
                "pid": 7,
            },
            {"level": "info", "subject": "server", "message": "closed", "id": "a"},
            {"level": "error", "subject": "server", "message": "c\n  ^"},
        ]


@pytest.mark.parametrize("level", Level)
def test_a_subject_has_its_own_level(level: Level) -> None:
    with logged(LogSettings(Level.INFO, {Subject.REDIS: level})) as (log, lines):
        for part in (log.about(Subject.REDIS), log.about(Subject.CHAIN)):
            part.debug("debug")
            part.info("info")
            part.notice("notice")
            part.always("warning")
            part.error(["error"])
        names = ["error", "warning", "notice", "info", "debug"]
        own, others = ([f"p: {name}" for name in reversed(names[: each + 1])] for each in (level, Level.INFO))
        assert lines() == own + others


def test_a_stuck_stderr_blocks_nobody_and_the_loss_is_told() -> None:
    read_end, write_end = os.pipe()
    log = Log("p", Level.INFO, write_end)
    line = "x" * 1000
    count = 2 * QUEUE_LIMIT_BYTES // 1000 + 5000  # one queue is being written, and another waits behind it
    for _ in range(count):
        log.stage_line("s", 1, line)
    with open(read_end, "rb") as file:
        came = dropped = 0
        while came + dropped < count:
            text = file.readline()
            if b"lines were dropped" in text:
                dropped += int(text.split()[1])
            else:
                assert text.decode() == f"s: {line}\n"
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
            log.stage_line("s", 1, f"{number} " + "x" * 100)
        for number in range(3000):
            assert file.readline().startswith(b"s: %d " % number)
    log.close()
    os.close(write_end)


def test_the_tail_keeps_the_last_lines_within_its_bound() -> None:
    tail = Tail()
    assert tail.after(0) == (0, [])
    for number in range(1, 20_001):
        tail.add(f"{number}")
    last, lines = tail.after(0)
    assert last == 20_000
    assert lines == [f"{number}" for number in range(20_001 - len(lines), 20_001)]
    assert TAIL_BYTES - 10 < sum(len(line) + 1 for line in lines) <= TAIL_BYTES
    assert tail.after(19_998) == (20_000, ["19999", "20000"])
    assert tail.after(20_000) == (20_000, [])
    assert tail.after(99_999) == (20_000, lines)
    tail.add("é\udc80" * TAIL_BYTES)
    (cut,) = tail.after(20_000)[1]
    assert cut.endswith("...")
    assert len(cut) < TAIL_BYTES / 10


def test_the_tail_has_what_was_logged_in_its_form() -> None:
    with logged() as (log, lines):
        log.debug("hidden")
        log.about(Subject.CHAIN).info("one")
        log.stage_line("s", 7, "two")
        assert log.tail.after(0) == (2, ["p: one", "s: two"])
        assert lines() == ["p: one", "s: two"]
