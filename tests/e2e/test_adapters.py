"""Programs behind adapters in a real server: what the documents show, and what is promised when a program dies."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from fws_pipe.config.topics import text_of
from tests.harness import Server, Servers, eventually, shell

MESSAGES = 600
KILLS = 3


def pids_of(servers: Servers, word: str) -> list[int]:
    """The processes that have this word among their arguments, and are no adapter."""
    found = []
    for pid in servers.processes():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if word in words and not any(part.endswith(("/lines", "/map", "/json")) for part in words):
            found.append(pid)
    return found


def test_the_room_of_the_documents(servers: Servers) -> None:
    [room] = re.findall(r"```bash\n(.*?)```", text_of("adapters"), re.DOTALL)
    server = servers.start(f"lines {servers.script('room.sh', room)}")
    with connect(server.url) as bob:
        with connect(server.url) as alice:
            alice.send("/nick Alice")
            alice.send("50%\tof\n*")
            assert bob.recv(30) == "Alice: 50%\tof\n*"
            bob.send("hi")
            assert alice.recv(30) == "guest: hi"
        assert bob.recv(30) == "Alice has left"
    assert shell(f"printf 'message\\ta\\thello\\n' | {servers.folder}/room.sh").stdout == b"send\t!a\tguest: hello\n"


def test_the_lines_of_the_documents(servers: Servers) -> None:
    lines = re.findall(r"^    fws-pipe (['\"](?:lines|json) .*)$", text_of("adapters"), re.MULTILINE)
    chains = [shell(f"printf '%s' {line}").stdout.decode() for line in lines if "./" not in line]
    assert len(chains) == 3
    for chain in chains:
        if not shutil.which(chain.split()[1]):
            pytest.skip(f"{chain.split()[1]} is not installed")
        server = servers.start(chain)
        with connect(server.url) as alice, connect(server.url) as bob:
            alice.send("50%\thello")
            assert (alice if "jq" in chain else bob).recv(30) == "50%\thello"


_COUNTING_JSON = """#!/usr/bin/env python3
import json, sys
for line in sys.stdin:
    event = json.loads(line)
    if event["type"] == "message":
        print(json.dumps({"type": "send", "to": event["id"], "data": event["data"]}))
    elif event.get("replay"):
        print("open / replay", file=sys.stderr)
    if sys.argv[1] == "--ack":
        print('{"type":"tick"}')
"""

_COUNTING = """#!/usr/bin/env python3
import sys
for line in sys.stdin:
    what, client, *rest = line.rstrip("\\n").split("\\t")
    if what == "message":
        print(f"send\\t{client}\\t{rest[0]}")
    else:
        print(what, *rest, file=sys.stderr)
    if sys.argv[1] == "--ack":
        print()
"""


def answers_of(client: ClientConnection, answers: list[str]) -> None:
    try:
        for answer in client:
            answers.append(str(answer))
            if answer == "last":
                return
    except ConnectionClosed:
        pass


def kill_program(servers: Servers, server: Server, count: int) -> None:
    """Kill the program, and wait until that is noticed."""
    eventually(lambda: bool(pids_of(servers, "./count")), "a program")
    for pid in pids_of(servers, "./count"):
        os.kill(pid, signal.SIGKILL)
    server.stderr.wait_for(r'^stage 1 "(lines|json)": .* was killed by SIGKILL', count)


@pytest.mark.parametrize("mode", ["--ack", "at most once"])
@pytest.mark.parametrize(("adapter", "program"), [("lines", _COUNTING), ("json", _COUNTING_JSON)])
def test_what_is_promised_when_a_program_is_killed(servers: Servers, adapter: str, program: str, mode: str) -> None:
    servers.script("count", program)
    server = servers.start(f"{adapter} --ack ./count --ack" if mode == "--ack" else f"{adapter} ./count no")
    answers: list[str] = []
    with connect(server.url) as client:
        reader = threading.Thread(target=answers_of, args=(client, answers))
        reader.start()
        for round_number in range(KILLS):
            for number in range(MESSAGES):
                client.send(f"{round_number}.{number}")
            kill_program(servers, server, round_number + 1)
        client.send("last")
        reader.join(30)
        assert answers[-1:] == ["last"]
    server.stderr.wait_for("open / replay$")  # one of them has heard of the client; the others may have had no time
    counts = Counter(answers)
    assert max(counts.values()) == 1, "an answer came twice"
    if mode == "--ack":
        assert len(counts) == KILLS * MESSAGES + 1
