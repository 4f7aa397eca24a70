"""fws-otlp: sends the events of `fws-ctl trace --json` to an OpenTelemetry collector, as spans.

Reads: lines of JSON on stdin. Writes: to the collector, by OTLP over HTTP in JSON (the OTLP specification, OTLP/HTTP).
Never: keeps spans that a collector has not taken; it drops them, and says so once.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from fws_pipe import __version__
from fws_pipe.config.arguments import Parser, parse_all
from fws_pipe.errors import UsageError
from fws_pipe.http.trace_context import is_traceparent
from fws_pipe.pipes.blocks import lines_of_blocks, run_program, say

_SPANS_AT_ONCE = 512
"""Events in a request, as many as OpenTelemetry's own exporters have spans in one."""

_TIMEOUT_S = 10.0

_SERVER = 2
_INTERNAL = 1
"""SPAN_KIND_SERVER and SPAN_KIND_INTERNAL (opentelemetry/proto/trace/v1/trace.proto)."""

_SAMPLED = 1
"""The flag in traceparent that says that the trace is recorded (W3C Trace Context, section 3.2.2.5.1)."""

_EPILOG = """  fws-ctl trace --json | fws-otlp

The collector is that of $OTEL_EXPORTER_OTLP_ENDPOINT, http://localhost:4318 by default; $OTEL_EXPORTER_OTLP_HEADERS are
name=value pairs with commas between, and $OTEL_SERVICE_NAME is the service's name, fws-pipe by default.
Exit codes: 0 the input has ended; 2 the command line makes no sense."""


class Collector(NamedTuple):
    """Where spans go."""

    scheme: str
    address: str
    path: str
    headers: Mapping[str, str]


def main() -> None:
    """Run fws-otlp."""
    run_program("fws-otlp", lambda: _run(parse_all(make_parser(), sys.argv[1:])))


def make_parser() -> Parser:
    """The command line."""
    parser = Parser(
        prog="fws-otlp",
        description="Sends the events of fws-ctl trace --json to an OpenTelemetry collector.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://localhost:4318"
    parser.add_argument("--endpoint", metavar="URL", default=endpoint, help="the collector; /v1/traces is added to it")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    exporter = Exporter(collector_of(arguments.endpoint, os.environ), os.environ.get("OTEL_SERVICE_NAME") or "fws-pipe")
    for number, line in enumerate(lines_of_blocks(exporter.flush), start=1):
        try:
            exporter.add(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            say(f"fws-otlp: line {number}: expected an event of fws-ctl trace --json; dropped")
    exporter.flush()


def collector_of(endpoint: str, environment: Mapping[str, str]) -> Collector:
    """The collector at a URL. Raises UsageError."""
    url = _parse_url(endpoint)
    pairs = [pair.partition("=") for pair in environment.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",") if pair]
    headers = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
    return Collector(url.scheme, url.netloc, url.path.rstrip("/") + "/v1/traces", headers)


def _parse_url(endpoint: str) -> SplitResult:
    """The parts of a collector's URL. Raises UsageError."""
    with contextlib.suppress(ValueError):  # an address in brackets that is none, or a port that is no number
        url = urlsplit(endpoint)
        if url.scheme in ("http", "https") and url.hostname and url.port != 0:
            return url
    raise UsageError(f"--endpoint: expected a URL such as http://localhost:4318, got {endpoint!r}")


class Exporter:
    """Sends spans to a collector, a request for a block of lines."""

    def __init__(self, collector: Collector, service: str) -> None:
        self._collector = collector
        self._service = service
        self._spans: list[dict[str, Any]] = []
        self._events = 0
        self._is_failing = False

    def add(self, record: Mapping[str, Any]) -> None:
        """Add the spans of an event. Raises KeyError, TypeError or ValueError for what is none."""
        self._spans += spans_of(record)
        self._events += 1
        if self._events >= _SPANS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Send what there is. Spans that the collector doesn't take are lost; that is told once until it takes some."""
        spans, self._spans, self._events = self._spans, [], 0
        if not spans:
            return
        problem = self._send(json.dumps(_request_of(spans, self._service)).encode())
        if problem and not self._is_failing:
            say(f"fws-otlp: the collector at {self._collector.address} takes no spans: {problem}; they are dropped")
        elif not problem and self._is_failing:
            say("fws-otlp: the collector takes spans again")
        self._is_failing = bool(problem)

    def _send(self, body: bytes) -> str:
        """Send a request; returns what is wrong, or nothing."""
        collector = self._collector
        kind = http.client.HTTPSConnection if collector.scheme == "https" else http.client.HTTPConnection
        connection = kind(collector.address, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", collector.path, body, {"Content-Type": "application/json", **collector.headers})
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()
        return "" if response.status < 300 else f"status {response.status}"


def spans_of(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One span for an event, and one within it for each stage that it has passed.

    None for an event of a trace that is not recorded.
    """
    parent = record.get("traceparent", "")
    trace_id, parent_id = secrets.token_hex(16), None
    if is_traceparent(parent):
        _, trace_id, parent_id, flags = parent[:55].split("-")
        if not int(flags, 16) & _SAMPLED:
            return
    begin, span_id = float(record["time"]), secrets.token_hex(8)
    known = ("chain", "seq", "id", "dropped_by")
    attributes = {f"fws.{name}": record[name] for name in known if name in record}
    for number, action in enumerate(record["actions"]):
        attributes[f"fws.action.{number}"] = f"{action['type']} by {action['joint']}"
    yield _span(trace_id, span_id, parent_id, str(record["type"]), _SERVER, begin, 0.0, float(record["ms"]), attributes)
    before = 0.0
    for joint in record["joints"]:
        now = float(joint["ms"])
        yield _span(trace_id, secrets.token_hex(8), span_id, str(joint["joint"]), _INTERNAL, begin, before, now, {})
        before = now


def _span(
    trace_id: str, span_id: str, parent_id: str | None, name: str, kind: int,
    begin: float, from_ms: float, to_ms: float, attributes: Mapping[str, object],
) -> dict[str, Any]:  # fmt: skip
    """A Span of OTLP; `begin` is in seconds since the epoch, the other times are in milliseconds behind it."""
    span = {
        "traceId": trace_id,
        "spanId": span_id,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": _nanoseconds(begin, from_ms),
        "endTimeUnixNano": _nanoseconds(begin, to_ms),
        "attributes": [{"key": key, "value": _attribute(value)} for key, value in attributes.items()],
    }
    return span if parent_id is None else {**span, "parentSpanId": parent_id}


def _nanoseconds(begin: float, behind_ms: float) -> str:
    return str(round(begin * 1e6) * 1000 + round(behind_ms * 1e6))


def _attribute(value: object) -> dict[str, object]:
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}


def _request_of(spans: list[dict[str, Any]], service: str) -> dict[str, Any]:
    """An ExportTraceServiceRequest."""
    resource = {"attributes": [{"key": "service.name", "value": _attribute(service)}]}
    scope = {"name": "fws-pipe", "version": __version__}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": spans}]}]}


if __name__ == "__main__":
    main()
