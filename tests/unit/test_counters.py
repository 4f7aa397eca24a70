"""Counters, and what is told of them."""

from __future__ import annotations

from fws_pipe.counters import MOST_CODES, MOST_NAMES, OTHER_CODES, Count, Counters, Gauge, Statistics, Traffic


def test_ours_refusals_and_those_of_filters_are_counted_by_name() -> None:
    counters = Counters()
    assert [counters.add(Count.GONE), counters.add(Count.GONE, 3)] == [1, 4]
    counters.add_refusal(403)
    counters.add_named("rooms", 2)
    assert counters.copy() == {"gone": 4, "refused 403": 1, "rooms": 2}
    assert counters[Count.GONE] == counters.copy()["gone"] == 4
    assert counters[Count.SLOW] == 0


def test_names_are_bounded() -> None:
    counters = Counters()
    for number in range(MOST_NAMES + 5):
        counters.add_named(f"{number}", 1)
    counters.add_named("0", 1)
    assert counters.copy()["0"] == 2
    assert counters.copy()[Count.FURTHER_NAMES] == 5
    assert len(counters.copy()) == MOST_NAMES + 1


def test_statistics_stay_as_they_were() -> None:
    counters = Counters()
    counters.add(Count.IDLE)
    then = Statistics(counters.copy(), {Gauge.CLIENTS: 2})
    counters.add(Count.IDLE)
    counters.add(Count.SILENT)
    assert then.describe() == "idle: 1"
    assert Statistics(Counters().copy(), {}).describe() == ""


def test_a_filter_that_counts_under_a_name_of_ours_does_not_count_for_us() -> None:
    counters = Counters()
    counters.add_named(Count.PUBLISHES_LOST.value, 3)
    assert counters[Count.PUBLISHES_LOST] == 0
    assert counters.copy()["publishes lost"] == 3


def test_close_codes_are_bounded() -> None:
    traffic = Traffic()
    for code in range(3000, 5000):
        traffic.note_close(code)
    assert len(traffic.closes) == MOST_CODES + 1
    assert traffic.closes["3000"] == 1
    assert traffic.closes[OTHER_CODES] == 2000 - MOST_CODES
