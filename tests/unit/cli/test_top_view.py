"""The lines of fws-top: none is wider than the terminal, whatever a server tells."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fws_pipe.cli.top_view import (
    LETTERS,
    PLAIN_LETTERS,
    Look,
    Style,
    bytes_text,
    cells,
    count_text,
    cut,
    duration_text,
    lines_of,
    shortened,
)
from fws_pipe.terminal import one_line

numbers = st.none() | st.integers(0, 2**63)
stages = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["front", "sink", "/chat: front", 'stage 1 "猫 | é́"']) | st.text(max_size=60),
            "pid": st.none() | st.integers(1, 2**22),
            "state": st.sampled_from(["up", "starting", "draining"]),
            "restarts": st.integers(0, 10**9),
            "brake": st.booleans(),
            "user_s": st.none() | st.floats(0, 1e9),
            "system_s": st.none() | st.floats(0, 1e9),
            **dict.fromkeys(["events", "unread", "capacity", "memory", "read", "written"], numbers),
        }
    ),
    max_size=6,
)
statuses = st.fixed_dictionaries(
    {
        "name": st.text(max_size=20),
        "pid": st.integers(1, 2**22),
        "listening": st.lists(st.text(max_size=30), max_size=3),
        "gauges": st.dictionaries(st.sampled_from(["clients", "bytes in the journal"]), st.integers(0, 2**50)),
        "outboxes": st.integers(0, 2**50),
        "counters": st.dictionaries(st.text(max_size=80), st.integers(0, 2**63), max_size=5),
    }
)
looks = st.builds(Look, st.floats(0, 1e6), st.floats(0, 1e9), statuses, stages)


@settings(max_examples=60)
@given(looks, looks, st.integers(20, 200), st.integers(1, 60), st.sampled_from([LETTERS, PLAIN_LETTERS]))
def test_the_lines_fit_into_any_terminal(before: Look, now: Look, width: int, height: int, letters: Any) -> None:
    lines = lines_of(before, now, width, letters)
    shown = shortened(lines, height, width, letters)
    assert len(shown) <= height
    for line in [*lines, *shown]:
        text = "".join(span.text for span in line)
        assert cells(text) <= width
        assert one_line(text) == text


@given(looks, st.integers(20, 200))
def test_each_process_has_a_line_and_the_brake_stands_out(now: Look, width: int) -> None:
    lines = lines_of(now, now, width)
    braking = [line for line in lines if any(span.style is Style.BRAKE for span in line)]
    assert len(braking) == sum(stage["brake"] for stage in now.stages)
    assert all("".join(span.text for span in line).startswith(LETTERS.brake) for line in braking)


def stage(name: str, **fields: Any) -> dict[str, Any]:
    plain = dict.fromkeys(["events", "unread", "capacity", "memory", "read", "written", "user_s", "system_s"])
    return {**plain, "name": name, "pid": 7, "state": "up", "restarts": 0, "brake": False, **fields}


def text_of(before: Look, now: Look, width: int) -> list[str]:
    return ["".join(span.text for span in line).rstrip() for line in lines_of(before, now, width, PLAIN_LETTERS)]


def look(time: float, counters: dict[str, int], *told: dict[str, Any]) -> Look:
    status = {
        "name": "one", "pid": 1, "listening": ["ws://[::1]:9000"], "gauges": {"clients": 1234}, "outboxes": 2048,
        "counters": counters,
    }  # fmt: skip
    return Look(time, 3723.0, status, told)


def test_the_whole_picture() -> None:
    usage = {"memory": 20 * 2**20, "read": 0, "written": 0, "user_s": 1.0, "system_s": 0.0}
    before = look(
        10.0, {"gone": 5, "slow": 1},
        stage("front", events=1000, unread=0, capacity=1000, **usage),
        stage('stage 1 "x"', unread=0, capacity=1000, **usage), stage("sink"), stage('source "load"'),
    )  # fmt: skip
    busy = {**usage, "read": 3_000_000, "written": 2048, "user_s": 1.5, "system_s": 0.5}
    now = look(
        12.0, {"gone": 5, "idle": 3, "slow": 4001},
        stage("front", events=25_000, unread=0, capacity=1000, **usage),
        stage('stage 1 "x"', unread=600, capacity=1000, brake=True, **busy),
        stage("sink", pid=None, state="down"), stage('source "load"'),
    )  # fmt: skip
    assert text_of(before, now, 130) == [
        "fws-pipe one  pid 1  up 1:02:03  ws://[::1]:9000",
        "clients: 1,234  bytes that wait for clients: 2.0 KiB",
        "",
        "                           INPUT  EVENTS/S    READ/S  WRITTEN/S    CPU    MEMORY  RESTARTS     STATE      PID",
        "  front          ..........   0%    12,000       0 B        0 B     0%  20.0 MiB         0        up        7",
        '> | stage 1 "x"  ######....  60%         -   1.4 MiB    1.0 KiB    50%  20.0 MiB         0        up        7',
        "  | sink                                 -         -          -      -         -         0      down        -",
        '  source "load"                          -         -          -      -         -         0        up        7',
        "",
        "idle: 3  +2/s",
        "slow: 4,001  +2,000/s",
        "gone: 5",
    ]
    narrow = text_of(before, now, 40)
    start = narrow.index("")
    assert narrow[start + 1 : start + 4] == [
        "                           INPUT    CPU",
        "  front          ..........   0%     0%",
        '> | stage 1 "x"  ######....  60%    50%',
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (1048000, "1.0 MiB"), (123456789, "118 MiB"), (2**53, "8192 TiB")],
)  # fmt: skip
def test_bytes(count: int, text: str) -> None:
    assert bytes_text(count) == text


@given(st.floats(0, 2**63))
def test_numbers_stay_short(count: float) -> None:
    assert len(bytes_text(count)) <= 12
    assert len(bytes_text(min(count, 2**52))) <= 8
    assert len(count_text(min(count, 1e12))) <= 7


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59.9, "59 s"), (60, "0:01:00"), (86_399, "23:59:59"), (100_000, "1 d 3 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_wide_letters_take_two_cells_and_marks_none() -> None:
    assert [cells(text) for text in ("ab", "猫", "e\u0301", "\u200b")] == [2, 2, 1, 0]
    assert cut("猫猫猫", 5, "…") == "猫猫…"
    assert cut("猫猫猫", 4, "…") == "猫…"
    assert cut("abc", 3, "…") == "abc"
    assert cut("abc", 0, "…") == ""
