"""The README and the documents say what is so: their tables are those of the code, and their examples run."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from pathlib import Path

import pytest
from websockets.sync.client import connect

import fws_pipe
from fws_pipe.chain.commands import filter_paths, filter_summary, filters_dir
from fws_pipe.config.options import OPTIONS
from fws_pipe.config.topics import TOPICS, text_of
from fws_pipe.errors import EXIT_CODES
from fws_pipe.protocol.actions import ACTION_TYPES
from fws_pipe.protocol.events import EVENT_TYPES
from tests.harness import Servers, shell

README = (Path(__file__).resolve().parent.parent.parent / "README.md").read_text()
DOCUMENTS = {"README": README, **{topic: text_of(topic) for topic in TOPICS}}


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def options_table() -> str:
    variables = [f"`{option.variable}`" if option.has_variable else "none" for option in OPTIONS]
    rows = [
        f"| `{option.flag}` | {variable} | {option.default_text} | {option.help} |"
        for option, variable in zip(OPTIONS, variables, strict=True)
    ]
    return "\n".join(["| flag | variable | default | what for |", "|---|---|---|---|", *rows])


def test_the_options_table_is_that_of_the_code() -> None:
    stated = DOCUMENTS["options"].split("<!-- options: ")[1].split("-->\n")[1].split("\n<!--")[0]
    assert stated == options_table(), f"the table should be:\n{options_table()}"


def test_exit_codes() -> None:
    for code, meaning in EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in DOCUMENTS["operations"]


def test_filters_are_described_in_their_own_words() -> None:
    for name, path in filter_paths().items():
        row = f"| `{name}` | {filter_summary(path)} |"
        assert row in README
        assert row in DOCUMENTS["filters"]


def test_examples_are_described_in_their_own_words() -> None:
    described = dict(re.findall(r"^\| `(\w+\.\w+)` \| (.* \| .*) \|$", DOCUMENTS["filters"], re.MULTILINE))
    paths = {path.name: path for path in (filters_dir() / "examples").iterdir()}
    assert described.keys() == paths.keys()
    for name, path in paths.items():
        assert described[name].replace(" | ", " ") + ".\n" in path.read_text()


def test_the_readme_names_each_topic() -> None:
    for topic, summary in TOPICS.items():
        assert f"| `fws-pipe --help {topic}` | {summary} |" in README


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere_wherever_the_text_is_shown(name: str) -> None:
    """On PyPI, in a terminal and in a checkout: a relative link leads somewhere in one of them at most."""
    for target in re.findall(r"\]\(([^)]*)\)", DOCUMENTS[name]):
        assert target.startswith("https://"), target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_topic_that_a_document_names_is_there(name: str) -> None:
    assert set(re.findall(r"--help ([a-z]+)", DOCUMENTS[name])) <= set(TOPICS)


def test_the_page_of_the_quickstart_is_served_and_its_websocket_is_on_its_path(servers: Servers) -> None:
    """tests/e2e/test_console.py chats in it."""
    (servers.folder / "www").mkdir()
    page = README.split("```html\n")[1].split("```")[0]
    (servers.folder / "www" / "index.html").write_text(page)
    assert 'new WebSocket(location.href.replace("http", "ws"))' in page
    server = servers.start("--page", "www", "broadcast | stdout_log")
    with urllib.request.urlopen(server.url.replace("ws", "http") + "/", timeout=30) as served:
        assert served.read().decode() == page
    with connect(f"{server.url}/") as alice, connect(f"{server.url}/") as bob:
        alice.send("hello")
        assert bob.recv(30) == "hello"


def test_the_chain_without_a_server() -> None:
    shown = README.split("has made of it:\n\n")[1].split("\n\n## ")[0]
    done = shell("fws-emit message --id a --data hello | broadcast | fws-cat")
    lines = [[json.loads(line) for line in text.split("\n") if line.strip()] for text in (shown, done.stdout.decode())]
    for event, _action in lines:
        event.pop("time")
    assert lines[0] == lines[1]


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES | ACTION_TYPES))
def test_every_type_has_a_row(kind: str) -> None:
    assert re.search(rf"^\| .*`{kind}`.* \|", DOCUMENTS["frames"], re.MULTILINE)


def test_the_filter_of_six_lines(servers: Servers) -> None:
    code = python_blocks(README)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 6
    server = servers.start(servers.script("shout.py", code))
    with connect(server.url) as client:
        client.send("hello")
        assert client.recv(30) == "HELLO"


def test_the_class(servers: Servers) -> None:
    servers.script("chat.py", python_blocks(DOCUMENTS["filters"])[1])
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


def test_the_table_of_rooms_names_each_room_and_each_module_in_it() -> None:
    package = Path(fws_pipe.__file__).parent
    rows = re.findall(r"^\| `fws_pipe/([a-z]+)/` \| [^|]* \| ([^|]*) \|$", DOCUMENTS["source"], re.MULTILINE)
    named = {room: set(re.findall(r"`([a-z0-9_]+)`", modules)) for room, modules in rows}
    there = {
        folder.name: {path.stem for path in folder.glob("*.py")} - {"__init__"}
        for folder in package.iterdir()
        if folder.is_dir() and folder.name not in ("docs", "filters", "__pycache__")
    }
    assert named == there, "the table is in fws_pipe/docs/source.md"


def test_the_files_that_a_change_touches_are_there() -> None:
    package = Path(fws_pipe.__file__).parent
    tasks = DOCUMENTS["source"].split("## What a change touches")[1].split("\n## ")[0]
    paths = re.findall(r"`([a-z_]+/[a-z_0-9]+\.(?:py|md))`", tasks)
    assert paths
    assert [path for path in paths if not (package / path).exists()] == []
