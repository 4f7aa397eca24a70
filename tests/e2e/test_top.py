"""fws-top in a real terminal, as an emulator shows it, and as plain text."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyte
import pytest
from websockets.sync.client import connect

from tests.e2e.test_chain import stage_of
from tests.harness import COMMAND_PATH, PATIENCE_S, Servers

_ENTER, _LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """A terminal in which one command runs, and the screen that it shows."""

    def __init__(self, environment: Mapping[str, str], *argv: str, columns: int = 100, lines: int = 30) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self._master, slave = pty.openpty()
        self.resize(columns, lines)
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), env=environment,
        )  # fmt: skip
        os.close(slave)

    def resize(self, columns: int, lines: int) -> None:
        self._screen.resize(lines, columns)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    @property
    def echoes(self) -> bool:
        """Whether typed text shows: as it does unless a program has the whole terminal."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def has_line(self, pattern: str) -> bool:
        return any(re.search(pattern, line) for line in self.lines)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Read what is written until this comes true."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "\n".join(self.lines)
            self._read()

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 0.1)
        try:
            block = os.read(self._master, 65536) if ready else b""
        except OSError:  # EIO: no program has it open any more
            return False
        self.raw += block
        self._stream.feed(block)
        return True

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        """Wait for the command's end, and read what it has written last."""
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait(PATIENCE_S)

    @property
    def words_after_leaving(self) -> str:
        return self.raw.rpartition(_LEAVE)[2].decode().strip()


class Desk:
    """A server with a client, and commands that find it."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.environment = {
            **servers.environment(TMPDIR=str(folder), TERM="xterm-256color", LC_ALL="C.UTF-8"), "PATH": COMMAND_PATH
        }  # fmt: skip
        self.server = servers.start("--name", "seen", "cat | mirror", environment=self.environment)
        assert self.server.url

    def top(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["fws-top", *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE_S,
            env={**self.environment, **environment},
        )  # fmt: skip

    def terminal(self, *argv: str, **environment: str) -> Terminal:
        return Terminal({**self.environment, **environment}, *argv)


@pytest.fixture
def desk(servers: Servers) -> Iterator[Desk]:
    folder = Path(tempfile.mkdtemp(prefix="top"))
    yield Desk(servers, folder)
    shutil.rmtree(folder)


def test_the_screen(desk: Desk) -> None:
    """From the first picture over the brake, another size, Ctrl-Z and fg to `q`; a shell runs it, which has jobs."""
    script = 'fws-top --interval 0.2; echo "code $?"; fg >/dev/null; echo "code $?"'
    terminal = desk.terminal("sh", "-m", "-c", script)
    with connect(desk.server.url) as client:
        terminal.wait_for(lambda: terminal.has_line("^clients: 1"))
        assert terminal.lines[0].startswith(f"fws-pipe seen  pid {desk.server.pid}  up ")
        assert [line.split("  ")[1] for line in terminal.lines if "░" in line] == [
            "front", '| stage 1 "cat"', '| stage 2 "mirror"', "| sink"
        ]  # fmt: skip
        assert not terminal.echoes
        cat = stage_of(desk.server.pid, "cat")
        os.kill(cat, signal.SIGSTOP)
        client.send("x" * 60_000)
        terminal.wait_for(lambda: terminal.has_line('^▶ \\| stage 1 "cat" +█░+ +6%'))
        assert b"\x1b[1;31m" in terminal.raw
        os.kill(cat, signal.SIGCONT)
        assert client.recv(PATIENCE_S) == "x" * 60_000
        terminal.wait_for(lambda: not terminal.has_line("▶"))
    terminal.resize(40, 8)
    terminal.wait_for(lambda: terminal.has_line("^… [0-9]+ more lines$"))
    assert not terminal.has_line("RESTARTS|MEMORY")
    terminal.resize(100, 30)
    terminal.wait_for(lambda: terminal.has_line("RESTARTS"))

    terminal.type(b"\x1a")
    terminal.wait_for(lambda: b"code 148" in terminal.raw)
    stopped = terminal.raw.index(b"code 148")
    assert terminal.raw.rindex(_LEAVE, 0, stopped) > terminal.raw.rindex(_ENTER, 0, stopped)
    terminal.wait_for(lambda: _ENTER in terminal.raw[stopped:] and terminal.has_line("^clients: 0"))
    assert not terminal.echoes
    terminal.type(b"q")
    terminal.wait_for(lambda: b"code 0" in terminal.raw)
    assert terminal.echoes
    assert terminal.end() == 0
    assert terminal.words_after_leaving == "code 0"


def test_the_terminal_is_given_back_however_the_end_comes(desk: Desk) -> None:
    endings = [desk.terminal("fws-top", "--interval", "0.2", NO_COLOR="1") for _ in range(4)]
    by_key, by_signal, by_hangup, by_server = endings
    for terminal in endings:
        terminal.wait_for(lambda terminal=terminal: terminal.has_line("^  \\| sink"))  # type: ignore[misc]
        assert b"\x1b[3" not in terminal.raw, "no colour"
    by_key.type(b"\x03")
    by_signal.process.terminate()
    by_hangup.process.send_signal(signal.SIGHUP)
    assert by_key.end() == -signal.SIGINT
    assert by_signal.end() == -signal.SIGTERM
    assert by_hangup.end() == -signal.SIGHUP
    desk.server.stop()
    assert by_server.end() == 5, "an error ends it as well"
    assert re.match("fws-top: (no server answers at|the server has ended)", by_server.words_after_leaving)
    for terminal in endings:
        assert terminal.raw.count(_ENTER) == terminal.raw.count(_LEAVE) == 1
        assert b"Traceback" not in terminal.raw
    gone = desk.top()
    assert (gone.returncode, gone.stdout) == (5, "")
    assert gone.stderr == "fws-top: no server of this user is running here; name its socket with --control PATH\n"


def test_plain_text_where_stdout_is_no_terminal(desk: Desk) -> None:
    once = desk.top("--interval", "0.1", COLUMNS="60")
    assert (once.returncode, once.stderr) == (0, "")
    assert once.stdout.count("fws-pipe seen") == 1
    assert '| stage 2 "mirror"' in once.stdout
    assert "\x1b" not in once.stdout
    assert max(map(len, once.stdout.splitlines())) <= 60
    twice = desk.top("--interval", "0.1", "-n", "2", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert twice.stdout.count("fws-pipe seen") == 2
    assert "..........   0%" in twice.stdout
    assert twice.stdout.isascii()
    endless = subprocess.Popen(
        ["fws-top", "--lines", "--interval", "0.1"], stdout=subprocess.PIPE, env=desk.environment, text=True
    )
    assert endless.stdout is not None
    heads = 0
    while heads < 3:
        heads += endless.stdout.readline().startswith("fws-pipe seen")
    endless.stdout.close()
    assert endless.wait(PATIENCE_S) == 0, "a reader that goes away ends it"
    for arguments, problem in (
        (["--interval", "0"], "argument --interval: expected a number of seconds from 0.1 to 86400, got 0"),
        (["--interval", "nan"], "got nan"),
        (["-n", "0"], "expected a number above 0, got 0"),
        (["--control", "/nowhere", "--timeout", "0"], "expected a number of seconds above 0, got 0"),
    ):
        refused = desk.top(*arguments)
        assert refused.returncode == 2
        assert problem in refused.stderr
        assert refused.stderr.count("\n") == 1
