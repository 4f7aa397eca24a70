"""Who gets in: tokens before the upgrade, and the gate, where the chain answers."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping

import jwt
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.e2e.raw import RawClient, frame, request
from tests.harness import PATIENCE_S, Server, Servers

SECRET = "0123456789abcdef0123456789abcdef"


def knock(server: Server, path: str = "/", headers: Mapping[str, str] | None = None) -> ClientConnection:
    return connect(server.url + path, additional_headers=headers)


def refusal_of(server: Server, path: str = "/", headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refused, knock(server, path, headers):
        pass
    return refused.value.response.status_code, (refused.value.response.body or b"").decode()


def jwt_of(**claims: object) -> str:
    return jwt.encode({"sub": "alice", **claims}, SECRET, algorithm="HS256")


def jwt_server(servers: Servers, *options: str) -> Server:
    (servers.folder / "secret").write_text(SECRET + "\n")
    return servers.start("--auth-jwt-secret", "secret", *options, f"mirror | {servers.reporter()}")


def test_a_static_token_lets_in_and_the_chain_never_sees_it(servers: Servers) -> None:
    (servers.folder / "tokens").write_text("# who may\ns3cret alice\n")
    server = servers.start("--auth-tokens", "tokens", f"mirror | {servers.reporter()}")
    assert refusal_of(server)[0] == refusal_of(server, "/?token=wrong")[0] == 401
    ways: list[tuple[str, dict[str, str]]] = [
        ("/chat?a=1&token=s3cret&b=2", {}),
        ("/", {"Authorization": "Bearer s3cret"}),
        ("/", {"Cookie": "theme=dark; token=s3cret"}),
    ]
    for path, headers in ways:
        with knock(server, path, headers) as client:
            client.send("hello")
            assert client.recv(PATIENCE_S) == "hello"
    opened = server.events("open", len(ways))
    assert [event["auth"] for event in opened] == [{"sub": "alice"}] * len(ways)
    assert opened[0]["query"] == "a=1&b=2"
    assert server.stop() == 0
    assert "s3cret" not in server.stdout.text + server.stderr.text
    assert "refused 401: 2" in server.stderr.text


def test_sighup_reads_the_tokens_again(servers: Servers) -> None:
    tokens = servers.folder / "tokens"
    tokens.write_text("first\n")
    server = servers.start("--auth-tokens", "tokens", "mirror")
    with knock(server, "/?token=first") as client:
        tokens.write_text("second\n")
        server.signal(signal.SIGHUP)
        server.stderr.wait_for("SIGHUP: read again: tokens")
        assert refusal_of(server, "/?token=first")[0] == 401
        with knock(server, "/?token=second"):
            pass
        client.send("still here")
        assert client.recv(PATIENCE_S) == "still here"
    tokens.write_text("")
    server.signal(signal.SIGHUP)
    server.stderr.wait_for("SIGHUP: kept as before: tokens .--auth-tokens tokens: there is no token in it")
    with knock(server, "/?token=second"):
        pass


def test_a_jwt_lets_in_with_its_claims(servers: Servers) -> None:
    server = jwt_server(servers, "--auth-audience", "chat", "--auth-issuer", "me")
    with knock(server, headers={"Authorization": f"Bearer {jwt_of(aud='chat', iss='me', roles=['admin'])}"}):
        (opened,) = server.events("open", 1)
    assert opened["auth"] == {"sub": "alice", "aud": "chat", "iss": "me", "roles": ["admin"]}


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (lambda: jwt_of(aud="chat", exp=time.time() - 60), "expired"),
        (lambda: jwt_of(aud="chat", nbf=time.time() + 600), "not valid yet"),
        (lambda: jwt_of(aud="other"), "meant for|audience"),
        (lambda: jwt.encode({"aud": "chat"}, "", algorithm="none"), "algorithm"),
        (lambda: "not.a.jwt", "malformed|not a JWT"),
        (lambda: "x" * 10_000, "longer than 8192 bytes"),
    ],
)
def test_a_bad_jwt_is_refused_before_the_upgrade(servers: Servers, token: object, words: str) -> None:
    assert callable(token)
    server = jwt_server(servers, "--auth-audience", "chat")
    made = token()
    status, body = refusal_of(server, headers={"Authorization": f"Bearer {made}"})
    assert status == 401
    assert any(word in body for word in words.split("|")), body
    assert server.stop() == 0
    assert server.stdout.lines == []
    assert made not in server.stderr.text


def test_a_connection_is_closed_when_its_token_expires(servers: Servers) -> None:
    server = jwt_server(servers)
    assert server.url  # only now the clock counts: the start may take longer than the token lives
    with knock(server, "/?token=" + jwt_of(exp=int(time.time()) + 4)) as client:
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE_S)
        assert client.close_code == 4401
    (gone,) = server.events("disconnect", 1)
    assert gone["code"] == 4401


def test_wrong_key_files_are_one_clear_line(servers: Servers) -> None:
    (servers.folder / "short").write_text("short")
    for options, words in (
        (["--auth-jwt", "gone"], "gone"),
        (["--auth-jwt", "short"], "give it as --auth-jwt-secret"),
        (["--auth-jwt-secret", "short"], "32 is the least"),
        (["--auth-tokens", "gone"], "gone"),
    ):
        server = servers.start(*options, "mirror")
        assert server.wait() == 2
        (line,) = server.stderr.lines
        assert words in line


GATE = """#!/usr/bin/env fws-python
from fws_pipe.sdk import accept, on, reject, run, send

@on("open")
def judge(event):
    if event["path"] == "/silent" or event["replay"]:
        return
    if event["path"] == "/welcome":
        send("*", "somebody is coming")
        send(event["id"], "welcome")
        accept(event["id"], {"sub": "guest"})
    else:
        reject(event["id"], 403, "not today")

run()
"""


def gate_server(servers: Servers, *options: str, chain: str = "") -> Server:
    return servers.start("--gate", *options, f"{servers.script('gate', GATE)} | mirror | {servers.reporter()}{chain}")


def test_the_chain_accepts_or_rejects(servers: Servers) -> None:
    server = gate_server(servers)
    assert refusal_of(server, "/elsewhere") == (403, "not today\n")
    with knock(server, "/welcome") as client:
        # What is for everybody is not for a client that isn't in yet.
        assert client.recv(PATIENCE_S) == "welcome"
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"
    disconnects = server.events("disconnect", 2)
    assert [event["id"] for event in server.events("open", 2)] == [event["id"] for event in disconnects]


def test_a_client_that_the_chain_rejects_is_told_of_once(servers: Servers) -> None:
    server = gate_server(servers, "-v")
    assert refusal_of(server, "/elsewhere")[0] == 403
    with knock(server, "/welcome") as client:
        assert client.recv(PATIENCE_S) == "welcome"
    server.stderr.wait_for("has gone: ")
    lines = [line for line in server.stderr.lines if "has rejected it" in line or "has gone" in line]
    assert len(lines) == 2
    assert "refused 127.0.0.1" in lines[0]


def test_a_page_that_has_pointed_its_own_name_at_this_machine_is_not_the_same(servers: Servers) -> None:
    """DNS rebinding: the page's host is the WebSocket's, and yet a stranger's."""
    server = servers.start("--origin", "same", "mirror")
    for host, status in ((f"localhost:{server.port}", b" 101 "), (f"evil.example:{server.port}", b" 403 ")):
        with RawClient(server.port) as client:
            asked = request(server.port, f"Origin: http://{host}")
            client.send(asked.replace(f"Host: 127.0.0.1:{server.port}".encode(), f"Host: {host}".encode()))
            assert status in client.read_head()
    assert server.stop() == 0


def test_the_host_that_a_trusted_proxy_tells_is_the_one_of_same(servers: Servers) -> None:
    told = {"X-Forwarded-Host": "chat.example", "X-Forwarded-Proto": "http"}
    for options, status in (((), 403), (("--trusted-proxy", "127.0.0.1"), 101)):
        server = servers.start("--origin", "same", *options, "mirror")
        lines = [f"{name}: {value}" for name, value in {**told, "Origin": "http://chat.example"}.items()]
        with RawClient(server.port) as client:
            client.send(request(server.port, *lines))
            assert client.read_head().startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("spoken", "offered", "chosen"),
    [
        ("v2.chat,v1.chat", ["v1.chat", "v2.chat"], "v2.chat"),
        ("v1.chat", ["V1.chat", "v1.chat"], "v1.chat"),
        ("v1.chat", ["v3.chat"], None),
        ("v1.chat", [], None),
        ("", ["v1.chat"], None),
    ],
)
def test_the_first_subprotocol_of_the_server_that_the_client_offers_too(
    servers: Servers, spoken: str, offered: list[str], chosen: str | None
) -> None:
    server = servers.start(*(("--subprotocol", spoken) if spoken else ()), servers.reporter())
    with RawClient(server.port) as client:
        client.send(request(server.port, *(f"Sec-WebSocket-Protocol: {name}" for name in offered)))
        answered = [line[24:].decode() for line in client.read_head().split(b"\r\n") if b"Sec-WebSocket-P" in line]
        assert answered == ([] if chosen is None else [chosen])
        [opened] = server.events("open", 1)
    assert opened["subprotocol"] == chosen


CHOOSER = """#!/usr/bin/env fws-python
import os
from fws_pipe.sdk import accept, on, run

@on("open")
def choose(event):
    if not event["replay"]:
        accept(event["id"], subprotocol=event["query"] or None)

@on("message")
def crash(event):
    os._exit(1)

run()
"""


def test_the_chain_chooses_a_subprotocol(servers: Servers) -> None:
    chain = f"{servers.reporter()} | {servers.script('chooser', CHOOSER)}"
    server = servers.start("--gate", "--subprotocol", "v1.chat", chain)
    offers = [Subprotocol("v1.chat"), Subprotocol("v2.chat")]
    with connect(server.url, subprotocols=offers) as client:
        assert client.subprotocol == "v1.chat"  # the chain has left it to the server
    with connect(server.url + "/?v2.chat", subprotocols=offers) as client:
        assert client.subprotocol == "v2.chat"
        client.send("crash")
        server.stderr.wait_for("the chain serves again")
        replayed = server.events("open", 3)[-1]
        assert (replayed["replay"], replayed["subprotocol"]) == (True, "v2.chat")


def test_a_subprotocol_that_the_client_does_not_offer_is_the_chains_fault(servers: Servers) -> None:
    server = servers.start("--gate", f"{servers.reporter()} | {servers.script('chooser', CHOOSER)}")
    for _ in range(2):
        status, body = refusal_of(server, "/?v2.chat")
        assert (status, body) == (500, "The chain has chosen a subprotocol that you do not offer.\n")
    server.events("disconnect", 2)
    assert server.stop() == 0
    assert (
        len(
            [
                line
                for line in server.stderr.lines
                if "accept.subprotocol: refused a client that does not offer 'v2.chat'" in line
            ]
        )
        == 1
    )
    assert "accepted with a subprotocol that was not offered: 2" in server.stderr.text


def test_no_answer_from_the_gate_is_503(servers: Servers) -> None:
    server = gate_server(servers, "--gate-timeout", "0.2")
    status, body = refusal_of(server, "/silent")
    assert status == 503
    assert "Try again later" in body
    server.events("disconnect", 1)


def test_any_executable_can_be_the_gate(servers: Servers) -> None:
    filter_text = (
        """select(.type == "open" and (.replay | not)) | """
        """if .query == "password=please" then {type: "accept", id} else {type: "reject", id, status: 401} end"""
    )
    server = servers.start("--gate", f"to_json | jq -c --unbuffered '., ({filter_text})' | from_json | mirror")
    assert refusal_of(server)[0] == 401
    with knock(server, "/?password=please") as client:
        client.send("hello")
        assert client.recv(PATIENCE_S) == "hello"


def test_a_restarted_chain_is_told_who_was_accepted(servers: Servers) -> None:
    crash = servers.script(
        "crash",
        "#!/usr/bin/env fws-python\nimport os\nfrom fws_pipe.sdk import on, run\n\n"
        '@on("message")\ndef crash(event):\n    if event["data"] == "crash":\n        os._exit(1)\n\nrun()\n',
    )
    server = gate_server(servers, chain=f" | {crash}")
    with knock(server, "/welcome") as client:
        assert client.recv(PATIENCE_S) == "welcome"
        client.send("crash")
        server.stderr.wait_for("the chain serves again")
        replayed = server.events("open", 2)[-1]
        assert replayed["replay"] is True
        assert replayed["auth"] == {"sub": "guest"}


def test_nobody_needs_a_gate_to_be_told_what_a_wrong_answer_is(servers: Servers) -> None:
    emit = json.dumps({"type": "reject", "id": "x", "status": 200})
    server = servers.start(f"echo '{emit}' | from_json | cat; cat")
    server.stderr.wait_for("reject.status: expected an HTTP status of 400 to 511", 1)


def test_the_servers_end_answers_whoever_waits_at_the_gate(servers: Servers) -> None:
    server = servers.start("--gate", "--gate-timeout", "60", "-v", servers.reporter())
    with RawClient(server.port) as client:
        client.send(request(server.port))
        server.events("open", 1)
        server.signal(signal.SIGTERM)
        answer = client.read_to_end()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"shutting down" in answer
    assert server.wait() == 0


def test_a_client_that_leaves_at_the_gate_is_noticed(servers: Servers) -> None:
    server = servers.start("--gate", "--gate-timeout", "60", "--max-clients", "1", servers.reporter())
    for number, resets in enumerate((False, True), start=1):
        with RawClient(server.port) as client:
            client.send(request(server.port))
            server.events("open", number)
            if resets:
                client.reset()
        server.events("disconnect", number)
    assert server.stop() == 0
    assert "error in the server" not in server.stderr.text


def test_what_a_client_sends_while_it_waits_at_the_gate_is_not_lost(servers: Servers) -> None:
    script = "#!/usr/bin/env fws-python\nfrom fws_pipe.sdk import accept, on, run\n\n"
    opener = script + (
        "waiting = []\n\n"
        '@on("open")\ndef came(event):\n    waiting.append(event["id"])\n'
        "    if len(waiting) == 2:\n        for one in waiting:\n            accept(one)\n\nrun()\n"
    )
    server = servers.start("--gate", f"{servers.script('opener', opener)} | mirror | {servers.reporter()}")
    with RawClient(server.port) as first, RawClient(server.port) as second:
        first.send(request(server.port) + frame(b"early"))
        server.events("open", 1)
        first.send(frame(b"meanwhile"))
        second.send(request(server.port))
        server.events("message", 2)
        # Its messages come back behind the head, in the order in which it sent them.
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += first.read(1)
        assert b" 101 " in answer
        assert first.read(18) == b"\x81\x05early\x81\x09meanwhile"


def test_a_chain_that_says_too_much_before_it_accepts(servers: Servers) -> None:
    script = "#!/usr/bin/env fws-python\nfrom fws_pipe.sdk import on, run, send\n\n"
    talker = script + (
        '@on("open")\ndef came(event):\n    for _ in range(3):\n        send(event["id"], "x" * 60)\n\nrun()\n'
    )
    server = servers.start("--gate", "--outbox-limit", "100", servers.script("talker", talker))
    status, body = refusal_of(server)
    assert (status, body) == (503, "More waits for you than may.\n")
