"""Completion, as the shells themselves carry it out."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fws_pipe.chain.commands import filter_paths
from fws_pipe.cli.commands import all_commands
from fws_pipe.cli.completion import completion_for
from fws_pipe.config.options import OPTIONS, SHELLS
from tests.harness import PATIENCE_S, run

FILTERS = list(filter_paths())

PROBE = {
    "bash": "probe() { printf '<%s>\\n' \"$@\"; }; complete -F _fws_pipe probe; complete -F _fws_ctl ctl",
    "zsh": "probe() { printf '<%s>\\n' \"$@\" }; compdef _fws_pipe probe",
}
"""A command that shows its arguments, and is completed as fws-pipe is."""

START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "PS1='ready '"),
    "zsh": (["zsh", "-f", "-i"], "PS1='ready '; autoload -U compinit; compinit -u -D"),
}


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_accepts_its_text(shell: str, tmp_path: Path) -> None:
    needs(shell)
    script = tmp_path / "completion"
    script.write_text(completion_for(shell, FILTERS))
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_every_option_is_in_it(shell: str) -> None:
    text = completion_for(shell, FILTERS)
    assert all(command.name in text for command in all_commands())
    assert all((option.name if shell == "fish" else option.flag) in text for option in OPTIONS)


def test_it_is_printed() -> None:
    done = run("fws-pipe", "--completion", "bash")
    assert done.stdout.decode() == completion_for("bash", FILTERS)
    wrong = run("fws-pipe", "--completion", "csh")
    assert wrong.returncode == 2
    assert b"bash" in wrong.stderr


def typed(shell: str, keys: str, folder: Path) -> list[str]:
    """The arguments that a command gets when these keys are typed in a shell: a tab completes."""
    needs(shell)
    script = folder / "completion"
    script.write_text(completion_for(shell, FILTERS))
    argv, setup = START[shell]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe(argv[0], argv, {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(folder)})
    try:
        os.write(terminal, f"{setup}; . ./completion; {PROBE[shell]}; echo set''up\r".encode())
        _read_to(terminal, b"setup\r\n")
        os.write(terminal, f"probe {keys}\rexit\r".encode())
        output = _read_to(terminal, None)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(pid, 0)
    return [line[1:-1] for line in output.decode().replace("\r", "").split("\n") if line[:1] == "<"]


def _read_to(terminal: int, mark: bytes | None) -> bytes:
    """Read a terminal up to a mark; None: to its end, which Linux reports as an error (pty(7))."""
    deadline = time.monotonic() + PATIENCE_S
    output = b""
    while mark is None or mark not in output:
        readable, _, _ = select.select([terminal], [], [], max(deadline - time.monotonic(), 0))
        assert readable, f"nothing more came than {output!r}"
        try:
            block = os.read(terminal, 65536)
        except OSError:
            block = b""
        if not block:
            break
        output += block
    return output


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("--inta\tta\t", "--intake tasks"),
        ("--intake=ep\t", "--intake epoll"),
        ("--conf\tcompl\t", "--config completion"),
        ("stdout_l\t", "stdout_log"),
        ("--no-ga\t", "--no-gate"),
        ("--help ope\t", "--help operations"),
    ],
)
def test_what_is_typed_is_completed(shell: str, keys: str, expected: str, tmp_path: Path) -> None:
    """zsh joins an option and its value with =."""
    assert " ".join(typed(shell, keys, tmp_path)).replace("=", " ") == expected


@pytest.mark.parametrize(("shell", "closing"), [("bash", ""), ("zsh", '"')])
def test_a_chain_in_quotes_is_completed_stage_by_stage(shell: str, closing: str, tmp_path: Path) -> None:
    """bash adds the closing quote itself."""
    assert typed(shell, f'"broadcast | stdout_l\t{closing}', tmp_path) == ["broadcast | stdout_log"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fws-pipe --inta", {"--intake"}),
        ("fws-pipe --intake ta", {"tasks"}),
        ("fws-pipe stdout_l", {"stdout_log"}),
        ('fws-pipe "broadcast | stdout_l', {"broadcast | stdout_log"}),
        ("fws-ctl rel", {"reload"}),
        ("fws-emit disc", {"disconnect"}),
    ],
)
def test_fish_offers(line: str, expected: set[str], tmp_path: Path) -> None:
    needs("fish")
    script = tmp_path / "completion"
    script.write_text(completion_for("fish", FILTERS))
    code = f"source {script}; complete -C $argv[1]"
    done = subprocess.run(
        ["fish", "--no-config", "-c", code, line], capture_output=True, text=True, check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stderr == ""
    assert {offered.split("\t")[0] for offered in done.stdout.splitlines()} == expected
