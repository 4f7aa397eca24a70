"""What a filter's author sees when the filter fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import shell

MESSAGE = b"\x83\xa4type\xa7message\xa2id\xa1a\xa4data\xa1x"
HEAD = "from fws_pipe.sdk import on, run, send\n\n\n@on('message')\ndef handle(event):\n"


def run_script(folder: Path, text: str) -> tuple[int, list[str]]:
    script = folder / "mine.py"
    script.write_text(text)
    done = shell(f"fws-python {script} >/dev/null", stdin=MESSAGE)
    return done.returncode, done.stderr.decode().splitlines()


@pytest.mark.parametrize(
    ("body", "first"),
    [
        ("    event['nope']\nrun()\n", "mine.py, line 6, in handle: KeyError: 'nope'"),
        (
            "    help(event)\ndef help(event):\n    1 / 0\nrun()\n",
            "mine.py, line 8, in help: ZeroDivisionError: division by zero",
        ),
        (
            "    import json; json.loads('{')\nrun()\n",
            "mine.py, line 6, in handle: JSONDecodeError: Expecting property name",
        ),
        ("    send(5, 'x')\nrun()\n", "mine.py, line 6, in handle: ValueError: send.to: expected an id"),
    ],
)
def test_the_line_at_fault_comes_first_and_our_part_of_the_traceback_is_left_out(
    tmp_path: Path, body: str, first: str
) -> None:
    code, lines = run_script(tmp_path, HEAD + body)
    assert code == 1
    assert lines[0].startswith(first)
    assert [line for line in lines if line.startswith("Traceback")] == ["Traceback (most recent call last):"]
    assert not [line for line in lines if "in run_program" in line or "in <module>" in line]


def test_a_script_without_run_is_told_so(tmp_path: Path) -> None:
    assert run_script(tmp_path, HEAD + "    pass\n") == (
        0,
        ["mine.py: it has handlers, and never calls run(): put run() at its end"],
    )


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("import nosuchmodule\n", "mine.py, line 1: ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("x = 1\ndef f(:\n", "mine.py, line 2: SyntaxError: "),
    ],
)
def test_a_script_that_cannot_be_loaded_shows_its_own_line_first(tmp_path: Path, text: str, first: str) -> None:
    code, lines = run_script(tmp_path, text)
    assert code == 1
    assert lines[0].startswith(first)
    assert not [line for line in lines if "fws_python" in line or "entry.py" in line]


def test_one_that_fails_before_run_shows_that_alone(tmp_path: Path) -> None:
    code, lines = run_script(tmp_path, HEAD + "    pass\n1 / 0\nrun()\n")
    assert code == 1
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert not [line for line in lines if "never calls" in line]
