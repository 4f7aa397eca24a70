"""Starts what is measured: fws-pipe, and the peers that it is compared with."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.usage import process_tree
from tests.harness import COMMAND_PATH, PATIENCE_S, Server, Servers, eventually

PEERS = Path(__file__).with_name("peers")
FROM_BENCH = "pip install 'fws-pipe[bench]'"
PORT = "PORT"
"""Stands for the port, in the command of a server that can't find a free one itself."""


@dataclass(frozen=True)
class Subject:
    """A server that can be started, and what it needs for that."""

    name: str
    argv: tuple[str, ...]
    modules: tuple[str, ...] = ()
    how_to_get: str = FROM_BENCH
    whole: bool = True  # whether it keeps messages as they are, neither merged nor split
    clears_up: bool = False  # whether it ends its children itself

    @property
    def is_installed(self) -> bool:
        """Whether its command and its modules are there."""
        return shutil.which(self.argv[0], path=COMMAND_PATH) is not None and all(map(_is_importable, self.modules))

    @property
    def versions(self) -> dict[str, str]:
        """The versions of what it needs, as far as they can be known."""
        names = self.modules or (() if self.argv[0] == sys.executable else (self.argv[0],))
        return {name: version for name in names if (version := _version(name))}


@dataclass(frozen=True)
class Running:
    """A server that accepts connections, and how long its start took."""

    pid: int
    port: int
    start_s: float
    whole: bool


def fws_pipe(chain: str, *options: str) -> Subject:
    """What it is all about."""
    return Subject(f"fws-pipe, `{chain}`", ("fws-pipe", *options, *_options(chain)), clears_up=True)


def fws_pipe_with_counted_tasks(chain: str, file: Path) -> Subject:
    """The same; `file` has the number of its tasks, see `counted.py`."""
    argv = (sys.executable, "-m", "tests.benchmarks.counted", str(file), *_options(chain))
    return Subject(f"fws-pipe, `{chain}`", argv, clears_up=True)


def _options(chain: str) -> tuple[str, ...]:
    return ("--quiet", "--port", "0", chain)


def bare(kind: str) -> Subject:
    """trio-websocket alone, which fws-pipe needs anyway."""
    return Subject("bare trio-websocket", _python("bare.py", kind), ("trio_websocket",))


def picows(kind: str) -> Subject:
    """The fastest that pip has."""
    return Subject("picows", _python("picows_server.py", kind), ("picows", "uvloop"))


def _python(file: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(PEERS / file), *arguments)


WEBSOCKETS_TRIO = Subject("websockets on trio", _python("websockets_trio.py"), ("websockets.trio",))
WEBSOCKETS_UVLOOP = Subject("websockets on uvloop", _python("websockets_asyncio.py"), ("websockets", "uvloop"))
WEBSOCAT = Subject("websocat cmd:cat", ("websocat", "-q", "-E", "-t", f"ws-l:127.0.0.1:{PORT}", "cmd:cat"), whole=False)
WEBSOCKETD = Subject(
    "websocketd cat",
    ("websocketd", f"--port={PORT}", "--address=127.0.0.1", "--loglevel=fatal", "cat"),
    how_to_get="apt-get install websocketd",
)


@contextmanager
def started(subject: Subject) -> Iterator[Running]:
    """A server of its own, which has ended with all its children when this ends."""
    with tempfile.TemporaryDirectory() as folder, Servers(Path(folder)) as servers:
        picked = _free_port()
        start = time.perf_counter()
        server = servers.start_command(*(word.replace(PORT, str(picked)) for word in subject.argv))
        try:
            if any(PORT in word for word in subject.argv):
                port = picked
                _wait_until_it_accepts(server, port)
            else:
                port = server.port
            yield Running(server.pid, port, time.perf_counter() - start, subject.whole)
        finally:
            if not subject.clears_up:
                _kill(servers, server)  # fws-pipe itself must, and Servers sees to it that it does


def _wait_until_it_accepts(server: Server, port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()
            accepted = True
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            accepted = False
            time.sleep(0.005)
        if server.process.poll() is not None:
            raise ChildProcessError(f"it has ended: {server.stderr.wait_for_end()}")
        if accepted:
            return


def _kill(servers: Servers, server: Server) -> None:
    family = process_tree(server.pid) if server.process.poll() is None else []
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it had nothing left to do without its parent
    server.process.wait()
    eventually(lambda: not servers.processes(), "the end of a peer's children")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _is_importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it would be in
        return False


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name.split(".")[0])
    except importlib.metadata.PackageNotFoundError:
        pass
    if not shutil.which(name, path=COMMAND_PATH):
        return None
    told = subprocess.run([name, "--version"], capture_output=True, text=True, check=False, env={"PATH": COMMAND_PATH})
    return told.stdout.strip() or None
