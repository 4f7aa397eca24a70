"""Each program in filters/examples does what its first comment shows, and takes any message."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fws_pipe.config.options import Config, parse_pipe
from fws_pipe.protocol.actions import SEND
from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.json_form import from_json, to_json
from fws_pipe.sdk.testing import FRAMES, JSON_LINES, check_filter
from tests.filters.test_contract import ENVIRONMENT
from tests.harness import FILTERS, shell

EXAMPLES = FILTERS / "examples"

NEEDS = {
    "bc.sh": "bc --version",
    "counter.rs": "rustc --version",
    "counter.sh": "jq --version",
    "mirror.c": "cc --version",
    "mirror.py": "python3 --version",
    "repl.sh": "python3 --version",
    "room.awk": "mawk -W version",
    "room.js": "node --version",
    "room.sh": "bash --version",
    "sql.sh": "sqlite3 -safe -json -version",
    "tail.lua": "lua -v",
    "upper.pl": "perl -MJSON::PP -e 1",
    "upper.sed": "sed --version",
    "vmstat.rb": "ruby -rjson -e 1",
}
"""What succeeds where an example can run: Debian's perl-base, for one, is a perl without JSON::PP."""

_STEP = re.compile(r"^(?P<margin>(?:#|//|--)? {4,5})\$ (?P<command>.*)\n(?P<shown>(?:(?P=margin)(?!\$ ).*\n)*)", re.M)
_SERVED = re.compile(r"^(?:#|//|--)? ?Serve it: (fws-pipe .*)$", re.M)

HARD: list[str | bytes] = ["", b"", b"\x00\xff\n", "two\nlines", 'é "%41"\t\\ \x10base64:AA==\x1a', "x" * (1 << 20)]
"""Messages that a program of lines may spoil."""


def texts(messages: list[str | bytes]) -> list[str]:
    return [message for message in messages if isinstance(message, str)]


ANSWERS: dict[str, Callable[[list[str | bytes]], object]] = {
    "room.awk": lambda messages: [f"guest: {text}" for text in texts(messages)],
    "room.sh": texts,
    "upper.sed": lambda messages: [data.upper() if isinstance(data, str) else data for data in messages],
}
"""What is sent for messages by the examples that take any text, under an adapter."""


@dataclass(frozen=True)
class Example:
    """What the first comment of an example says: shell commands and what they print, and how the example is served."""

    steps: list[tuple[str, str]]
    config: Config


def read_example(name: str) -> Example:
    text = (EXAMPLES / name).read_text()
    steps = []
    for step in _STEP.finditer(text):
        margin = len(step["margin"])
        steps.append((step["command"], "".join(line[margin:] for line in step["shown"].splitlines(keepends=True))))
    [served] = _SERVED.findall(text)
    config = parse_pipe(shlex.split(served)[1:], {})
    assert isinstance(config, Config)
    return Example(steps, config)


def check_contract(chain: str, folder: Path) -> bool:
    """Check a program that speaks frames, or stands between to_json and from_json; False: it does neither."""
    stages = [stage.strip() for stage in chain.split("|")]
    speaks_json = stages[0] == "to_json" and stages[-1] == "from_json"
    form = JSON_LINES if speaks_json else FRAMES
    program = stages[1] if speaks_json else chain
    if " " in program:
        return False
    check_filter([str(folder / program)], reads=form, writes=form, environment=ENVIRONMENT)
    return True


def answers_to(messages: list[str | bytes], chain: str, folder: Path) -> list[object]:
    """What a chain sends for messages of one client."""
    events: list[Frame] = [{"type": "open", "id": "a", "path": "/", "query": "", "headers": [], "remote": ["", 0]}]
    events += [{"type": "message", "id": "a", "data": data} for data in messages]
    done = shell(f"fws-test {shlex.quote(chain)}", stdin=b"".join(map(to_json, events)), cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    frames = [from_json(line) for line in done.stdout.splitlines()]
    return [frame["data"] for frame in frames if frame["type"] == SEND]


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_example(name: str, tmp_path: Path) -> None:
    if shell(NEEDS[name]).returncode:
        pytest.skip(f"{NEEDS[name].split()[0]} is not installed, or not in full: {NEEDS[name]}")
    shutil.copy(EXAMPLES / name, tmp_path)
    example = read_example(name)
    assert example.steps, "it begins with a comment that shows it without a server"
    for command, shown in example.steps:
        done = shell(command, cwd=tmp_path)
        assert (done.stdout.decode().rstrip("\n"), done.stderr.decode()) == (shown.rstrip("\n"), ""), command
    chain = example.config.chain
    assert chain is not None
    if not check_contract(chain, tmp_path):
        answers = answers_to(HARD, chain, tmp_path)
        if name in ANSWERS:
            assert answers == ANSWERS[name](HARD)


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_all_but_what_is_compiled_can_be_executed(path: Path) -> None:
    is_script = path.suffix not in (".c", ".rs")
    assert path.read_text().startswith("#!") == is_script
    assert os.access(path, os.X_OK) == is_script
