"""per_client: a program for each client, whatever programs do; by hand, with no server."""

from __future__ import annotations

import functools
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fws_pipe.adapters.per_client import FLUSH_BYTES
from fws_pipe.adapters.program import BACKLOG_BYTES
from fws_pipe.protocol.codec import Frame, encode
from tests.filters.by_hand import Running
from tests.harness import Servers, eventually, run

TICK: Frame = {"type": "tick", "seq": 9, "time": 1.5}


def opened(client: str, path: str = "/", **fields: Any) -> Frame:
    return {
        "type": "open", "seq": 1, "time": 1.0, "id": client, "path": path, "query": "", "headers": [],
        "remote": ["192.0.2.1", 5], "tls": None, **fields,
    }  # fmt: skip


def said(client: str, *texts: str | bytes) -> list[Frame]:
    return [{"type": "message", "seq": 2, "time": 1.0, "id": client, "data": text} for text in texts]


def gone(client: str) -> Frame:
    return {"type": "disconnect", "seq": 3, "time": 1.0, "id": client, "code": 1000, "reason": "", "clean": True}


def flushed(client: str) -> Frame:
    return {"type": "flushed", "seq": 4, "time": 1.0, "id": client}


class Adapter(Running):
    """per_client with a command, which hears that clients get what is sent to them."""

    answers_flushes = True

    def _read(self, deadline: float) -> bool:
        before = len(self.frames)
        has_more = super()._read(deadline)
        if self.answers_flushes and self.process.stdin is not None and not self.process.stdin.closed:
            for frame in self.frames[before:]:
                if frame["type"] == "flush":
                    self.process.stdin.write(encode(flushed(frame["id"])))
        return has_more

    def sent(self, client: str, count: int) -> list[str | bytes]:
        """Wait until a client has been sent so many messages; returns all."""
        return _sent_to(
            client, self.read_until(lambda frames: len(_sent_to(client, frames)) >= count, f"{count} sends")
        )

    def closed(self, client: str) -> tuple[int, str]:
        """Wait until a client is closed; returns code and reason."""
        [close] = self._actions("close", "to", client)
        return close["code"], close["reason"]

    def held(self, client: str) -> None:
        self._actions("hold", "id", client)

    def resumed(self, client: str) -> None:
        self._actions("resume", "id", client)

    def _actions(self, kind: str, field: str, client: str) -> list[Frame]:
        def found(frames: list[Frame]) -> list[Frame]:
            return [frame for frame in frames if frame["type"] == kind and frame[field] == client]

        return found(self.read_until(lambda frames: bool(found(frames)), f"a {kind} of {client}"))


def _sent_to(client: str, frames: list[Frame]) -> list[str | bytes]:
    return [frame["data"] for frame in frames if frame["type"] == "send" and frame["to"] == client]


Start = Callable[..., Adapter]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts per_client with these words; at the end nothing of it is left."""
    adapters: list[Adapter] = []
    with Servers(tmp_path) as servers:

        def start(*words: str, descriptors: int = 1024) -> Adapter:
            limited = ["sh", "-c", f'ulimit -n {descriptors}; exec per_client "$@"', "sh"]
            adapters.append(Adapter([*limited, *words], tmp_path, servers.environment()))
            return adapters[-1]

        yield start
        for adapter in adapters:
            adapter.end()
        eventually(lambda: not servers.processes(), "the end of all programs")


def test_a_program_for_each_client(start: Start) -> None:
    adapter = start("cat")
    adapter.write(
        opened("a"), opened("b"), *said("a", "one", "", "two\nthree", "\r\né"), *said("b", b"bytes\xff"), TICK
    )
    assert adapter.sent("a", 6) == ["one", "", "two", "three", "", "é"]
    assert adapter.sent("b", 1) == ["bytes\ufffd"]
    adapter.write(gone("a"), *said("b", "still here"))
    assert adapter.sent("b", 2)[1] == "still here"
    frames = adapter.finish()
    passed = [frame["type"] for frame in frames if frame["type"] != "send"]
    assert passed == ["open", "open", *["message"] * 5, "tick", "disconnect", "message"]
    assert adapter.said.startswith("cat: b: its output is not UTF-8, ")


def test_a_tick_waits_for_no_program(start: Start) -> None:
    adapter = start("sleep", "1000")
    adapter.write(opened("a"), *said("a", "x"), TICK)
    adapter.read_until(lambda frames: frames[-1:] == [TICK], "the tick")
    adapter.process.terminate()
    assert adapter.process.wait() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("words", "messages", "answers"),
    [
        (["--newline", "escape", "cat"], ["a\nb%0A%\t", "c"], ["a\nb%0A%\t", "c"]),
        (["--newline=escape", "--", "sed", "-u", "s/%0A/+/"], ["a\nb"], ["a+b"]),
        (["--binary", "head", "-c", "5"], ["ab\n", b"\xff\x00"], [b"ab\n\xff\x00"]),
        (["--netstring", "cat"], ["a\nb", "", b"\xff\n", "é"], ["a\nb", "", b"\xff\n", "é"]),
        (["--netstring", "--binary", "cat"], ["a\nb", b"\xff\n"], [b"a\nb", b"\xff\n"]),
        (["--pty", "sh", "-c", "test -t 1 && exec cat"], ["a"], ["a"]),
        (["--stdbuf", "tr", "a", "b"], ["a"], ["b"]),
        (["--stderr", "cat >&2"], ["a", "b"], ["a", "b"]),
    ],
)
def test_options(start: Start, words: list[str], messages: list[str | bytes], answers: list[str | bytes]) -> None:
    adapter = start(*words)
    adapter.write(opened("a"), *said("a", *messages))
    if "--binary" in words and "--netstring" not in words:
        adapter.read_until(lambda frames: len(b"".join(_sent_to("a", frames))) >= len(answers[0]), "the bytes")  # type: ignore[arg-type]
        assert b"".join(_sent_to("a", adapter.frames)) == answers[0]  # type: ignore[arg-type]
    else:
        assert adapter.sent("a", len(answers)) == answers
    adapter.finish()
    assert adapter.said == ""


def test_a_message_of_two_lines_may_be_refused(start: Start) -> None:
    adapter = start("--newline", "reject", "cat")
    adapter.write(opened("a"), *said("a", "fine", "not\nso", "too late"))
    assert adapter.closed("a") == (1003, "a message must be a single line")
    adapter.finish()
    assert _sent_to("a", adapter.frames) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nonesuch"], "nonesuch: no such command on PATH"),
        (["./here"], "./here: make it executable: chmod +x ./here"),
        ([], "expected a command to run"),
        (["--max", "0", "cat"], "--max: expected a whole number from 1, got '0'"),
        (
            ["--newline", "escape", "--binary", "cat"],
            "--newline: it is of no use with --binary and --netstring, where a message is no line",
        ),
    ],
)
def test_mistakes_are_told_at_the_start(tmp_path: Path, words: list[str], complaint: str) -> None:
    (tmp_path / "here").touch()
    done = run("per_client", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.decode() == f"per_client: {complaint}\n"


BAD = r"""
case $PATH_INFO in
/good) exec cat ;;
/succeeds) printf 'a\nlast without newline' ;;
/fails) echo partly; exit 3 ;;
/crashes) echo partly; kill -SEGV $$ ;;
/middle) read -r line; echo "$line"; exit 1 ;;
/silent) exec cat >/dev/null ;;
/long) head -c 10000000 /dev/zero | tr '\0' x; echo; echo after ;;
/endless) head -c 17000000 /dev/zero | tr '\0' x; echo; echo after ;;
/garbage) printf '\377\376\0\n' ;;
/forks) sleep 1000 & echo parent ;;
/closes) exec >&-; exec sleep 1000 ;;
/stderr) printf 'one\ntwo' >&2 ;;
esac
"""


def test_a_bad_program_is_its_own_clients_alone(start: Start) -> None:
    adapter = start("sh", "-c", BAD)
    bad = [
        "succeeds", "fails", "crashes", "middle", "silent", "long", "endless", "garbage", "forks", "closes", "stderr",
    ]  # fmt: skip
    adapter.write(opened("good", "/good"), *(opened(name, f"/{name}") for name in bad))
    adapter.write(*(message for name in ("good", *bad) for message in said(name, "hello", "again")))
    assert adapter.sent("good", 2) == ["hello", "again"]
    assert adapter.closed("succeeds") == (1000, "")
    assert _sent_to("succeeds", adapter.frames) == ["a", "last without newline"]
    assert adapter.closed("fails") == (1011, "the program exited with status 3")
    assert _sent_to("fails", adapter.frames) == ["partly"]
    assert adapter.closed("crashes") == (1011, "the program was killed by SIGSEGV")
    assert _sent_to("crashes", adapter.frames) == ["partly"]
    assert adapter.closed("middle") == (1011, "the program exited with status 1")
    assert _sent_to("middle", adapter.frames) == ["hello"]
    assert adapter.closed("long") == (1000, "")
    assert [len(text) for text in _sent_to("long", adapter.frames)] == [10_000_000, 5]
    assert adapter.closed("endless") == (1000, "")
    assert _sent_to("endless", adapter.frames) == ["after"]
    assert adapter.closed("garbage") == (1000, "")
    assert _sent_to("garbage", adapter.frames) == ["\ufffd\ufffd\0"]
    assert adapter.closed("forks") == (1000, "")
    assert _sent_to("forks", adapter.frames) == ["parent"]
    assert adapter.closed("stderr") == (1000, "")
    assert "\nstderr: one\nstderr: two\n" in "\n" + adapter.said
    assert "endless: dropped a line over 16777216 bytes" in adapter.said
    adapter.write(*said("good", "unharmed"), *said("fails", "nobody reads this"))
    assert adapter.sent("good", 3)[2] == "unharmed"
    adapter.write(*map(gone, bad))
    adapter.finish()
    assert _sent_to("silent", adapter.frames) == []
    assert not [
        frame for frame in adapter.frames if frame["type"] == "close" and frame["to"] in ("good", "silent", "closes")
    ]


def test_a_program_that_cannot_be_started_any_more_closes_its_client(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nexec cat\n")
    script.chmod(0o755)
    adapter = start("./script")
    adapter.write(opened("a"), *said("a", "x"))
    assert adapter.sent("a", 1) == ["x"]
    script.unlink()
    adapter.write(opened("b"), *said("a", "y"))
    assert adapter.closed("b") == (1011, "the program can't be started")
    assert adapter.sent("a", 2) == ["x", "y"]
    assert "./script: no such file; b is closed with 1011" in adapter.said


def test_a_client_for_whom_no_descriptors_are_left_is_closed(start: Start) -> None:
    adapter = start("cat", descriptors=24)
    clients = [f"c{number}" for number in range(12)]
    adapter.write(*map(opened, clients), *(message for client in clients for message in said(client, "x")))
    for client in clients:
        adapter.read_until(functools.partial(_is_answered, client), f"a word for {client}")
    served = [client for client in clients if _sent_to(client, adapter.frames)]
    assert "c0" in served
    assert "c11" not in served
    assert adapter.closed("c11") == (1011, "the program can't be started")
    assert "can't start cat: Too many open files; c" in adapter.said
    adapter.write(*said("c0", "y"))
    assert adapter.sent("c0", 2) == ["x", "y"]


def _is_answered(client: str, frames: list[Frame]) -> bool:
    return client in [frame.get("to") for frame in frames]


@pytest.mark.parametrize("output", ["5:hello;", "x", "05:hello,", "99999999:", "1234567890"])
def test_what_is_no_netstring_ends_its_program(start: Start, output: str) -> None:
    adapter = start("--netstring", f"printf '{output}'; exec sleep 1000")
    adapter.write(opened("a"), opened("b"))
    assert adapter.closed("a") == (1011, "the program's output is broken")
    assert "netstring" in adapter.said


def test_half_a_netstring_at_the_end_is_told(start: Start) -> None:
    adapter = start("--netstring", "printf 3:abc,4:abc")
    adapter.write(opened("a"))
    assert adapter.closed("a") == (1011, "the program's output is broken")
    assert _sent_to("a", adapter.frames) == ["abc"]
    assert "its output ended within a netstring" in adapter.said


def test_the_status_says_more_than_half_a_netstring(start: Start) -> None:
    adapter = start("--netstring", "printf 4:abc; exit 3")
    adapter.write(opened("a"))
    assert adapter.closed("a") == (1011, "the program exited with status 3")


def test_a_message_without_an_open_is_told(start: Start) -> None:
    """As in a recording that begins in the middle: there is no program for it."""
    adapter = start("cat")
    adapter.write(*said("a", "x"), opened("b"), *said("b", "y"), gone("b"), *said("b", "z"))
    adapter.finish()
    lines = [line for line in adapter.said.splitlines() if "no `open`" in line]
    assert lines == [
        f"cat: {client} has sent a message and has had no `open`, so no program runs for it" for client in ("a", "b")
    ]


def test_a_message_after_the_programs_end_is_no_fault(start: Start) -> None:
    adapter = start("true")
    adapter.write(opened("a"))
    assert adapter.closed("a") == (1000, "")
    adapter.write(*said("a", "x"), opened("a"))
    adapter.finish()
    assert adapter.said == ""


def test_a_second_open_starts_no_second_program(start: Start) -> None:
    adapter = start("cat")
    adapter.write(opened("a"), opened("a"), *said("a", "x"))
    assert adapter.sent("a", 1) == ["x"]
    adapter.finish()
    assert _sent_to("a", adapter.frames) == ["x"]


def test_no_more_programs_than_allowed(start: Start) -> None:
    adapter = start("--max", "2", "cat")
    adapter.write(opened("a"), opened("b"), opened("c"), *said("c", "x"))
    assert adapter.closed("c") == (1013, "too many programs are running")
    adapter.write(gone("c"), gone("a"))
    numbers = itertools.count()
    eventually(lambda: _has_room(adapter, f"late-{next(numbers)}"), "room for one more")


def _has_room(adapter: Adapter, client: str) -> bool:
    """Whether there is room for another client, which comes and goes."""
    adapter.write(opened(client), *said(client, "x"))
    frames = adapter.read_until(lambda frames: client in [frame.get("to") for frame in frames], f"a word for {client}")
    adapter.write(gone(client))
    return bool(_sent_to(client, frames))


def test_a_program_that_does_not_read_holds_back_its_own_client(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    adapter = start("test $FWS_ID = quick || read -r line <go; exec cat")
    adapter.write(opened("slow"), opened("quick"))
    block = "x" * 1000
    for number in range(BACKLOG_BYTES // 1000 + 100):
        adapter.write(*said("slow", block), *said("quick", str(number)))
    adapter.held("slow")
    assert adapter.sent("quick", 300)[299] == "299"
    with (tmp_path / "go").open("w") as go:
        go.write("\n")
    adapter.resumed("slow")
    assert len(adapter.sent("slow", BACKLOG_BYTES // 1000 + 100)) == BACKLOG_BYTES // 1000 + 100


def test_a_program_that_writes_much_waits_for_its_client(start: Start) -> None:
    adapter = start("--stderr", "seq -f %0999g 300 >&2; exec seq -f %0999g 300")
    adapter.answers_flushes = False
    adapter.write(opened("a"), opened("b"))
    for number in (1, 2, 3, 4):
        adapter.read_until(functools.partial(_has_flushes, "a", number), f"flush {number}")
        adapter.write(flushed("a"))
    adapter.read_until(functools.partial(_has_flushes, "b", 1), "the flush of b")
    assert sum(map(len, _sent_to("b", adapter.frames))) < FLUSH_BYTES + 2 * 65536
    adapter.write(gone("b"))
    frames = adapter.finish()  # no more is waited for now
    assert sorted(map(int, _sent_to("a", frames))) == [number for number in range(1, 301) for _ in range(2)]


def _has_flushes(client: str, count: int, frames: list[Frame]) -> bool:
    return len([frame for frame in frames if frame["type"] == "flush" and frame["id"] == client]) == count


def test_one_that_has_been_held_and_leaves_is_not_resumed(start: Start) -> None:
    adapter = start("sleep", "1000")
    adapter.write(opened("a"), *said("a", *["x" * 1000] * (BACKLOG_BYTES // 1000 + 100)))
    adapter.held("a")
    adapter.write(gone("a"))
    frames = adapter.finish()
    assert not [frame for frame in frames if frame["type"] in ("resume", "close")]


@pytest.mark.slow
def test_a_client_that_leaves_takes_all_that_its_program_has_started(start: Start, tmp_path: Path) -> None:
    deaf = "trap '' TERM; sleep 1000; sleep 1000"
    script = f'sh -c "{deaf}" & echo $$ >pids; echo $! >>pids; echo up; {deaf}'
    adapter = start("sh", "-c", script)
    adapter.write(opened("a"))
    assert adapter.sent("a", 1) == ["up"]
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    adapter.write(gone("a"))
    eventually(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "the end of the group")


def test_at_the_end_of_input_last_lines_go_out_and_nobody_is_closed(start: Start) -> None:
    adapter = start("cat; echo bye; echo $FWS_ID")
    adapter.write(opened("a"), opened("b"), *said("a", "x"))
    frames = adapter.finish()
    assert _sent_to("a", frames) == ["x", "bye", "a"]
    assert _sent_to("b", frames) == ["bye", "b"]
    assert "close" not in [frame["type"] for frame in frames]


def test_kill_9_leaves_no_program(start: Start, tmp_path: Path) -> None:
    adapter = start("echo $$ >pid; echo up; exec sleep 1000")
    adapter.write(opened("a"))
    adapter.sent("a", 1)
    pid = (tmp_path / "pid").read_text().strip()
    adapter.process.kill()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the end of the program")


def test_frames_of_others_pass_and_broken_fields_start_nothing(start: Start) -> None:
    adapter = start("cat")
    odd: list[Frame] = [
        {"type": "open"}, {"type": "open", "id": [1]}, {"type": "message", "id": {}, "data": "x"},
        {"type": "send", "to": "a", "data": "of another filter"}, {"type": "of mine"}, *said("nobody", "x"),
        gone("nobody"), {"type": "open", "id": "a"}, {"type": "message", "id": "a", "data": 5},
        {"type": "message", "id": "a"},
    ]  # fmt: skip
    adapter.write(*odd)
    assert adapter.finish() == odd
    assert adapter.said.splitlines() == [
        "frame from stdin: open.id: is missing; such events pass on unhandled",
        "frame from stdin: message.id: expected a string, got dict {}; such events pass on unhandled",
        "cat: nobody has sent a message and has had no `open`, so no program runs for it",
        "frame from stdin: message.data: expected a string (text) or bytes (binary), got int 5; such events pass on "
        "unhandled",
    ]
