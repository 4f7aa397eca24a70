"""The log in its forms: every line of a server is an object of JSON, or a line of logfmt, and tells no secret."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from fws_pipe.websocket.rfc6455 import CONTINUATION, TEXT
from tests.e2e.raw import RawClient, frame
from tests.harness import PATIENCE_S, Server, Servers, run
from tests.unit.test_log_form import parsed_logfmt

CHAIN = """( echo "I start\tnow" >&2; exec cat ) | mirror"""
SECRETS = ("s3cret-query", "s3cret-cookie", "s3cret-token")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It logs JSON, with access lines."""
    with Servers(tmp_path_factory.mktemp("logs")) as servers:
        yield servers.start(
            "--log-format", "json", "--access-log", "--log-level", "front=debug", "--origin", "https://example.com",
            "--origin", "none", "--subprotocol", "chat", CHAIN,
        )  # fmt: skip


def url_of(server: Server) -> str:
    return str(json.loads(server.stderr.wait_for("listening on"))["message"]).removeprefix("listening on ")


def lines_of(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.stderr.lines]


def the_line(server: Server, message: str, address: str) -> dict[str, Any]:
    """The line with this message about a connection of ours, once it is there."""
    return dict(json.loads(server.stderr.wait_for(f'"{message}".*"{address}"')))


def test_a_client_that_has_gone_is_told_in_one_line(server: Server) -> None:
    headers = {"Cookie": f"token={SECRETS[1]}", "Authorization": f"Bearer {SECRETS[2]}"}
    with connect(
        f"{url_of(server)}/chat?key={SECRETS[0]}", origin=Origin("https://example.com"),
        subprotocols=[Subprotocol("chat")], additional_headers=headers, user_agent_header='agent "1"', compression=None,
    ) as client:  # fmt: skip
        host, port = client.local_address[:2]
        for message in ("one", b"two", "x" * 300):
            client.send(message)
            assert client.recv(PATIENCE_S) == message
        client.close(4001, "bye")
    line = the_line(server, "connection closed", f"{host}:{port}")
    assert line.pop("time").endswith("Z")
    assert 0 <= line.pop("duration") < PATIENCE_S
    assert line.pop("id")
    close = 2 + len("bye")
    payload = len("one") + len(b"two") + 300 + close
    assert line == {
        "level": "info", "subject": "access", "message": "connection closed", "address": f"{host}:{port}",
        "path": "/chat", "origin": "https://example.com", "agent": 'agent "1"', "subprotocol": "chat", "code": 4001,
        "messages_in": 3, "messages_out": 3,
        # Headers of 2 bytes, 4 for a length over 125, and 4 for the mask of what a client sends (RFC 6455, 5.2).
        "bytes_in": payload + 4 * 6 + 2, "bytes_out": payload + 4 * 2 + 2,
    }  # fmt: skip
    assert not [secret for secret in SECRETS if secret in server.stderr.text]


def test_fragments_and_what_comes_with_the_request_count_as_well(server: Server) -> None:
    port = urlsplit(url_of(server)).port
    assert port is not None
    with RawClient(port) as client:
        address = "{}:{}".format(*client.socket.getsockname())
        sent = frame(b"a", first=TEXT) + frame(b"b", opcode=CONTINUATION) + frame(b"whole")
        client.upgrade(sent)
        assert client.read(len(b"??ab??whole")).endswith(b"whole")
        client.reset()
    line = the_line(server, "connection closed", address)
    assert (line["messages_in"], line["messages_out"], line["bytes_in"], line["code"]) == (2, 2, len(sent), 1006)


def test_a_refused_handshake_is_told_with_its_status_and_the_reason(server: Server) -> None:
    url = url_of(server)
    evil = Origin("https://evil.example")
    with pytest.raises(InvalidStatus), connect(f"{url}/chat?key={SECRETS[0]}", origin=evil):
        pass
    line = json.loads(server.stderr.wait_for('"connection refused".*evil'))
    assert (line["status"], line["path"], line["origin"]) == (403, "/chat", "https://evil.example")
    assert "--origin" in line["reason"]
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as plain:
        plain.sendall(b"GET /?key=s3cret-query HTTP/1.1\r\nHost: x\r\n\r\n")
        assert plain.recv(100).startswith(b"HTTP/1.1 426")
    assert json.loads(server.stderr.wait_for('"connection refused".*426'))["status"] == 426
    assert not [secret for secret in SECRETS if secret in server.stderr.text]


def test_each_line_is_json_and_a_stages_lines_name_the_stage_and_its_process(server: Server) -> None:
    server.stderr.wait_for("I start")
    lines = lines_of(server)
    assert all({"time", "level", "subject", "message"} <= line.keys() for line in lines)
    (said,) = [line for line in lines if line["message"].startswith("I start")]
    assert (said["message"], said["subject"], said["level"]) == ("I start\tnow", "stage", "notice")
    assert said["stage"].startswith('stage 1 "')
    assert said["pid"] > 1
    assert {"server", "stage"} <= {line["subject"] for line in lines}


def test_a_server_that_fails_says_so_in_the_same_form_and_levels_hide_subjects(servers: Servers) -> None:
    server = servers.start(
        "--log-format", "logfmt", "--log-level", "stage=error,server=error,chain=error", "echo nothing >&2; exit 3"
    )
    assert server.wait() == 3
    (line,) = (parsed_logfmt(line) for line in server.stderr.wait_for_end().splitlines())
    assert (line["level"], line["subject"]) == ("error", "server")
    assert "could not start" in line["message"]


def test_programs_by_hand_log_in_the_form_of_the_variable() -> None:
    script = "FWS_LOG_FORMAT={} fws-sink 2>&1 >/dev/null"
    for form, parse in (("json", json.loads), ("logfmt", parsed_logfmt)):
        done = run("sh", "-c", script.format(form), stdin=b"hello")
        line = parse(done.stdout.decode())
        assert (line["level"], line["subject"]) == ("warning", "stage")
        assert line["message"].startswith("fws-sink: ")


def test_what_is_no_subject_or_level_is_refused() -> None:
    for wrong in ("redis", "redis=loud", "nosuch=info"):
        done = run("fws-pipe", "--log-level", wrong)
        assert done.returncode == 2
        assert b"expected SUBJECT=LEVEL" in done.stderr
