"""The metrics: complete, and as the documentation has them."""

from __future__ import annotations

from fws_pipe.admin.exposition import Kind
from fws_pipe.admin.metrics import COUNTS, FAMILIES
from fws_pipe.config.topics import text_of
from fws_pipe.counters import Count


def metrics_table() -> str:
    """The table in the documentation."""
    rows = [
        f"| `{family.shown_name}` | {family.kind} | {', '.join(family.labels)} | {family.help} |" for family in FAMILIES
    ]
    return "\n".join(["| metric | type | labels | what it tells |", "|---|---|---|---|", *rows])


def test_every_counter_has_a_metric() -> None:
    assert set(Count) - COUNTS.keys() == {Count.SLOW, Count.DROPPED_FOR_SLOW}, "these are fws_slow_total{policy}"


def test_the_documented_table_is_that_of_the_code() -> None:
    stated = text_of("operations").split("<!-- metrics")[1].split("-->\n")[1].split("\n<!--")[0]
    assert stated == metrics_table(), f"the table should be:\n{metrics_table()}"


def test_names_are_different_and_end_in_their_unit() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert family.name.endswith(f"_{family.unit}") or not family.unit
        assert not family.name.endswith(("_total", "_info"))
        assert family.kind is not Kind.INFO or family.labels
