"""The admin address of a running server: health, metrics, and what it does about hostile peers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from fws_pipe.admin.connection import BODY_LIMIT_BYTES, HEAD_LIMIT_BYTES
from fws_pipe.admin.exposition import Format
from fws_pipe.admin.metrics import FAMILIES
from fws_pipe.admin.server import MOST_CONNECTIONS
from fws_pipe.admin.shown_frames import MOST_BYTES
from fws_pipe.admin.taps import MOST_TAPS
from fws_pipe.errors import EXIT_SYSTEM, EXIT_USAGE
from tests.e2e.test_chain import stage_of
from tests.harness import PATIENCE_S, Server, Servers, eventually, run
from tests.redis_servers import RedisServer

PAGE = Origin("https://a.example")
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


READERS: dict[Format, Callable[[str], Iterable[Any]]] = {
    Format.OPEN_METRICS: parse_open_metrics,
    Format.TEXT: parse_text,
}


def port_of(server: Server) -> int:
    return int(server.stderr.wait_for("the admin address is http://").rsplit(":", 1)[1])


def ask(server: Server, target: str, method: str = "GET", **headers: str) -> tuple[int, str, Mapping[str, str]]:
    """The status, the text and the headers of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=PATIENCE_S)
    try:
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def metrics_of(server: Server) -> dict[str, dict[tuple[str, ...], float]]:
    """The samples' values by name and labels' values, as the parser of OpenMetrics reads them."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in READERS[Format.OPEN_METRICS](ask(server, "/metrics", Accept=OPEN_METRICS)[1]):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def eventually_counted(server: Server, name: str, value: float, *labels: str) -> None:
    eventually(lambda: metrics_of(server).get(name, {}).get(labels) == value, f"{name}{labels} == {value}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that only look at it."""
    with Servers(tmp_path_factory.mktemp("admin")) as servers:
        server = servers.start(
            "--admin", ":0", "--admin-name", "one.example", "--origin", "https://a.example", "mirror"
        )
        assert server.url
        yield server


# Metrics.


def test_what_passes_is_counted(server: Server) -> None:
    before = metrics_of(server)
    with connect(server.url, origin=PAGE) as client:
        for number in range(1000):
            client.send(f"{number}")
        assert [client.recv(PATIENCE_S) for _ in range(1000)] == [f"{number}" for number in range(1000)]
        eventually_counted(server, "fws_events_total", before["fws_events_total"]["message",] + 1000, "message")
        now = metrics_of(server)
        assert now["fws_clients"][()] == 1
        assert now["fws_events_total"]["open",] == before["fws_events_total"]["open",] + 1
        assert now["fws_actions_total"]["send",] == before["fws_actions_total"]["send",] + 1000
        assert now["fws_events_total"]["tick",] >= now["fws_chain_seconds_count"][()] > 0
        assert "fws_redis_up" not in now
        client.close(4321)
    eventually_counted(server, "fws_closes_total", 1, "4321")
    eventually_counted(server, "fws_clients", 0)
    with pytest.raises(InvalidStatus), connect(server.url, origin=Origin("https://b.example")):
        pass
    eventually_counted(server, "fws_refused_total", 1, "403")
    now = metrics_of(server)
    stages = {('stage 1 "mirror"',), ("sink",)}
    assert now["fws_pipe_bytes"].keys() == stages | {("front",)}
    assert now["fws_stage_restarts_total"] == dict.fromkeys(stages, 0)
    if sys.platform == "linux":
        assert now["fws_stage_cpu_seconds_total"].keys() == stages
        assert min(now["fws_stage_memory_bytes"].values()) > 1e6
    assert now["fws_slow_total"] == {("close",): 0}
    assert now["process_resident_memory_bytes"][()] > 1e6
    assert now["process_start_time_seconds"][()] == pytest.approx(time.time(), abs=600)


def test_both_formats_are_what_prometheus_reads(server: Server) -> None:
    for accept, form in (("*/*", Format.TEXT), (OPEN_METRICS, Format.OPEN_METRICS)):
        status, text, headers = ask(server, "/metrics", Accept=accept)
        assert (status, headers["content-type"]) == (200, form.value)
        read = list(READERS[form](text))
        assert len(read) == len(FAMILIES)
        assert {family.name for family in read if family.type == "counter"} == {
            family.name for family in FAMILIES if family.kind == "counter"
        }


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian's package prometheus) is not installed")
def test_promtool_finds_nothing(server: Server) -> None:
    checked = run("promtool", "check", "metrics", stdin=ask(server, "/metrics")[1].encode())
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_a_flood_does_not_keep_metrics_waiting(server: Server) -> None:
    """The issue's bound: within a second, also while a client floods."""
    flood = "x" * 1000
    is_over = threading.Event()

    def send() -> None:
        with connect(server.url, origin=PAGE, max_queue=None) as client:
            reader = threading.Thread(target=drop_all, args=(client,))
            reader.start()
            while not is_over.is_set():
                client.send(flood)
        reader.join()

    def drop_all(client: Any) -> None:
        try:
            while True:
                client.recv()
        except ConnectionClosed:
            pass

    before = metrics_of(server)["fws_events_total"]["message",]
    thread = threading.Thread(target=send)
    thread.start()
    try:
        eventually(lambda: metrics_of(server)["fws_events_total"]["message",] > before + 1000, "a flood")
        durations = []
        for _ in range(5):
            begun = time.monotonic()
            assert ask(server, "/metrics")[0] == 200
            durations.append(time.monotonic() - begun)
        assert max(durations) < 1.0
    finally:
        is_over.set()
        thread.join(PATIENCE_S)


# Health.


def test_live_and_ready(server: Server) -> None:
    assert ask(server, "/live")[:2] == (200, "live\n")
    assert ask(server, "/ready")[:2] == (200, "ready\n/*: ready\n")
    assert ask(server, "/ready?route=/*")[:2] == (200, "ready\n/*: ready\n")
    assert ask(server, "/ready?route=/nosuch")[0] == 404
    status, text, headers = ask(server, "/ready", "HEAD")
    assert (status, text, headers["content-length"]) == (200, "", "16")


def test_ready_says_why_not(servers: Servers) -> None:
    slow = servers.script("slow", "#!/bin/sh\nwhile ! test -e go; do sleep 0.05; done\nexec cat\n")
    server = servers.start("--admin", ":0", "--stall-timeout", "0", slow)
    assert ask(server, "/live")[0] == 200
    assert ask(server, "/ready")[:2] == (
        503,
        "the server is starting\n/*: its chain has not returned its first tick\n",
    )
    (servers.folder / "go").touch()
    eventually(lambda: ask(server, "/ready")[0] == 200, "a server that is ready")
    os.kill(stage_of(server.pid, "cat"), signal.SIGKILL)
    eventually_counted(server, "fws_stage_restarts_total", 1, 'stage 1 "slow"')
    eventually(lambda: ask(server, "/ready")[0] == 200, "a server that is ready again")
    with socket.create_connection(("127.0.0.1", server.port)) as undecided:
        undecided.send(b"GET / HTTP/1.1\r\n")
        eventually_counted(server, "fws_handshakes", 1)
        server.signal(signal.SIGTERM)
        eventually(lambda: ask(server, "/ready")[1].startswith("the server is draining\n"), "a server that drains")
        assert ask(server, "/ready")[0] == 503
    assert server.wait() == 0


def test_each_route_is_ready_by_itself(servers: Servers) -> None:
    server = servers.start("--admin", ":0", "--route", "/a=mirror", "--route", "/b=false")
    assert server.url
    assert ask(server, "/ready")[:2] == (503, "/a: ready\n/b: its chain has failed\n")
    assert ask(server, "/ready?route=/a")[:2] == (200, "ready\n/a: ready\n")
    assert ask(server, "/ready?route=/b")[:2] == (503, "/b: its chain has failed\n")


def test_redis_that_is_away_shows(servers: Servers, redis_server: RedisServer) -> None:
    server = servers.start("--admin", ":0", "--redis-url", redis_server.url, "mirror")
    with connect(server.url) as client:
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"
        assert ask(server, "/ready")[:2] == (200, "ready\n/*: ready\n")
        now = metrics_of(server)
        assert now["fws_redis_up"] == {(): 1}
        assert now["fws_missed_total"] == {(): 0}
        redis_server.stop()
        eventually_counted(server, "fws_redis_up", 0)
        assert ask(server, "/ready")[:2] == (503, "/*: it does not hear Redis\n")
        redis_server.restart()
        eventually_counted(server, "fws_redis_up", 1)


# The pipeline, and what may be done to it.


def act(server: Server, target: str, **headers: str) -> tuple[int, str]:
    """POST as the server's own page does, unless the headers say otherwise."""
    own = {"Origin": f"http://127.0.0.1:{port_of(server)}"}
    return ask(server, target, "POST", **{**own, **headers})[:2]


def test_the_pipeline_as_json(server: Server) -> None:
    with connect(server.url + "/some/path", origin=PAGE) as client:
        client.send("x")
        eventually(lambda: bool(json.loads(ask(server, "/pipeline")[1])["connected"]), "a client")
        shown = json.loads(ask(server, "/pipeline")[1])
    assert [stage["name"] for stage in shown["stages"]] == ["front", 'stage 1 "mirror"', "sink"]
    assert shown["problems"] == []
    assert shown["redis"] is None
    assert not shown["may_act"]
    (told,) = shown["connected"]
    assert (told["path"], told["groups"], told["outbox"]) == ("/some/path", [], 0)
    assert "auth" not in told


def test_nothing_is_done_where_that_is_not_allowed(server: Server) -> None:
    for target in ("/reload", "/drain", "/close?client=x"):
        assert ask(server, target)[0] == 405
        status, text = act(server, target)
        assert (status, "--admin-actions" in text) == (403, True)


def test_what_the_own_page_may_do(servers: Servers) -> None:
    server = servers.start("--admin", ":0", "--admin-actions", "mirror")
    with connect(server.url) as client:
        client.send("x")
        (told,) = json.loads(ask(server, "/pipeline")[1])["connected"]
        for origin in ("https://evil.example", "null", f"http://localhost:{port_of(server)}"):
            assert act(server, "/drain", Origin=origin)[0] == 403
        assert ask(server, "/drain", "POST")[0] == 403
        assert act(server, "/reload") == (200, "the new chain serves\n")
        assert act(server, "/close?client=nosuch") == (200, "there is no client nosuch\n")
        assert act(server, f"/close?client={told['id']}")[0] == 200
        assert client.recv(PATIENCE_S) == "x"
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE_S)
        assert (client.close_code, client.close_reason) == (1000, "closed by an operator")
    assert act(server, "/drain") == (200, "the server drains\n")
    assert server.wait() == 0


# The tap, and the log.


@contextlib.contextmanager
def tapping(server: Server, query: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
    """An open tap, as the server's own page opens it, unless the headers say otherwise."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=PATIENCE_S)
    try:
        connection.request(
            "POST", f"/tap?{query}", headers={"Origin": f"http://127.0.0.1:{port_of(server)}", **headers}
        )
        with connection.getresponse() as answer:
            yield answer
    finally:
        connection.close()


def frames_of(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    return (told["frame"] for line in iter(answer.readline, b"") if "frame" in (told := json.loads(line)))


def labels_of(server: Server) -> list[str]:
    return [stage["name"] for stage in json.loads(ask(server, "/pipeline")[1])["stages"]]


def ids_at(server: Server, path: str) -> list[str]:
    """The ids of the clients that have connected to this path."""
    return [told["id"] for told in json.loads(ask(server, "/pipeline")[1])["connected"] if told["path"] == path]


@pytest.fixture(scope="module")
def acting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose page may act, and so read."""
    with Servers(tmp_path_factory.mktemp("acting")) as servers:
        server = servers.start("--admin", ":0", "--admin-actions", "mirror | cat")
        assert server.url
        yield server


OWN = ["front", 'stage 1 "mirror"', 'stage 2 "cat"', "sink"]


@pytest.mark.parametrize(("stage", "kind"), [("front", "message"), ("mirror", "send"), ("sink", "send")])
def test_a_tap_shows_frames_by_type_and_client(acting: Server, stage: str, kind: str) -> None:
    """The tap within the chain is a stage until its reader has left."""
    path = f"/{stage}"
    with connect(acting.url + path) as one, connect(acting.url) as other:
        eventually(lambda: bool(ids_at(acting, path)), "a client")
        (wanted,) = ids_at(acting, path)
        with tapping(acting, f"stage={stage}&type={kind}&client={wanted}") as answer:
            assert (answer.status, answer.getheader("content-type")) == (200, "application/x-ndjson")
            if stage == "mirror":
                eventually(lambda: "tap" in labels_of(acting), "a tap in the chain")
            is_over = threading.Event()
            talk = threading.Thread(target=keep_talking, args=((one, other), is_over))
            talk.start()
            try:
                found = [frame for frame, _ in zip(frames_of(answer), range(20), strict=False)]
            finally:
                is_over.set()
                talk.join(PATIENCE_S)
    assert {frame["type"] for frame in found} == {kind}
    assert {frame["id"] if kind == "message" else frame["to"] for frame in found} == {wanted}
    eventually(lambda: labels_of(acting) == OWN, "a chain without the tap")


def keep_talking(clients: Iterable[Any], is_over: threading.Event) -> None:
    """Send and hear the echo, in turn."""
    while not is_over.is_set():
        for client in clients:
            client.send("hello")
            assert client.recv(PATIENCE_S) == "hello"


def test_what_is_too_much_to_be_shown_is_counted(acting: Server) -> None:
    with connect(acting.url) as client, tapping(acting, "stage=front&type=message") as answer:
        for _ in range(500):
            client.send("x")
        client.send("y" * 2 * MOST_BYTES)
        for _ in range(501):
            client.recv(PATIENCE_S)
        shown, skipped = 0, 0
        while shown + skipped < 501:
            told = json.loads(answer.readline())
            shown += "skipped" not in told
            skipped += told.get("skipped", 0)
        assert skipped > 0
    with connect(acting.url) as client, tapping(acting, "stage=front&type=message") as answer:
        client.send("y" * 2 * MOST_BYTES)
        told = json.loads(answer.readline())
        assert (told["large"]["type"], told["bytes"] > 2 * MOST_BYTES) == ("message", True)


def test_a_tap_reader_that_stalls_holds_nobody_up(acting: Server) -> None:
    """While frames of the largest shown size pass, it reads nothing; it is cut off, and the tap is taken out."""
    with contextlib.closing(socket.socket()) as stalled, connect(acting.url) as client:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", port_of(acting)))
        origin = f"127.0.0.1:{port_of(acting)}"
        stalled.send(f"POST /tap?stage=mirror HTTP/1.1\r\nHost: {origin}\r\nOrigin: http://{origin}\r\n\r\n".encode())
        eventually(lambda: "tap" in labels_of(acting), "a tap in the chain")
        text = "x" * (MOST_BYTES - 1000)

        def is_taken_out() -> bool:
            for _ in range(100):
                client.send(text)
                assert client.recv(PATIENCE_S) == text
            return labels_of(acting) == OWN

        eventually(is_taken_out, "a chain without the tap")


def test_taps_are_few(acting: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MOST_TAPS):
            assert stack.enter_context(tapping(acting, "stage=front")).status == 200
        with tapping(acting, "stage=sink") as answer:
            assert answer.status == 503
        assert ask(acting, "/live")[0] == 200

    def is_free() -> bool:
        with tapping(acting, "stage=sink") as answer:
            return answer.status == 200

    eventually(is_free, "room for a tap")


def test_who_may_read_frames_and_the_log(server: Server, acting: Server) -> None:
    for target in ("/tap?stage=front", "/log"):
        status, text = act(server, target) if target != "/log" else ask(server, target)[:2]
        assert (status, "--admin-actions" in text) == (403, True)
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert act(acting, "/tap?stage=front", **headers)[0] == 403
        assert ask(acting, "/log", **headers)[0] == 403
    assert ask(acting, "/tap?stage=front", "POST")[0] == 403
    assert ask(acting, "/tap?stage=front")[0] == 405
    status, text = act(acting, "/tap?stage=nosuch")
    assert (status, text.endswith(f"expected one of {', '.join(OWN)}\n")) == (404, True)


def test_the_log_is_followed(acting: Server) -> None:
    told = json.loads(ask(acting, "/log")[1])
    assert any("the admin address is" in line for line in told["lines"])
    assert json.loads(ask(acting, f"/log?after={told['last']}")[1])["lines"] == []
    assert act(acting, "/reload")[0] == 200
    new = json.loads(ask(acting, f"/log?after={told['last']}")[1])
    assert any("admin reload" in line for line in new["lines"])
    assert new["last"] == told["last"] + len(new["lines"])


@pytest.mark.parametrize("stage", ["front", "mirror"])
def test_a_drain_ends_a_tap(servers: Servers, stage: str) -> None:
    server = servers.start("--admin", ":0", "--admin-actions", "mirror")
    assert server.url
    with tapping(server, f"stage={stage}&type=nosuch") as answer:
        if stage == "mirror":
            eventually(lambda: "tap" in labels_of(server), "a tap in the chain")
        server.signal(signal.SIGTERM)
        assert json.loads(answer.readline())["ended"].startswith("the server drains")
        assert answer.read() == b""
    assert server.wait() == 0


def test_the_page_loads_nothing_from_elsewhere(server: Server) -> None:
    for target in ("/", "/page.css", "/page.js"):
        status, text, headers = ask(server, target)
        assert (status, "://" in text) == (200, False)
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")


# Where it listens.


def test_a_unix_socket(servers: Servers) -> None:
    server = servers.start("--admin", "unix:admin", "mirror")
    server.stderr.wait_for("the admin address is http\\+unix:admin")
    assert (servers.folder / "admin").stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(PATIENCE_S)
        peer.connect(str(servers.folder / "admin"))
        peer.send(b"GET /live HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n")
        assert read_all(peer).endswith(b"\r\n\r\nlive\n")
    assert server.url
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(PATIENCE_S)
        peer.connect(str(servers.folder / "admin"))
        peer.send(b"GET /log HTTP/1.1\r\nHost: any\r\n\r\nPOST /tap?stage=sink HTTP/1.1\r\nHost: any\r\n\r\n")
        received = b""
        while b"application/x-ndjson" not in received:
            received += peer.recv(65536)
        assert b"the admin address is http+unix:admin" in received
    assert server.stop() == 0
    assert not (servers.folder / "admin").exists()


def test_an_address_that_is_taken_or_the_clients_own(server: Server, servers: Servers) -> None:
    port = port_of(server)
    taken = servers.start("--admin", f"127.0.0.1:{port}", "mirror")
    assert taken.wait() == EXIT_SYSTEM
    assert taken.stderr.lines == [
        f"fws-pipe: can't listen on 127.0.0.1 port {port}: the port is in use; stop what uses it, or choose another "
        "with --admin (0 picks a free one)"
    ]
    own = run("fws-pipe", "--port", "9000", "--admin", ":9000", "mirror")
    assert (own.returncode, own.stderr.decode()) == (
        EXIT_USAGE,
        "fws-pipe: --admin: 9000 is the clients' port; choose another one (0 picks a free one)\n",
    )
    assert run("fws-pipe", "--admin", "9100").returncode == EXIT_USAGE


def test_clients_get_no_metrics(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"fws_" not in read_all(peer)


# Hostile peers.


def read_all(peer: socket.socket) -> bytes:
    peer.settimeout(PATIENCE_S)
    received = b""
    while block := peer.recv(65536):
        received += block
    return received


def dial(server: Server) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port_of(server)))
    peer.settimeout(PATIENCE_S)
    return peer


@pytest.mark.parametrize(
    ("host", "status"), [("evil.example", 421), ("ONE.example:1", 200), ("localhost", 200), ("127.0.0.1:80", 200)]
)
def test_a_name_that_is_not_its_own_is_refused(server: Server, host: str, status: int) -> None:
    assert ask(server, "/live", Host=host)[0] == status
    assert ask(server, "/metrics", Host=host)[0] == status


def test_no_answer_is_for_another_site(server: Server) -> None:
    for target in ("/live", "/ready", "/metrics", "/nosuch"):
        headers = ask(server, target, Origin="https://evil.example")[2]
        assert not [name for name in headers if name.startswith("access-control")]
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"


def test_wrong_requests_are_told(server: Server) -> None:
    assert ask(server, "/nosuch")[0] == 404
    status, _, headers = ask(server, "/metrics", "POST")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    for sent, expected in (
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /live HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /live HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 "),
        (b"GET http://[::1/metrics HTTP/1.0\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET //[x/metrics HTTP/1.0\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /" + b"x" * 2 * HEAD_LIMIT_BYTES, b"HTTP/1.1 431 "),
    ):
        with dial(server) as peer:
            peer.send(sent)
            assert read_all(peer).startswith(expected)


def test_a_body_is_bounded(server: Server) -> None:
    with dial(server) as peer:
        peer.send(b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(100 * BODY_LIMIT_BYTES // 1000):
                peer.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            return
        assert not peer.recv(1)


def test_several_requests_on_one_connection(server: Server) -> None:
    with dial(server) as peer:
        request = b"GET /live HTTP/1.1\r\nHost: localhost\r\n"
        peer.send((request + b"\r\n") * 2 + request + b"Connection: close\r\n\r\n")
        assert read_all(peer).count(b"\r\n\r\nlive\n") == 3


def test_peers_that_keep_silent_or_do_not_read_keep_no_other_out(server: Server) -> None:
    peers = [dial(server) for _ in range(MOST_CONNECTIONS + 4)]
    try:
        assert ask(server, "/live")[0] == 200  # an idle one makes room
    finally:
        for peer in peers:
            peer.close()
    stalled = dial(server)
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    stalled.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300)
    with connect(server.url, origin=PAGE) as client:
        client.send("still served")
        assert client.recv(PATIENCE_S) == "still served"
    assert ask(server, "/live")[0] == 200
    stalled.close()


def test_half_sent_requests_keep_no_other_out(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(dial(server)) for _ in range(MOST_CONNECTIONS)]
        for peer in peers:
            peer.send(b"GET /live HTTP/1.1\r\n")
        assert ask(server, "/live")[0] == 200  # the oldest of them makes room
