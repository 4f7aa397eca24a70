"""fws-check: the contract as a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import shell


def test_says_ok_of_each_requirement_and_ends_with_0() -> None:
    done = shell("fws-check -- cat")
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 13
    assert all(line.startswith("ok    ") for line in lines)


def test_a_fault_has_its_cure_and_ends_with_1() -> None:
    done = shell("fws-check --timeout 2 --json -- 'jq -c .'")
    assert done.returncode == 1
    assert b"FAIL  writes what it has before it waits for more: " in done.stdout
    assert b"; give jq the option --unbuffered\n" in done.stdout


def test_a_note_is_no_fault() -> None:
    echo = '\'., (select(.type == "message") | {type: "send", to: .id, data})\''
    done = shell(f"fws-check --json -- jq -c --unbuffered {echo}")
    assert done.returncode == 0, done.stdout
    assert b"note  copies seq from the event that has caused an action: a `send` has none" in done.stdout


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (
            r"perl -ne '$| = 1; print qq(send\t$1\t$2\n) if /^message\t(.*?)\t(.*)/'",
            0,
            b"ok    makes actions that are right",
        ),
        ("perl -ne '$| = 1; print qq(hello\\n)'", 1, b"FAIL  makes actions that are right: perl"),
    ],
)
def test_a_program_of_lines(command: str, code: int, words: bytes) -> None:
    done = shell(f"fws-check --lines -- {command}")
    assert (done.returncode, words in done.stdout) == (code, True), done.stdout


def test_a_shipped_filter_goes_by_its_name() -> None:
    done = shell("fws-check -- broadcast")
    assert (done.returncode, b"FAIL" in done.stdout) == (0, False)


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("fws-check", 2, b"fws-check: which filter?"),
        ("fws-check --json --lines -- cat", 2, b"not allowed with"),
        ("fws-check --nonsense -- cat", 2, b"--nonsense"),
        ("fws-check -- ./no-such-file", 5, b"fws-check: can't start ./no-such-file: No such file or directory"),
        ("fws-check --vectors /dev/null/x", 5, b"can't write to /dev/null/x"),
    ],
)
def test_mistakes(command: str, code: int, words: bytes) -> None:
    done = shell(command)
    assert done.returncode == code
    assert words in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_vectors_show_what_passes(tmp_path: Path) -> None:
    """`cat` passes on all, and so what comes out holds what must, in order."""
    assert shell(f"fws-check --vectors {tmp_path}").returncode == 0
    assert shell(f"cat <{tmp_path}/unknown.in.mp | cmp - {tmp_path}/unknown.out.mp").returncode == 0
    for inward in tmp_path.glob("*.in.mp"):
        name = inward.name.removesuffix(".in.mp")
        assert shell(f"fws-cat {inward} | cmp - {tmp_path}/{name}.in.jsonl").returncode == 0
        wanted = (tmp_path / f"{name}.out.jsonl").read_text().splitlines()
        written = iter((tmp_path / f"{name}.in.jsonl").read_text().splitlines())
        assert all(line in written for line in wanted)
    assert len(list(tmp_path.iterdir())) == 24
