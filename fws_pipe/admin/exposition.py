"""Metrics as text, in the two formats that Prometheus and its relatives read. No I/O.

OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/) and the text format 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/). They differ in the names of counters, in the type
`info`, in units, and in the end, `# EOF`. Who asks says in its Accept header which it reads.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fws_pipe.counters import Histogram


class Format(enum.Enum):
    """A format; the value is its media type."""

    OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Kind(enum.StrEnum):
    """What a metric is; each value is the type's name in OpenMetrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True)
class Family:
    """A metric: `name` is without the suffix that its kind has (`_total`, `_info`)."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    """The last word of the name where it is a unit, as OpenMetrics has it."""

    @property
    def shown_name(self) -> str:
        """The name in queries: `fws_events_total`."""
        return self.name + {Kind.COUNTER: "_total", Kind.INFO: "_info"}.get(self.kind, "")


class Sample(NamedTuple):
    """One value of a metric, with the values of the family's labels."""

    labels: tuple[str, ...]
    value: float | Histogram


Reading = tuple[Family, Iterable[Sample]]


def format_for(accept: str | None) -> Format:
    """The format that an Accept header prefers (RFC 9110, section 12.5.1); the text format where it names neither."""
    qualities: dict[Format, float] = {}
    for item in (accept or "").lower().split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        settings = dict(parameter.partition("=")[::2] for parameter in parameters)
        for form in Format:
            if _is_acceptable(form, media_type, settings.get("version")):
                qualities[form] = max(qualities.get(form, 0.0), _quality_of(settings.get("q", "1")))
    return max(qualities, key=lambda form: qualities[form], default=Format.TEXT)


def _is_acceptable(form: Format, media_type: str, version: str | None) -> bool:
    if form is Format.OPEN_METRICS:
        return media_type == "application/openmetrics-text" and version in (None, "1.0.0")
    return media_type in ("text/plain", "text/*", "*/*") and version in (None, "0.0.4")


def _quality_of(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


def exposition(readings: Iterable[Reading], form: Format) -> bytes:
    """All metrics as text."""
    lines = [line for family, samples in readings for line in _lines_of(family, samples, form)]
    if form is Format.OPEN_METRICS:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode(errors="replace")  # a filter may count under half a character


def _lines_of(family: Family, samples: Iterable[Sample], form: Format) -> Iterator[str]:
    is_open = form is Format.OPEN_METRICS
    name = family.name if is_open else family.shown_name
    kind = Kind.GAUGE if family.kind is Kind.INFO and not is_open else family.kind
    yield f"# HELP {name} {_escaped(family.help, quotes=is_open)}"
    yield f"# TYPE {name} {kind}"
    if is_open and family.unit:
        yield f"# UNIT {name} {family.unit}"
    for sample in samples:
        labels = dict(zip(family.labels, sample.labels, strict=True))
        if isinstance(sample.value, Histogram):
            yield from _histogram_lines(family.name, labels, sample.value)
        else:
            yield f"{family.shown_name}{_shown(labels)} {_number(sample.value)}"


def _histogram_lines(name: str, labels: Mapping[str, str], histogram: Histogram) -> Iterator[str]:
    count = 0
    for bound, values in zip([*histogram.bounds, math.inf], histogram.buckets, strict=True):
        count += values
        yield f"{name}_bucket{_shown({**labels, 'le': _number(bound)})} {count}"
    yield f"{name}_sum{_shown(labels)} {_number(histogram.total)}"
    yield f"{name}_count{_shown(labels)} {count}"


def _shown(labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{name}="{_escaped(value, quotes=True)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _escaped(text: str, *, quotes: bool) -> str:
    escaped = text.replace("\\", r"\\").replace("\n", r"\n")
    return escaped.replace('"', r"\"") if quotes else escaped


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(value) if isinstance(value, int) else repr(float(value))
