"""From a chain's words to commands for the shell."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fws_pipe.chain.resolver import resolve_chain
from fws_pipe.errors import ChainError


class Machine:
    """A machine with two filters, `cat`, and a few files."""

    def filter_path(self, name: str) -> str | None:
        return {"broadcast": "/f/broadcast", "stdout_log": "/f i/stdout_log"}.get(name)

    def is_executable(self, name: str) -> bool:
        return name in {"cat", "/bin/cat", "./chat.py", "my filter", "./dos.sh"}

    def exists(self, path: str) -> bool:
        return path in {"./plain.py", "notes.py"}

    def start_of(self, name: str) -> bytes:
        return b"#!/bin/sh\r\n" if name == "./dos.sh" else b"#!/bin/cat\n"

    def has_dollar_quotes(self) -> bool:
        return True

    def names(self) -> Sequence[str]:
        return ["broadcast", "stdout_log"]


@pytest.mark.parametrize(
    ("stage", "name", "shell_text"),
    [
        ("broadcast", "broadcast", "exec /f/broadcast"),
        ("X=1 'stdout_log' --a >x", "stdout_log", "X=1 exec '/f i/stdout_log' --a >x"),
        ("cat -u", "cat", "exec cat -u"),
        ("<in cat", "cat", "<in exec cat"),
        ("/bin/cat", "cat", "exec /bin/cat"),
        ("./chat.py", "chat.py", "exec ./chat.py"),
        ("'my filter' a", "my filter", "exec 'my filter' a"),
        ("read x", "read", "read x"),
        ("$FILTER a", "$FILTER a", "$FILTER a"),
        ("~/bin/x", "~/bin/x", "~/bin/x"),
        ("( broadcast | nonsense )", "( broadcast | nonsense )", "( broadcast | nonsense )"),
        ("while true; do cat; done", "while true; do cat; done", "while true; do cat; done"),
        ("cat || nonsense", "cat || nonsense", "cat || nonsense"),
    ],
)
def test_resolved(stage: str, name: str, shell_text: str) -> None:
    [command] = resolve_chain(stage, Machine())
    assert (command.name, command.shell_text) == (name, shell_text)


def test_labels_count_from_one() -> None:
    assert [command.label for command in resolve_chain("broadcast | cat", Machine())] == [
        'stage 1 "broadcast"',
        'stage 2 "cat"',
    ]


def test_a_long_compound_stage_has_a_short_name() -> None:
    [command] = resolve_chain("( " + "cat | " * 30 + "cat )", Machine())
    assert len(command.name) == 40


@pytest.mark.parametrize(
    ("chain", "message", "position"),
    [
        (
            "cat | stdout_lgo",
            'stage 2 "stdout_lgo": no such filter, and no such command on PATH; did you mean "stdout_log"?',
            6,
        ),
        (
            "X=1 qqq",
            'stage 1 "qqq": no such filter, and no such command on PATH; fws-pipe --list shows the filters',
            4,
        ),
        ("./gone.py", 'stage 1 "./gone.py": no such file', 0),
        ("./plain.py", 'stage 1 "./plain.py": make it executable: chmod +x ./plain.py', 0),
        (
            "notes.py",
            'stage 1 "notes.py": no such filter or command; a file of that name is here: did you mean ./notes.py?',
            0,
        ),
        ("'' a", 'stage 1 "": no such filter, and no such command on PATH; fws-pipe --list shows the filters', 0),
    ],
)
def test_not_found(chain: str, message: str, position: int) -> None:
    with pytest.raises(ChainError) as caught:
        resolve_chain(chain, Machine())
    assert (caught.value.message, caught.value.position) == (message, position)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", '"nope": no such command on PATH'),
        ("cat | stdout_lgo", '"stdout_lgo": no such command on PATH'),
        ("notes.py", '"notes.py": no such command; a file of that name is here: did you mean ./notes.py?'),
        ("./gone.py", '"./gone.py": no such file'),
    ],
)
def test_the_command_of_a_source_is_no_stage(text: str, message: str) -> None:
    with pytest.raises(ChainError) as caught:
        resolve_chain(text, Machine(), is_source=True)
    assert caught.value.message == message


def test_the_first_line_of_a_script_is_looked_at() -> None:
    with pytest.raises(ChainError, match=r'^stage 2 "\./dos\.sh": its lines end with CR LF'):
        resolve_chain("cat | ./dos.sh", Machine())
