"""What filters get from outside: of the environment no secrets, of clients nothing but events."""

from __future__ import annotations

import json

from websockets.sync.client import connect

from tests.e2e.test_limits import exchange
from tests.harness import Servers

SHOW = """#!/bin/sh
env | cut -d= -f1 | sort | tr '\\n' ' ' >&"$FWS_STDOUT_FD"
echo >&"$FWS_STDOUT_FD"
exec cat
"""


def names_seen(servers: Servers, *arguments: str, **environment: str) -> set[str]:
    server = servers.start(
        *arguments, f"{servers.script('show', SHOW)} | mirror", environment=servers.environment(**environment)
    )
    with connect(server.url) as client:
        exchange(client, "hello")
    assert server.stop() == 0
    return set(server.stdout.text.split())


def test_secrets_stay_with_the_server(servers: Servers) -> None:
    given = {"DB_PASSWORD": "x", "API_KEY": "x", "GREETING": "x", "FWS_AUTH_COOKIE": "x"}
    seen = names_seen(servers, "--pass-env", "API_KEY", **given)
    assert {"API_KEY", "GREETING", "PATH", "FWS_STAGE"} <= seen
    assert "DB_PASSWORD" not in seen


def test_a_clean_environment(servers: Servers) -> None:
    mark = next(name for name in servers.environment() if name.startswith("FWS_TEST_MARK"))
    seen = names_seen(servers, "--clean-env", "--pass-env", f"{mark},API_KEY", API_KEY="x", GREETING="x", LANG="C")
    assert {"API_KEY", "PATH", "LANG", mark, "FWS_STORAGE", "PYTHONUNBUFFERED"} <= seen
    assert "GREETING" not in seen


def test_what_a_client_sends_is_never_a_command(servers: Servers) -> None:
    poison = "$(touch${IFS}done);touch${IFS}done|`touch${IFS}done`&&touch${IFS}done"
    server = servers.start(f"mirror | {servers.reporter()} | to_json | cat | from_json")
    url = f"{server.url}/{poison}?{poison}"
    with connect(url, additional_headers={"X-Poison": poison}) as client:
        exchange(client, poison)
        [opened] = server.events("open", 1)
    assert ["x-poison", poison] in opened["headers"]
    assert "touch" in opened["path"]
    assert "touch" in json.dumps(opened["query"])
    assert server.stop() == 0
    assert not (servers.folder / "done").exists()
