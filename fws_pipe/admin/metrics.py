"""The server's metrics: what each is called and means, and its value now.

Reads: the counters, the front, the reports on processes, this process in /proc. Writes: nothing; a scrape costs some
milliseconds with thousands of clients, and no message anything.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fws_pipe import __version__
from fws_pipe.admin.exposition import Family, Kind, Reading, Sample
from fws_pipe.admin.process import PROCESS_FAMILIES, process_values
from fws_pipe.broker import MISSED
from fws_pipe.chain.figures import Reporter, StageFigures, figures_of
from fws_pipe.clients.slow_client import SlowClient
from fws_pipe.counters import Count, Gauge, Histogram
from fws_pipe.front.front import Front
from fws_pipe.protocol.actions import ACTION_TYPES
from fws_pipe.protocol.events import EVENT_TYPES

COUNTS: Mapping[Count, str] = {
    Count.TLS_TOO_SLOW: "TLS handshakes that took longer than --handshake-timeout",
    Count.TLS_FAILED: "TLS handshakes that failed",
    Count.NOT_OFFERED: "Clients that a filter accepted with a subprotocol that they had not offered",
    Count.ACCEPTING_PAUSED: "Pauses in accepting connections, for lack of descriptors or memory",
    Count.SILENT_TURNED_OUT: "Connections closed because they had sent nothing while others waited",
    Count.CROWDED_OUT: "Slow handshakes closed while others waited",
    Count.MESSAGE_TOO_LARGE: "Messages over --max-message",
    Count.TOO_MANY_FRAGMENTS: "Messages over --max-fragments",
    Count.MESSAGE_TOO_SLOW: "Messages that took longer than --message-timeout",
    Count.TOO_FAST: "Clients closed for exceeding --rate or --rate-bytes",
    Count.HELD_BACK: "Times that a client was read more slowly because of --rate or --rate-bytes",
    Count.IDLE: "Clients closed after --idle-timeout without a message",
    Count.SILENT: "Clients closed because they did not answer a ping",
    Count.MEMORY_FULL: "Clients closed because all together held more than --memory-limit",
    Count.NOT_SERVED: "Clients closed because their open event kills the chain",
    Count.GONE: "Messages and other actions for clients that had left",
    Count.BAD_ACTION: "Actions with an invalid field, which were dropped (fws-front)",
    Count.UNKNOWN_TYPE: "Frames of an unknown type that came back from the chain",
    Count.MADE_UP_TICKS: "Ticks from the chain that the server had not sent",
    Count.NOT_FROM_OUTSIDE: "Actions from Redis that may not come from outside",
    Count.JOINS_OVER_LIMIT: "Joins dropped because of --max-groups",
    Count.NOT_REMEMBERED: "Values dropped because a client may not remember more",
    Count.QUARANTINED: "Events that killed the chain repeatedly and are in --quarantine",
    Count.SKIPPED: "Events that killed the chain repeatedly and were not kept",
    Count.CONSUMER_DROPPED: "Consumer events dropped because the chain makes more of them than it reads",
    Count.JOURNAL_FULL: "Times that the journal has reached --journal-limit",
    Count.SUPPRESSED: "Actions of a replay that had been executed before",
    Count.PUBLISHES_LOST: "Publishes that Redis had not confirmed when a sink ended",
    Count.LINES_TOO_LONG: "Input lines that were too long for a frame",
    Count.LINES_LOST: "Input lines that no chain has got",
    Count.STDOUT_DROPPED: "Lines of stages for stdout that were dropped",
    Count.FILE_TOO_SLOW: "Files of --page that a peer has read too slowly",
    Count.FILE_CUT_SHORT: "Files of --page that became shorter while they were sent",
    Count.FURTHER_NAMES: "Counts of filters under more names than are kept",
}
"""What each counter counts. Its metric is `fws_`, the name in lower case and `_total`; but see SLOW."""

SLOW = Family("fws_slow", Kind.COUNTER, "Clients closed (close) or messages dropped for a full outbox", ("policy",))

GAUGES = {
    Gauge.CLIENTS: Family("fws_clients", Kind.GAUGE, "Clients that are connected"),
    Gauge.HANDSHAKES: Family("fws_handshakes", Kind.GAUGE, "Connections that are not clients yet"),
    Gauge.JOURNAL_BYTES: Family(
        "fws_journal_bytes", Kind.GAUGE, "Events that the chains have not finished", unit="bytes"
    ),
    Gauge.HELD_BYTES: Family(
        "fws_held_bytes", Kind.GAUGE, "Memory that clients make the server keep; see --memory-limit", unit="bytes"
    ),
}

EVENTS = Family("fws_events", Kind.COUNTER, "Events for the chain", ("type",))
ACTIONS = Family("fws_actions", Kind.COUNTER, "Actions that the front has executed", ("type",))
CLOSES = Family("fws_closes", Kind.COUNTER, "Connections of clients that have ended, by close code", ("code",))
REFUSED = Family("fws_refused", Kind.COUNTER, "Handshakes that were refused, by HTTP status", ("status",))
CHAIN = Family("fws_chain_seconds", Kind.HISTOGRAM, "Time from a tick's writing until it is back", unit="seconds")
OUTBOX = Family("fws_outbox_bytes", Kind.GAUGE, "Messages that wait for clients to read them", unit="bytes")
RESTARTS = Family("fws_stage_restarts", Kind.COUNTER, "Times that a failure has made a process start again", ("stage",))
CPU = Family(
    "fws_stage_cpu_seconds",
    Kind.COUNTER,
    "Processor time of a process behind the front, and of all that it has started",
    ("stage",),
    unit="seconds",
)
MEMORY = Family("fws_stage_memory_bytes", Kind.GAUGE, "Resident memory of the same processes", ("stage",), unit="bytes")
PIPE = Family("fws_pipe_bytes", Kind.GAUGE, "Bytes that wait on a process's stdin", ("stage",), unit="bytes")
REDIS_UP = Family("fws_redis_up", Kind.GAUGE, "Whether the server hears Redis (1) or not (0); absent without Redis")
MISSED_ACTIONS = Family("fws_missed", Kind.COUNTER, "Actions of other servers missed while Redis was away")
COUNTED = Family("fws_counted", Kind.COUNTER, "What filters and other processes count under names of theirs", ("name",))
BUILD = Family("fws_build", Kind.INFO, "The version of the server and of Python", ("version", "python", "server"))


def count_family(count: Count) -> Family:
    """The metric of a counter that has one of its own."""
    return Family(f"fws_{count.name.lower()}", Kind.COUNTER, COUNTS[count])


FAMILIES: Sequence[Family] = (
    *GAUGES.values(),
    EVENTS,
    ACTIONS,
    CLOSES,
    REFUSED,
    SLOW,
    CHAIN,
    OUTBOX,
    RESTARTS,
    CPU,
    MEMORY,
    PIPE,
    REDIS_UP,
    MISSED_ACTIONS,
    *map(count_family, COUNTS),
    COUNTED,
    BUILD,
    *PROCESS_FAMILIES,
)
"""All metrics, in the order in which they are written."""


@dataclass(frozen=True)
class Observed:
    """The objects that the metrics are about."""

    front: Front
    reporters: Callable[[], Sequence[Reporter]]
    """Those that have processes behind the front."""
    slow_client: SlowClient
    hears_redis: Callable[[], bool] | None
    """None: there is no Redis."""


async def collect(observed: Observed) -> list[Reading]:
    """The values of all metrics now, in the order of FAMILIES; a metric without any value has no samples."""
    figures = await figures_of(observed.reporters())
    values = dict([*_values(observed), *_stage_values(figures)])
    return [(family, values.get(family, ())) for family in FAMILIES]


def _stage_values(figures: Sequence[StageFigures]) -> Iterator[Reading]:
    """What is told of each process: of the front only its input, since its use is in the process's own metrics."""
    reports = [one.report for one in figures]
    yield PIPE, _by_label({report.name: report.input.waiting for report in reports if report.input is not None})
    others = [one for one in figures if one.report.pid != os.getpid()]
    yield RESTARTS, _by_label({one.report.name: one.report.restarts for one in others})
    usages = {one.report.name: one.usage for one in others if one.usage is not None}
    yield CPU, _by_label({name: usage.user_s + usage.system_s for name, usage in usages.items()})
    yield MEMORY, _by_label({name: usage.memory for name, usage in usages.items()})


def _values(observed: Observed) -> Iterator[Reading]:
    front = observed.front
    counters, traffic = front.counters, front.counters.traffic
    counts, gauges = front.own_counts(), front.gauges()
    for gauge, family in GAUGES.items():
        yield family, _one(gauges[gauge])
    yield EVENTS, _by_label({**dict.fromkeys(sorted(EVENT_TYPES), 0), **traffic.events})
    yield ACTIONS, _by_label({**dict.fromkeys(sorted(ACTION_TYPES), 0), **traffic.actions})
    yield CLOSES, _by_label(traffic.closes)
    yield REFUSED, _by_label({str(status): count for status, count in counters.refused.items()})
    slow = counts[Count.SLOW if observed.slow_client is SlowClient.CLOSE else Count.DROPPED_FOR_SLOW]
    yield SLOW, _by_label({observed.slow_client.value: slow})
    yield CHAIN, _one(traffic.chain_seconds)
    yield OUTBOX, _one(outbox_bytes(front))
    if observed.hears_redis is not None:
        yield REDIS_UP, _one(int(observed.hears_redis()))
    yield MISSED_ACTIONS, _one(counters.named.get(MISSED, 0))
    for count in COUNTS:
        yield count_family(count), _one(counts[count])
    yield COUNTED, _by_label(counters.named)
    yield BUILD, [Sample((__version__, platform.python_version(), front.name), 1)]
    for family, value in process_values().items():
        yield family, _one(value)


def outbox_bytes(front: Front) -> int:
    """The bytes that wait for clients to read them."""
    return sum(client.wire.outbox.size for link in front.links for client in link.clients)


def _one(value: float | Histogram) -> list[Sample]:
    return [Sample((), value)]


def _by_label(values: Mapping[str, float]) -> list[Sample]:
    return [Sample((label,), value) for label, value in values.items()]
