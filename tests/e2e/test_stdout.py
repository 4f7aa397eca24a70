"""Whoever reads the server's stdout, or doesn't: the clients notice nothing, and what is lost is told."""

from __future__ import annotations

import os
import re
import sys

from websockets.sync.client import connect

from tests.harness import PATIENCE_S, Output, Server, Servers, eventually

_ON_DESCRIPTOR = """import os, sys
os.dup2(int(sys.argv[1]), 1)
os.close(int(sys.argv[1]))
os.execvp("fws-pipe", ["fws-pipe", "--port", "0", *sys.argv[2:]])"""

MESSAGE_BYTES = 1_000_000
ENOUGH = 24
"""Messages of this size fill all queues before stdout twice."""


def start(servers: Servers, *arguments: str, is_blocking: bool = True) -> tuple[Server, int]:
    """A server with a pipe as its stdout, and the read end of that."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, is_blocking)
    server = servers.start_command(
        sys.executable, "-c", _ON_DESCRIPTOR, str(write_end), *arguments, descriptors=(write_end,)
    )
    os.close(write_end)
    return server, read_end


def say(server: Server, texts: list[str]) -> None:
    """Have a client say this, and hear the answers."""
    with connect(server.url, max_size=None) as client:
        for text in texts:
            client.send(text)
            assert client.recv(PATIENCE_S) == text


def test_nobody_reads_stdout_and_the_chat_goes_on(servers: Servers) -> None:
    server, read_end = start(servers, "--stall-timeout", "1", "mirror | stdout_log")
    say(server, ["x" * MESSAGE_BYTES for _ in range(ENOUGH)])
    server.stderr.wait_for("lines for stdout are dropped: its reader is too slow")
    stdout = Output(read_end)
    told = int(server.stderr.wait_for(r"stdout takes lines again; \d+ lines? (was|were) dropped").split()[-4])
    # A client has come and gone, too.
    eventually(lambda: len(stdout.lines) + told == ENOUGH + 2, "a line for each event, or its loss")
    assert {len(line) > MESSAGE_BYTES for line in stdout.lines if " => " in line} == {True}
    assert server.stop() == 0
    assert f"stdout lines dropped: {told}" in server.stderr.text
    assert "hangs" not in server.stderr.text


def test_a_foreign_program_that_writes_to_a_stuck_stdout_goes_on(servers: Servers) -> None:
    size = 20 * 1024 * 1024
    loud = servers.script("loud", f'#!/bin/sh\nyes | head -c {size} >&"$FWS_STDOUT_FD"\nexec cat\n')
    server, read_end = start(servers, f"{loud} | mirror")
    say(server, ["hello"])
    os.close(read_end)
    assert server.stop() == 0
    dropped = re.search(r"stdout lines dropped: (\d+)", server.stderr.text)
    assert dropped is not None
    assert int(dropped[1]) > 0


def test_a_stdout_that_somebody_has_made_non_blocking_loses_nothing(servers: Servers) -> None:
    server, read_end = start(servers, "mirror | stdout_log", is_blocking=False)
    say(server, [f"{number} " + "x" * 1000 for number in range(3000)])
    check_at_the_end(server, read_end, 3000)


def test_who_reads_late_has_all_that_was_written_before_the_end(servers: Servers) -> None:
    server, read_end = start(servers, "--drain-timeout", "60", "mirror | stdout_log")
    say(server, [f"{number} " + "x" * 1000 for number in range(3000)])
    check_at_the_end(server, read_end, 3000)


def check_at_the_end(server: Server, read_end: int, count: int) -> None:
    """Read only once the server waits for that, and find all lines in order."""
    server.process.terminate()
    server.stderr.wait_for("waiting up to [0-9]+ s for the reader of stdout")
    with open(read_end, "rb") as file:
        lines = [line for line in file.read().decode().splitlines() if " => " in line]
    assert [line.split()[2] for line in lines] == [str(number) for number in range(count)]
    assert server.wait() == 0
    assert "dropped" not in server.stderr.text


def test_a_hurried_end_does_not_wait_for_stdouts_reader(servers: Servers) -> None:
    server, read_end = start(servers, "--drain-timeout", "300", "mirror | stdout_log")
    say(server, ["x" * MESSAGE_BYTES])
    server.process.terminate()
    server.stderr.wait_for("waiting up to [0-9]+ s for the reader of stdout")
    assert server.stop() == 0
    os.close(read_end)
    assert re.search(r"\d+ lines? for stdout could not be written", server.stderr.text)


def test_long_lines_of_several_stages_stay_whole(servers: Servers) -> None:
    loud = servers.script(
        "loud",
        "#!/usr/bin/env fws-python\nimport sys\nfrom fws_pipe.sdk import on, run\n"
        "@on('message')\ndef show(event):\n    print(sys.argv[1] * 100_000)\nrun()\n",
    )
    server, read_end = start(servers, f"mirror | {loud} a | {loud} b | {loud} c")
    with open(read_end, "rb") as file:
        say(server, ["x"] * 10)
        lines = [file.readline() for _ in range(30)]
    assert sorted(lines) == sorted([letter * 100_000 + b"\n" for letter in (b"a", b"b", b"c")] * 10)
    assert server.stop() == 0


def test_a_stdout_that_can_not_be_written_is_told_once(servers: Servers) -> None:
    server, read_end = start(servers, "mirror | stdout_log")
    os.close(read_end)
    say(server, ["x", "y"])
    server.stderr.wait_for("lines for stdout are dropped: Broken pipe")
    assert server.stop() == 0
    assert server.stderr.text.count("lines for stdout are dropped") == 1
