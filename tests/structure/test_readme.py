"""The README says what is so: its tables are those of the code, and its filters run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from websockets.sync.client import connect

from fws_pipe.chain.commands import filter_paths, filter_summary
from fws_pipe.config.options import OPTIONS
from fws_pipe.errors import EXIT_CODES
from fws_pipe.protocol.actions import ACTION_TYPES
from fws_pipe.protocol.events import EVENT_TYPES
from tests.harness import Servers, shell

README = (Path(__file__).resolve().parent.parent.parent / "README.md").read_text()
PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def options_table() -> str:
    rows = [f"| `{option.flag}` | `{option.variable}` | {option.default_text} | {option.help} |" for option in OPTIONS]
    return "\n".join(["| flag | variable | default | what for |", "|---|---|---|---|", *rows])


def test_the_options_table_is_that_of_the_code() -> None:
    stated = README.split("<!-- options: ")[1].split("-->\n")[1].split("\n<!--")[0]
    assert stated == options_table(), f"the table should be:\n{options_table()}"


def test_exit_codes() -> None:
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in README


def test_filters_are_described_in_their_own_words() -> None:
    for name, path in filter_paths().items():
        assert f"| `{name}` | {filter_summary(path)} |" in README


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES | ACTION_TYPES))
def test_every_type_has_a_row(kind: str) -> None:
    assert re.search(rf"^\| .*`{kind}`.* \|", README, re.MULTILINE)


def test_the_filter_of_six_lines(servers: Servers) -> None:
    code = PYTHON_BLOCKS[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 6
    server = servers.start(servers.script("shout.py", code))
    with connect(server.url) as client:
        client.send("hello")
        assert client.recv(30) == "HELLO"


def test_the_class(servers: Servers) -> None:
    servers.script("chat.py", PYTHON_BLOCKS[1])
    server = servers.start("fws-filter ./chat.py")
    with connect(server.url) as alice, connect(server.url) as bob:
        alice.send("hello")
        assert alice.recv(30) == bob.recv(30) == "hello"


def test_the_chains_with_jq(servers: Servers) -> None:
    if not shutil.which("jq"):
        pytest.skip("jq is not installed")
    no_spam, echo = re.findall(r'^    fws-pipe ("to_json .*")$', README, re.MULTILINE)
    for chain, expected in ((no_spam, ["ham"]), (echo, ["spam", "ham"])):
        server = servers.start(shell(f"printf %s {chain}").stdout.decode())
        with connect(server.url) as alice, connect(server.url) as bob:
            alice.send("spam")
            alice.send("ham")
            listener = bob if chain is no_spam else alice
            assert [listener.recv(30) for _ in expected] == expected
