"""websocketd's own example programs, unchanged, under per_client and websocketd: the same messages, byte for byte.

What differs, and is left out of the comparison: the end (websocketd sends no Close frame), and of the environment the
server's name and version, the ports, and the ids. send-receive.sh is left out: it sleeps for random times.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.benchmarks.servers import PORT, Running, Subject, started
from tests.harness import COMMAND_PATH, PATIENCE_S

_WEBSOCKETD = shutil.which("websocketd", path=COMMAND_PATH)
_EXAMPLES = Path(_WEBSOCKETD or "/usr/bin/websocketd").parent.parent / "share/doc/websocketd/examples"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_WEBSOCKETD is None, reason="websocketd isn't installed: apt-get install websocketd"),
    pytest.mark.skipif(not _EXAMPLES.is_dir(), reason=f"websocketd's examples aren't in {_EXAMPLES}"),
]

_DIFFERS = re.compile(
    r"(?:SERVER_SOFTWARE|GATEWAY_INTERFACE|UNIQUE_ID|REMOTE_PORT|SERVER_PORT|HTTP_SEC_WEBSOCKET_KEY)=[^<].*"
)
_DATE = re.compile(r"\[[^]]*\]")


class Both:
    """The same program, under both servers."""

    def __init__(self, stack: ExitStack, *command: str) -> None:
        if shutil.which(command[0], path=COMMAND_PATH) is None:
            pytest.skip(f"{command[0]} isn't installed")
        argv = [*command[:-1], str(_EXAMPLES / command[-1])]
        theirs = ("websocketd", f"--port={PORT}", "--address=127.0.0.1", "--loglevel=fatal", *argv)
        ours = ("fws-pipe", "--quiet", "--port", "0", " ".join(["per_client", *argv]))
        self._stack = stack
        self._servers = [
            stack.enter_context(started(Subject("websocketd", theirs))),
            stack.enter_context(started(Subject("fws-pipe", ours, clears_up=True))),
        ]

    def clients(self) -> list[ClientConnection]:
        """A client of each."""
        return [self._stack.enter_context(self._connect(server)) for server in self._servers]

    def _connect(self, server: Running) -> ClientConnection:
        return connect(
            f"ws://127.0.0.1:{server.port}/a%20b/c?x=1&y=%20", additional_headers={"X-Some": "thing", "Cookie": "a=b"},
            compression=None, user_agent_header="test",
        )  # fmt: skip


def to_end(client: ClientConnection) -> list[str | bytes]:
    """All messages until the connection ends, however it does."""
    messages = []
    while True:
        try:
            messages.append(client.recv(PATIENCE_S))
        except ConnectionClosed:
            return messages


def answers(client: ClientConnection, texts: Sequence[str]) -> list[str | bytes]:
    """What is answered to each of these."""
    got = []
    for text in texts:
        client.send(text)
        got.append(client.recv(PATIENCE_S))
    return got


@pytest.mark.parametrize(
    "command", [("bash", "bash/count.sh"), ("perl", "perl/count.pl"), ("python3", "python/count.py")]
)
def test_count(command: tuple[str, ...]) -> None:
    with ExitStack() as stack:
        theirs, ours = Both(stack, *command).clients()
        assert to_end(ours) == to_end(theirs) == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize(
    "command",
    [
        ("bash", "bash/greeter.sh"), ("perl", "perl/greeter.pl"), ("python3", "python/greeter.py"),
        ("ruby", "ruby/greeter.rb"), ("node", "nodejs/greeter.js"), ("lua", "lua/greeter.lua"),
        ("php", "php/greeter.php"),
    ],
)  # fmt: skip
def test_greeter(command: tuple[str, ...]) -> None:
    with ExitStack() as stack:
        theirs, ours = Both(stack, *command).clients()
        names = ["Alice", "", "  é\t\U0001f600 \\ \" ' $HOME `x` ", "x" * 50_000]
        assert answers(ours, names) == answers(theirs, names)


@pytest.mark.parametrize(
    "command",
    [
        ("bash", "bash/dump-env.sh"), ("perl", "perl/dump-env.pl"), ("python3", "python/dump-env.py"),
        ("ruby", "ruby/dump-env.rb"), ("php", "php/dump-env.php"),
    ],
)  # fmt: skip
def test_dump_env(command: tuple[str, ...]) -> None:
    with ExitStack() as stack:
        theirs, ours = Both(stack, *command).clients()
        assert _environment(to_end(ours)) == _environment(to_end(theirs))


def _environment(lines: Sequence[str | bytes]) -> list[str]:
    return sorted(line.split("=")[0] if _DIFFERS.fullmatch(line) else line for line in map(str, lines))


def test_chat() -> None:
    with ExitStack() as stack:
        both = Both(stack, "bash", "bash/chat.sh")
        first, second = both.clients(), both.clients()
        assert _chat(first[1], second[1]) == _chat(first[0], second[0])


def _chat(first: ClientConnection, second: ClientConnection) -> list[str]:
    lines = [first.recv(PATIENCE_S), *answers(first, ["Alice"])]
    lines += [second.recv(PATIENCE_S), *answers(second, ["Bob"]), first.recv(PATIENCE_S)]
    first.send("hello")
    lines.append(second.recv(PATIENCE_S))
    return [_DATE.sub("[]", str(line)) for line in lines]
