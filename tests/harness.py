"""Starts the real commands and waits for what they say; proves afterwards that they left nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

PATIENCE_S = 30.0
"""A bound on every wait, far above what any of them takes: only a defect gets there."""

BIN = Path(sys.executable).parent
FILTERS = Path(__file__).resolve().parent.parent / "filters"
COMMAND_PATH = os.pathsep.join([os.environ["PATH"], str(BIN), str(FILTERS)])
_MARK = "FWS_TEST_MARK"


class Output:
    """The lines of a descriptor, collected by a thread of its own."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "rb")
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._ended = False
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        with self._file:
            for line in self._file:
                with self._changed:
                    self._lines.append(line.decode(errors="replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def lines(self) -> list[str]:
        """What has come so far."""
        with self._changed:
            return list(self._lines)

    @property
    def text(self) -> str:
        """What has come so far, as one string."""
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, count: int = 1, patience_s: float = PATIENCE_S) -> str:
        """Wait until so many lines match; returns the last of them."""
        with self._changed:
            found = self._changed.wait_for(lambda: self._ended or len(self._matching(pattern)) >= count, patience_s)
            matching = self._matching(pattern)
        assert found, f"no {pattern!r} within {patience_s} s in:\n" + "\n".join(self._lines)
        assert len(matching) >= count, f"ended without {pattern!r}:\n" + "\n".join(self._lines)
        return matching[count - 1]

    def _matching(self, pattern: str) -> list[str]:
        return [line for line in self._lines if re.search(pattern, line)]

    def wait_for_end(self) -> str:
        """Wait for the end of the output; returns all of it."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.text


class Server:
    """A running fws-pipe or other command."""

    def __init__(
        self,
        argv: list[str],
        folder: Path,
        environment: Mapping[str, str],
        descriptors: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.process = subprocess.Popen(
            argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env=environment,
            pass_fds=descriptors,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        # Output owns the descriptors: Popen must not close them under its threads.
        self.stdout = Output(os.dup(self.process.stdout.fileno()))
        self.stderr = Output(os.dup(self.process.stderr.fileno()))
        self.process.stdout.close()
        self.process.stderr.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        """Where it listens, once it has said so itself: nobody else can have taken the port."""
        line = self.stderr.wait_for("listening on wss?://")
        return line.split("listening on ")[1].split(",")[0]

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def events(self, kind: str, count: int) -> list[dict[str, Any]]:
        """Wait until the reporter has told of so many events of a type; returns all that it has told of."""
        self.stdout.wait_for(f'"type": "{kind}"', count)
        events = [json.loads(line) for line in self.stdout.lines]
        return [event for event in events if event["type"] == kind]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        code = self.process.wait(PATIENCE_S)
        self.stderr.wait_for_end()
        self.stdout.wait_for_end()
        return code

    def crash(self) -> None:
        """End it and its children at once, as a machine's end does: none of them can clean up after the others."""
        self.signal(signal.SIGSTOP)
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            for pid in (task / "children").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and wait."""
        self.signal(signal.SIGTERM)
        return self.wait()


_REPORTER = """#!/usr/bin/env fws-python
import json
from fws_pipe.sdk import on, run, tell
from fws_pipe.protocol.events import EVENT_TYPES

@on(*(EVENT_TYPES - {"tick", "data"}))
def report(event):
    tell(json.dumps({**event, "data": repr(event.get("data"))}))

run()
"""


class Servers:
    """Starts servers in a folder of their own; at the end kills what is left, and fails if anything was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mark = uuid.uuid4().hex
        self._started: list[Server] = []

    def __enter__(self) -> Servers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server in self._started:
            if server.process.poll() is None:
                server.process.terminate()
        for server in self._started:
            try:
                server.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()
            if server.process.stdin is not None:
                server.process.stdin.close()
        left = self.processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        if error is None:
            assert not left, f"processes outlived their server: {left}"

    def environment(self, **changes: str) -> dict[str, str]:
        """The environment of all that is started here."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("FWS_")}
        return {**plain, "PATH": COMMAND_PATH, _MARK: self._mark, **changes}

    def start(
        self, *arguments: str, environment: Mapping[str, str] | None = None, stdin: int = subprocess.DEVNULL
    ) -> Server:
        """Start fws-pipe on a free port; `stdin` is a descriptor, or subprocess.PIPE."""
        return self.start_command("fws-pipe", "--port", "0", *arguments, environment=environment, stdin=stdin)

    def start_command(
        self,
        *argv: str,
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
    ) -> Server:
        """Start any command; it inherits these descriptors, under the same numbers."""
        command = shutil.which(argv[0], path=COMMAND_PATH) or argv[0]
        server = Server([command, *argv[1:]], self.folder, environment or self.environment(), descriptors, stdin)
        self._started.append(server)
        return server

    def script(self, name: str, text: str) -> str:
        """Write an executable into the folder; returns its name as a stage gives it."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return f"./{name}"

    def reporter(self) -> str:
        """A stage that writes each event as JSON to the server's stdout, and passes it on: see `Server.events`."""
        return self.script("report", _REPORTER)

    def interrupt(self, command: str) -> None:
        """SIGINT for the processes that run this command, as part of a line of shell."""
        for pid in self.processes():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if any(word == command or word.endswith(f"/{command}") for word in words[:2]):
                os.kill(pid, signal.SIGINT)

    def processes(self) -> list[int]:
        """The ids of all living processes that were started here, grandchildren included."""
        return [pid for pid in _pids() if f"{_MARK}={self._mark}".encode() in _environment_of(pid)]


def run(*argv: str, stdin: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FWS_")}
    return subprocess.run(
        argv,
        input=stdin,
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
        cwd=cwd,
        env={**environment, "PATH": COMMAND_PATH},
    )


def shell(script: str, stdin: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a line of shell with the commands and filters on PATH."""
    return run("/bin/sh", "-c", script, stdin=stdin, cwd=cwd)


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for something outside that tells nobody when it comes true: the kernel's tables, mostly."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {PATIENCE_S} s"
        time.sleep(0.01)


def descriptors_of(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_of(pid: int) -> int:
    """A process's resident memory, in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _environment_of(pid: int) -> bytes:
    try:
        if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return b""
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
