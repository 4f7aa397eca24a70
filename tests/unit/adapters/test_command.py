"""What is run, and what is said of a command that can't be."""

from __future__ import annotations

from pathlib import Path

import pytest

from fws_pipe.adapters.command import command_of, start_error
from fws_pipe.errors import UsageError


def test_words_are_run_as_they_are() -> None:
    command = command_of(["sed", "-u", "s/a b/c/"])
    assert command.argv == ["sed", "-u", "s/a b/c/"]
    assert command.name == "sed -u s/a b/c/"


def test_one_word_with_blanks_is_for_the_shell() -> None:
    assert command_of(["rev | tr a b"]).argv == ["/bin/sh", "-c", "rev | tr a b"]
    assert command_of(["./a-file"]).argv == ["./a-file"]


def test_python_writes_out_each_line() -> None:
    assert command_of(["cat"]).environment["PYTHONUNBUFFERED"] == "1"


def test_stdbuf_runs_it() -> None:
    command = command_of(["cat"], is_line_buffered=True)
    assert command.argv == ["stdbuf", "-oL", "cat"]
    assert str(start_error(command, FileNotFoundError())).startswith("--stdbuf: there is no stdbuf on PATH")


@pytest.mark.parametrize("words", [[], [""], ["  "]])
def test_no_command(words: list[str]) -> None:
    with pytest.raises(UsageError, match="expected a command"):
        command_of(words)


def test_long_commands_have_short_names() -> None:
    assert command_of(["x" * 100]).name == "x" * 39 + "…"


def test_what_is_said_of_one_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("program").write_text("echo no first line")
    said = {
        name: str(start_error(command_of([name]), error))
        for name, error in {
            "nonesuch": FileNotFoundError(),
            "program": FileNotFoundError(),
            "./nonesuch": FileNotFoundError(),
            "./program": PermissionError(),
            "./x": OSError(8, "Exec format error"),
            "cat": OSError(11, "Resource temporarily unavailable"),
        }.items()
    }
    assert said == {
        "nonesuch": "nonesuch: no such command on PATH",
        "program": "program: no such command; a file of that name is here: did you mean ./program?",
        "./nonesuch": "./nonesuch: no such file",
        "./program": "./program: make it executable: chmod +x ./program",
        "./x": "./x: it is neither a program nor a script with a first line such as #!/bin/sh",
        "cat": "can't start cat: Resource temporarily unavailable",
    }
