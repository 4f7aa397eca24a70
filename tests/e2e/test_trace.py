"""fws-ctl trace follows events through a running chain, and fws-otlp sends them to a collector."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.e2e.test_control import Desk
from tests.harness import COMMAND_PATH, PATIENCE_S, Servers

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STAGES = ['stage 1 "cat"', 'stage 2 "mirror"', "sink"]


@pytest.fixture
def desk(servers: Servers) -> Iterator[Desk]:
    folder = Path(tempfile.mkdtemp(prefix="ctl"))  # short: a socket's path has 107 bytes
    yield Desk(servers, folder)
    shutil.rmtree(folder)


class Trace:
    """fws-ctl trace, under way."""

    def __init__(self, desk: Desk, *options: str) -> None:
        self.process = subprocess.Popen(
            ["fws-ctl", "trace", "--json", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=desk.environment(),
        )  # fmt: skip

    def next(self, kind: str = "message") -> dict[str, Any]:
        """The next event of this type."""
        assert self.process.stdout is not None
        while record := json.loads(self.process.stdout.readline()):
            if record["type"] == kind:
                return dict(record)
        raise AssertionError

    def end(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE_S)


def stages_of(desk: Desk) -> list[str]:
    """The names of the chain's processes, which come behind the front."""
    return [stage["name"] for stage in desk.ask("stages")[1:]]


def test_a_trace_shows_each_events_way_and_is_taken_out_when_its_reader_has_gone(desk: Desk) -> None:
    server = desk.start("cat | mirror")
    with connect(server.url, additional_headers={"traceparent": PARENT}) as early:
        trace = Trace(desk)
        server.stderr.wait_for("the chain is replaced", 1)  # one reload for all taps
        assert stages_of(desk) == [STAGES[0], "tap", STAGES[1], "tap", STAGES[2]]
        early.send("one")
        assert early.recv(PATIENCE_S) == "one"
        record = trace.next()
        assert (record["traceparent"], record["type"]) == (PARENT, "message")
        assert [joint["joint"] for joint in record["joints"]] == STAGES[:2]
        (action,) = record["actions"]
        assert (action["type"], action["to"], action["joint"]) == ("send", record["id"], STAGES[1])
        times = [0.0, *(joint["ms"] for joint in record["joints"]), action["executed_ms"]]
        assert times == sorted(times)
        assert record["ms"] == action["executed_ms"]
        with connect(server.url) as late:
            assert "traceparent" not in trace.next("open")
            alone, slow = Trace(desk, "--client", record["id"]), Trace(desk, "--slow", "1000s")
            server.stderr.wait_for("the chain is replaced", 3)
            assert stages_of(desk).count("tap") == 6
            late.send("two")
            early.send("three")
            assert (late.recv(PATIENCE_S), early.recv(PATIENCE_S)) == ("two", "three")
            first, second, own = trace.next(), trace.next(), alone.next()
            of_early, of_late = sorted((first, second), key=lambda event: event["id"] != record["id"])
            assert of_early["id"] == own["id"] == record["id"] != of_late["id"]
            assert own["seq"] == of_early["seq"]
        for each in (alone, slow, trace):
            each.end()
        server.stderr.wait_for("the chain is replaced", 6)
        assert stages_of(desk) == STAGES
        early.send("still here")
        assert early.recv(PATIENCE_S) == "still here"


def test_a_trace_ends_with_another_reload_and_with_the_server_and_when_its_reader_stalls(desk: Desk) -> None:
    server = desk.start("cat | mirror")
    reloaded = Trace(desk)
    server.stderr.wait_for("the chain is replaced", 1)
    desk.ctl("reload")
    _, said = reloaded.process.communicate(timeout=PATIENCE_S)
    assert (reloaded.process.returncode, b"the trace has ended" in said) == (0, True)
    assert stages_of(desk) == STAGES

    stalled = subprocess.Popen(
        ["fws-ctl", "trace", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=desk.environment()
    )
    server.stderr.wait_for("the chain is replaced", 3)
    os.kill(stalled.pid, 19)  # SIGSTOP
    with connect(server.url, max_size=None) as client:
        message = "x" * 500_000
        for _ in range(30):
            client.send(message)
            assert client.recv(PATIENCE_S) == message
        server.stderr.wait_for("the chain is replaced", 4)
        os.kill(stalled.pid, 18)  # SIGCONT
        _, said = stalled.communicate(timeout=PATIENCE_S)
        assert (stalled.returncode, b"was cut off" in said) == (6, True)

        last = Trace(desk)
        server.stderr.wait_for("the chain is replaced", 5)
        client.send("bye")
        assert client.recv(PATIENCE_S) == "bye"
        assert last.next()["joints"]
        assert server.stop() == 0
    _, said = last.process.communicate(timeout=PATIENCE_S)
    assert (last.process.returncode, b"the trace has ended" in said) == (0, True)


class Collector(BaseHTTPRequestHandler):
    """Takes requests of OTLP."""

    requests: list[tuple[str, str, dict[str, Any]]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append((self.path, self.headers.get("x-key", ""), body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_spans_reach_a_collector_within_the_clients_trace() -> None:
    record = {
        "time": 1000.5, "seq": 7, "type": "message", "id": "a", "traceparent": PARENT, "ms": 2.5,
        "joints": [{"joint": "one", "ms": 1.0}, {"joint": "two", "ms": 2.0}],
        "actions": [{"type": "send", "to": "a", "joint": "two", "ms": 2.0, "executed_ms": 2.5}],
    }  # fmt: skip
    unsampled = {**record, "traceparent": PARENT[:-2] + "00"}
    lines = "".join(json.dumps(each) + "\n" for each in (record, unsampled, {"no": "event"})).encode()
    requests: list[tuple[str, str, dict[str, Any]]] = []
    handler = type("Handler", (Collector,), {"requests": requests})
    with HTTPServer(("127.0.0.1", 0), handler) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{collector.server_port}"
        environment = {
            **os.environ,
            "PATH": COMMAND_PATH,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20b",
        }
        done = subprocess.run(
            ["fws-otlp"], input=lines, capture_output=True, check=False, env=environment, timeout=PATIENCE_S
        )
        collector.shutdown()
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"fws-otlp: line 3: expected an event of fws-ctl trace --json; dropped\n"
    ((path, key, body),) = requests
    assert (path, key) == ("/v1/traces", "a b")
    ((resource,),) = (body["resourceSpans"],)
    assert resource["resource"]["attributes"] == [{"key": "service.name", "value": {"stringValue": "fws-pipe"}}]
    root, one, two = resource["scopeSpans"][0]["spans"]
    assert {span["traceId"] for span in (root, one, two)} == {PARENT.split("-")[1]}
    assert root["parentSpanId"] == PARENT.split("-")[2]
    assert one["parentSpanId"] == two["parentSpanId"] == root["spanId"]
    assert [(span["name"], span["startTimeUnixNano"], span["endTimeUnixNano"]) for span in (root, one, two)] == [
        ("message", "1000500000000", "1000502500000"),
        ("one", "1000500000000", "1000501000000"),
        ("two", "1000501000000", "1000502000000"),
    ]


def test_a_collector_that_is_not_there_is_told_once() -> None:
    record = {"time": 1.0, "seq": 7, "type": "message", "ms": 2.5, "joints": [], "actions": []}
    lines = (json.dumps(record) + "\n").encode() * 2000
    done = subprocess.run(
        ["fws-otlp", "--endpoint", "http://127.0.0.1:1"], input=lines, capture_output=True, check=False,
        env={**os.environ, "PATH": COMMAND_PATH}, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr.count(b"takes no spans") == 1
