"""Both text formats, read back with prometheus_client's parsers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from fws_pipe.admin.exposition import Family, Format, Kind, Sample, exposition, format_for
from fws_pipe.counters import Histogram

PARSERS: dict[Format, Callable[[str], Iterable[Any]]] = {
    Format.OPEN_METRICS: parse_open_metrics,
    Format.TEXT: parse_text,
}
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;"
    "q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\x85\u2028\u2029\v\f\x1c\x1d\x1e"), max_size=20)


@pytest.mark.parametrize("form", Format)
@settings(max_examples=40)  # the parser of OpenMetrics takes its time
@given(st.dictionaries(texts, st.integers(0, 2**60) | st.floats(0, 1e300), max_size=5), texts)
def test_what_is_written_is_read_back(form: Format, values: dict[str, float], about: str) -> None:
    family = Family("fws_x", Kind.COUNTER, about.strip(), ("name",))
    text = exposition([(family, [Sample((name,), value) for name, value in values.items()])], form).decode()
    (read,) = PARSERS[form](text)
    assert (read.name, read.type) == ("fws_x", "counter")
    assert {sample.labels["name"]: sample.value for sample in read.samples} == pytest.approx(values)


@pytest.mark.parametrize("form", Format)
@given(st.lists(st.floats(0, 100)))
def test_a_histogram_is_cumulative(form: Format, values: list[float]) -> None:
    histogram = Histogram((0.25, 1.0, 50.0))
    for value in values:
        histogram.observe(value)
    text = exposition([(Family("fws_x_seconds", Kind.HISTOGRAM, "x", unit="seconds"), [Sample((), histogram)])], form)
    (read,) = PARSERS[form](text.decode())
    buckets = {float(sample.labels["le"]): sample.value for sample in read.samples if "le" in sample.labels}
    assert buckets == {bound: sum(value <= bound for value in values) for bound in (0.25, 1.0, 50.0, math.inf)}
    others = {sample.name: sample.value for sample in read.samples if "le" not in sample.labels}
    assert others["fws_x_seconds_count"] == len(values)
    assert others["fws_x_seconds_sum"] == pytest.approx(sum(values))


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, Format.TEXT),
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/html", Format.TEXT),
        ("application/openmetrics-text", Format.OPEN_METRICS),
        ("application/openmetrics-text; version=1.0.0", Format.OPEN_METRICS),
        ("application/openmetrics-text; version=0.0.1, text/plain;q=0.1", Format.TEXT),
        ("text/plain;version=0.0.4, application/openmetrics-text;q=0.5", Format.TEXT),
        ("application/openmetrics-text;q=0, */*;q=0.1", Format.TEXT),
        ("application/openmetrics-text;q=nan, */*;q=0.1", Format.TEXT),
        (PROMETHEUS, Format.OPEN_METRICS),
    ],
)
def test_the_accept_header_chooses_the_format(accept: str | None, form: Format) -> None:
    assert format_for(accept) is form


@given(st.text())
def test_any_accept_header_gets_one(accept: str) -> None:
    assert format_for(accept) in Format


def test_a_filters_name_with_half_a_character_spoils_nothing() -> None:
    family = Family("fws_x", Kind.COUNTER, "x", ("name",))
    assert b'name="?"' in exposition([(family, [Sample(("\udcff",), 1)])], Format.TEXT)
