"""Adapters and programs of every sort: what bad ones get, and that nothing of them stays."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fws_pipe.protocol.codec import Frame, encode
from tests.filters.by_hand import Running
from tests.harness import PATIENCE_S, Servers, eventually
from tests.unit.adapters.conversation import TICK, message

_FULL_MS = 300
"""A pipe that takes nothing for so long is full."""

EVERY = pytest.mark.parametrize("name", ["map", "lines", "json", "jsonrpc"])
"""Every adapter that runs one program for all."""

OPEN: Frame = {"type": "open", "id": "a-1", "path": "/"}
CALL = message('{"jsonrpc":"2.0","method":"go"}')
"""A message that is one for every adapter."""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[Servers, list[Running]]]:
    adapters: list[Running] = []
    with Servers(tmp_path) as servers:
        yield servers, adapters
        for adapter in adapters:
            adapter.end()
        # A guard ends after its adapter.
        eventually(lambda: not servers.processes(), "the end of all programs")


class Starter:
    """Starts adapters for one test."""

    def __init__(self, servers: Servers, adapters: list[Running]) -> None:
        self.servers = servers
        self._adapters = adapters

    def __call__(self, *argv: str) -> Running:
        adapter = Running(argv, self.servers.folder, self.servers.environment())
        self._adapters.append(adapter)
        return adapter


@pytest.fixture
def start(started: tuple[Servers, list[Running]]) -> Starter:
    return Starter(*started)


def test_map(start: Starter) -> None:
    adapter = start("map", "sed", "-u", "s/foo/bar/")
    adapter.write(message("foo\nfoo"), message(b"foo"), TICK)
    assert adapter.read(3) == [message("bar\nbar"), message(b"foo"), TICK]
    adapter.write(message("é foo"))
    assert adapter.ending() == ([message("é bar")], [], 0)


def test_map_answers_to_its_end_a_program_that_holds_its_lines_back(start: Starter) -> None:
    adapter = start("map", "rev | tr a b")
    adapter.write(*[message("abc", number) for number in range(1000)], TICK)
    frames, said, status = adapter.ending()
    assert frames == [*[message("cbb", number) for number in range(1000)], TICK]
    assert (said, status) == ([], 0)


@pytest.mark.parametrize("option", ["--stdbuf", "--pty"])
def test_a_program_that_holds_its_lines_back_can_be_helped(start: Starter, option: str) -> None:
    if option == "--stdbuf":
        subprocess.run(["stdbuf", "--version"], stdout=subprocess.DEVNULL, check=True)
    adapter = start("map", option, "sed", "s/foo/bar/")
    adapter.write(message("foo"), TICK)
    assert adapter.read(2) == [message("bar"), TICK]
    assert adapter.ending() == ([], [], 0)


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["sed", "s/foo/bar/"], "give sed the option -u, or try map --pty"),
        # A terminal would help the last program of a pipeline alone.
        (["sed s/foo/bar/ | cat"], "give sed the option -u, or try map --stdbuf"),
        (["tr f b | tr o a | tr b b | tr a a | cat | sed s/baa/bar/"], "give sed the option -u, or try map --stdbuf"),
        (["tr of ab | tr 'ba' 'ba' | cat | cat | tr -s a | cat -u"], "flush its output after each line, or"),
    ],
)
def test_one_that_is_not_helped_is_told(start: Starter, words: list[str], cure: str) -> None:
    adapter = start("map", *words)
    adapter.write(message("foo"))
    complaint = f"none for 1 s; if it should have: {cure}"
    eventually(lambda: complaint in adapter.said, "the complaint")
    [answer], _, status = adapter.ending()
    assert (answer["id"], status) == ("a-1", 0)


@EVERY
@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (["nonesuch"], "nonesuch: no such command on PATH", 2),
        (["./plain"], "./plain: make it executable: chmod +x ./plain", 2),
        ([], "expected a command to run", 2),
        (["--ptty", "cat"], "--ptty: no such option; expected one of --", 2),
        (["false"], "false exited with status 1", 1),
        (["true"], "true exited with status 0", 1),
        (["read -r line"], "read -r line exited with status 0", 1),
        (["kill -9 $$"], "kill -9 $$ was killed by SIGKILL", 1),
        (["exec >&-; read -r go"], "exec >&-; read -r go exited with status ", 1),
    ],
)
def test_a_program_that_fails(start: Starter, name: str, words: list[str], said: str, status: int) -> None:
    (start.servers.folder / "plain").write_text("no program")
    adapter = start(name, *words)
    try:
        adapter.write(TICK, OPEN, CALL, TICK)
    except BrokenPipeError:
        pass
    assert adapter.process.wait(PATIENCE_S) == status  # at once: it doesn't wait for the end of its input
    frames, lines, _ = adapter.ending()
    assert frames[:1] in ([], [TICK])
    assert lines[-1].startswith(f"{name}: {said}")
    assert len(lines) == 1 or "when it dies" in lines[0]


@pytest.mark.parametrize("words", [["echo banner; cat"], ["sed", "-u", "p"]])
def test_map_with_a_program_that_answers_too_much(start: Starter, words: list[str]) -> None:
    adapter = start("map", *words)
    adapter.write(TICK, message("foo"))
    assert adapter.process.wait(PATIENCE_S) == 1
    frames, [line], _ = adapter.ending()
    assert frames[:1] in ([], [TICK])
    assert line.startswith("map: a line that answers no message: bytes b'")


@pytest.mark.skipif(shutil.which("mawk") is None, reason="mawk is not installed")
def test_lines(start: Starter) -> None:
    adapter = start("lines", "mawk", "-W", "interactive", "-F\t", '{ print "send\t!" $2 "\t" toupper($3) }')
    adapter.write(message("a\nb"), message(b"\0", 2), TICK)
    events = [message("a\nb"), message(b"\0", 2), TICK]
    assert adapter.read(5) == [
        *events,
        {"type": "send", "to": "*", "except": "a-1", "data": "A\nB"},
        {"type": "send", "to": "*", "except": "a-1", "data": "AA=="},
    ]
    assert adapter.ending()[2] == 0


def test_json(start: Starter) -> None:
    adapter = start("json", 'jq -c --unbuffered \'select(.type == "message") | {type: "send", to: .id, data, seq}\'')
    adapter.write(TICK, {"type": "open", "id": "a-1"}, message(b"\0", 2), TICK)
    assert adapter.read(3) == [TICK, TICK, {"type": "send", "to": "a-1", "data": b"\0", "seq": 2}]
    assert adapter.ending()[2] == 0


@pytest.mark.parametrize("name", ["lines", "json"])
def test_what_has_not_been_acknowledged_is_missing(start: Starter, name: str) -> None:
    adapter = start(name, "--ack", "read -r event; exit 3")
    adapter.write(message("foo"), message("bar"), TICK)
    assert adapter.process.wait(PATIENCE_S) == 1
    frames, said, _ = adapter.ending()
    assert frames == ([message("foo")] if name == "lines" else [])
    assert said == [
        f"{name}: read -r event; exit 3: events that it has not acknowledged when it dies come again (--ack)",
        f"{name}: read -r event; exit 3 exited with status 3, with 2 events not acknowledged",
    ]


def test_map_with_garbage_that_is_not_utf_8(start: Starter) -> None:
    adapter = start("map", "tr x '\\377'")
    adapter.write(message("axb"))
    frames, [line], status = adapter.ending()
    assert (frames, status) == ([message("a\ufffdb")], 0)
    assert "an answer is not UTF-8: bytes b'a\\xffb'" in line


def test_map_with_lines_of_10_mb(start: Starter) -> None:
    large = "x" * 10_000_000
    adapter = start("map", "cat")
    adapter.write(message(large), TICK)
    assert adapter.ending() == ([message(large), TICK], [], 0)


def test_a_line_that_has_no_end(start: Starter) -> None:
    adapter = start("map", "cat /dev/zero")
    adapter.write(message("foo"))
    assert adapter.process.wait(PATIENCE_S) == 1
    _, [line], _ = adapter.ending()
    assert line == "map: a line of the program is over the limit of 16777216 bytes"


@pytest.mark.parametrize("name", ["lines", "json", "jsonrpc"])
def test_garbage_is_told_and_dropped_and_what_comes_behind_it_is_not(start: Starter, name: str) -> None:
    good, expected = {
        "lines": ("send\\ta-1\\tx", {"type": "send", "to": "a-1", "data": "x"}),
        "json": ('{"type":"send","to":"a-1","data":"x"}', {"type": "send", "to": "a-1", "data": "x"}),
        "jsonrpc": (CALL["data"], {"type": "send", "to": ["a-1"], "data": CALL["data"]}),
    }[name]
    garbage = "head -c 17000000 /dev/zero | tr '\\0' x; echo; echo '\377'; echo nonsense"
    adapter = start(name, f"read -r go; {garbage}; echo '{good}'; cat >/dev/null")
    adapter.write(OPEN, CALL)
    frames = adapter.read(1)
    while frames[-1]["type"] != "send":
        frames += adapter.read(1)
    assert frames[-1] == expected
    adapter.write(TICK)
    frames, said, status = adapter.ending()
    assert (frames, status) == ([TICK], 0)
    assert sum("dropped" in line for line in said) == 3
    assert any("1 line over the limit of 16777216 bytes; dropped" in line for line in said)


@pytest.mark.parametrize(
    "words", [["map", "sleep 1000"], ["map", "exec <&-; sleep 1000"], ["lines", "sleep 1000"], ["json", "sleep 1000"]]
)
def test_a_program_that_does_not_read_holds_its_adapter_and_no_memory(start: Starter, words: list[str]) -> None:
    adapter = start(*words)
    adapter.write(TICK)
    assert adapter.read(1) == [TICK]
    assert adapter.process.stdin is not None
    descriptor = adapter.process.stdin.fileno()
    os.set_blocking(descriptor, False)
    written = 0
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    while poll.poll(_FULL_MS):
        written += os.write(descriptor, encode(message("x" * 900)))
        assert written < 4_000_000


@EVERY
@pytest.mark.parametrize(
    ("number", "script"),
    [
        (signal.SIGTERM, "sleep 1000"),
        (signal.SIGKILL, "trap '' TERM; sleep 1000 & read -r go; sleep 1000"),
    ],
)
def test_nothing_is_left_running_when_the_adapter_is_ended(
    start: Starter, name: str, number: signal.Signals, script: str
) -> None:
    adapter = start(name, script)
    adapter.write(TICK)
    adapter.read(1)
    adapter.process.send_signal(number)
    assert adapter.process.wait(PATIENCE_S) == -number
    eventually(lambda: not start.servers.processes(), "the end of all that it has started")


def test_a_program_that_ignores_sigterm_gets_sigkill(start: Starter) -> None:
    adapter = start("map", "trap '' TERM; sleep 1000 & read -r go; sleep 1000")
    adapter.write(TICK)
    adapter.read(1)
    adapter.process.send_signal(signal.SIGTERM)
    assert adapter.process.wait(PATIENCE_S) == -signal.SIGTERM
    eventually(lambda: not start.servers.processes(), "the end of all that it has started")


def test_nothing_is_left_running_when_the_program_forks_and_leaves(start: Starter) -> None:
    adapter = start("map", "sleep 1000 & exit 0")
    assert adapter.process.wait(PATIENCE_S) == 1
    assert adapter.ending()[1] == ["map: sleep 1000 & exit 0 exited with status 0"]
    eventually(lambda: not start.servers.processes(), "the end of all that it has started")


def test_broken_framing_is_told_when_what_came_before_it_is_answered(start: Starter) -> None:
    adapter = start("map", "sed", "s/foo/bar/")
    assert adapter.process.stdin is not None
    adapter.process.stdin.write(encode(message("foo")) + b"\xc1")
    frames, [line], status = adapter.ending()
    assert (frames, status) == ([message("bar")], 1)
    assert line.startswith("map: broken frame from stdin, at byte ")


def test_nobody_reads_its_output(start: Starter) -> None:
    adapter = start("map", "sleep 1000 & cat")
    assert adapter.process.stdout is not None
    adapter.process.stdout.close()
    assert adapter.process.stdin is not None
    adapter.process.stdin.write(encode(message("foo")))
    assert adapter.process.wait(PATIENCE_S) == 0
