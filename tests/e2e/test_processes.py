"""The server as a process among others: signals, terminals, PID 1, and what its exit code says."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.harness import BIN, FILTERS, PATIENCE_S, Server, Servers, eventually

FWS_PIPE = (str(BIN / "fws-pipe"), "--port", "0")

DEAF = "sleep 1000"
"""A chain that reads nothing, and so returns no tick."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chain", "said", "code"), [(DEAF, True, 6), (DEAF, False, 0), ("( cat >/dev/null; : )", True, 0)]
)
def test_what_a_chain_without_ticks_has_not_read_is_not_called_done(
    servers: Servers, chain: str, said: bool, code: int
) -> None:
    server = servers.start("--drain-timeout", "1", chain)
    server.stderr.wait_for("no tick has come back within 10 s")
    if said:
        with connect(server.url) as client:
            client.send("never answered")
            assert client.ping().wait(PATIENCE_S)
            assert server.stop() == code
    else:
        assert server.stop() == code
    told = "events that the chain, which lets no tick through, may not have read" in server.stderr.text
    assert told == (code == 6)


@pytest.mark.parametrize("command", ["fws-pipe", "fws-front", "fws_server", "fws-sink", "fws-source", "fws-cat"])
def test_an_interrupt_while_a_command_loads_shows_no_traceback(command: str) -> None:
    """A trace function sends it as the first module of ours is imported, when the interpreter's start is over."""
    code = (
        "import os, signal, sys, importlib.abc\n"
        "class Interrupt(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        light = ('cli', 'cli.entry', 'system', 'system.first_process', 'system.signals')\n"
        "        if name.startswith('fws_pipe.') and name.removeprefix('fws_pipe.') not in light:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        f"sys.argv = ['{command}']\n"
        f"import fws_pipe.cli.entry; fws_pipe.cli.entry.{command.replace('-', '_')}()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


def test_what_is_loaded_before_a_command_sees_to_its_signals_is_next_to_nothing() -> None:
    """Without site (-S), which on some machines loads things of its own."""
    code = (
        "import sys, fws_pipe.cli.entry; print(sorted(name for name in sys.modules if name.startswith('fws_pipe')))\n"
    )
    code += "assert not sys.modules.keys() & {'typing', 're', 'subprocess', 'trio'}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=FILTERS.parent, capture_output=True, text=True, check=False
    )
    loaded = "['fws_pipe', 'fws_pipe.cli', 'fws_pipe.cli.entry', 'fws_pipe.system', 'fws_pipe.system.signals']"
    assert (done.stdout, done.stderr) == (f"{loaded}\n", "")


def _start_in_group(servers: Servers, *argv: str, preparation: str = "") -> Server:
    """Start a command that leads a process group of its own, after these lines of Python."""
    code = f"import os, signal, sys\nos.setpgid(0, 0)\n{preparation}\nos.execvp(sys.argv[1], sys.argv[1:])\n"
    return servers.start_command(sys.executable, "-c", code, *argv)


def _stages_of(server: Server) -> list[int]:
    """The processes that the server has started."""
    tasks = Path(f"/proc/{server.pid}/task").iterdir()
    return [int(word) for task in tasks for word in (task / "children").read_text().split()]


IGNORED_AS_BY_A_SHELL = "signal.signal(signal.SIGINT, signal.SIG_IGN)"


@pytest.mark.parametrize(
    ("number", "preparation", "before"), [(signal.SIGHUP, "", ["nohup"]), (signal.SIGINT, IGNORED_AS_BY_A_SHELL, [])]
)
def test_a_signal_that_was_ignored_at_the_start_stays_ignored_by_server_and_stages(
    servers: Servers, number: signal.Signals, preparation: str, before: list[str]
) -> None:
    """As `nohup` and a script's `&` say that it is not for us."""
    server = _start_in_group(servers, *before, *FWS_PIPE, "cat | mirror", preparation=preparation)
    with connect(server.url) as client:
        stages = _stages_of(server)
        for group in (server.pid, *stages):
            os.killpg(group, number)
        client.send("on")
        assert client.recv(PATIENCE_S) == "on"
        assert (len(stages), _stages_of(server)) == (3, stages)
    assert server.stop() == 0
    assert number.name not in server.stderr.text


def test_an_interrupt_from_the_terminal_lets_the_stages_finish(servers: Servers) -> None:
    """The terminal's reaches the whole foreground process group."""
    go = servers.folder / "go"
    os.mkfifo(go)
    held = servers.script(
        "held",
        "#!/usr/bin/env fws-python\n"
        "from fws_pipe.sdk import on, run\n"
        "@on('message')\n"
        "def hold(event):\n"
        "    open('go').read()\n"
        "run()\n",
    )
    server = _start_in_group(servers, *FWS_PIPE, f"{held} | mirror")
    with connect(server.url) as client:
        client.send("under way")
        assert client.ping().wait(PATIENCE_S)
        os.killpg(server.pid, signal.SIGINT)
        server.stderr.wait_for("SIGINT: draining")
        go.write_text("go")
        assert client.recv(PATIENCE_S) == "under way"
    assert server.wait() == 0
    assert "killed" not in server.stderr.text


def test_what_a_parent_blocks_and_forgets_costs_no_server_its_end_nor_what_killed_a_stage(servers: Servers) -> None:
    server = _start_in_group(
        servers, *FWS_PIPE, "cat | mirror",
        preparation="signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    )  # fmt: skip
    with connect(server.url):
        os.kill(_stages_of(server)[0], signal.SIGKILL)
        server.stderr.wait_for('stage 1 "cat" was killed by SIGKILL')
        server.stderr.wait_for("the chain serves again")
    assert server.stop() == 0


def _in_new_namespace(servers: Servers, *arguments: str) -> Server:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--pid", "--fork", "true"], check=False, stderr=-3).returncode:
        pytest.skip("this user may not make a namespace of process ids")
    return servers.start_command(unshare, "--pid", "--fork", "--mount-proc", str(BIN / "fws-pipe"), *arguments)


def _inner_of(server: Server) -> int:
    """The server's first process, which is PID 1 in there; outside it has another number."""
    [first] = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return int(first)


def test_as_pid_1_it_reaps_orphans_passes_signals_on_and_ends_as_its_server_does(servers: Servers) -> None:
    orphans = servers.script(
        "orphans",
        "#!/bin/sh\n"
        "for i in 1 2 3; do sh -c 'setsid sh -c \"echo orphan >&2\" </dev/null >/dev/null &'; done\n"
        "exec cat\n",
    )
    server = _in_new_namespace(servers, "--port", "0", f"{orphans} | mirror")
    with connect(server.url) as client:
        client.send("served")
        assert client.recv(PATIENCE_S) == "served"
        server.stderr.wait_for("orphan", 3)
        first = _inner_of(server)
        children = Path(f"/proc/{first}/task/{first}/children")
        eventually(lambda: len(children.read_text().split()) == 1, "that all orphans are reaped")
        os.kill(first, signal.SIGTERM)
    assert server.wait() == 0
    server.stderr.wait_for("stopped")


def test_as_pid_1_it_ends_with_the_exit_code_of_a_mistake(servers: Servers) -> None:
    server = _in_new_namespace(servers, "--port", "none", "mirror")
    assert server.wait() == 2


def test_no_stage_is_stopped_because_it_writes_to_the_terminal(servers: Servers) -> None:
    """`stty tostop`: a stage leads a process group of its own, so to the terminal it is in the background."""
    talkative = servers.script("talkative", "#!/bin/sh\necho hello >/dev/tty\nexec cat\n")
    controller, terminal = pty.openpty()
    settings = termios.tcgetattr(terminal)
    settings[3] |= termios.TOSTOP
    termios.tcsetattr(terminal, termios.TCSANOW, settings)
    code = (
        "import fcntl, os, sys, termios\n"
        "os.setsid()\n"
        f"fcntl.ioctl({terminal}, termios.TIOCSCTTY, 0)\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    try:
        server = servers.start_command(
            sys.executable, "-c", code, str(BIN / "fws-pipe"), "--port", "0", f"{talkative} | mirror",
            descriptors=(terminal,),
        )  # fmt: skip
        with connect(server.url) as client:
            client.send("served")
            assert client.recv(PATIENCE_S) == "served"
        assert os.read(controller, 100) == b"hello\r\n"
        assert server.stop() == 0
    finally:
        os.close(terminal)
        os.close(controller)


def test_without_a_folder_for_storage_it_says_what_helps(servers: Servers) -> None:
    nowhere = servers.environment(TMPDIR="/proc/nowhere")
    code = "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/proc/nowhere']\n" + (
        "import sys; sys.argv = ['fws-pipe', '--port', '0', *sys.argv[1:]]\n"
        "import fws_pipe.cli.entry; fws_pipe.cli.entry.fws_pipe()\n"
    )
    server = servers.start_command(sys.executable, "-c", code, "mirror", environment=nowhere)
    assert server.wait() == 5
    assert "let TMPDIR name one that can be written, or keep nothing on disk with --storage memory" in (
        server.stderr.text
    )
    assert len(server.stderr.lines) == 1
    server = servers.start_command(sys.executable, "-c", code, "--storage", "memory", "mirror", environment=nowhere)
    server.stderr.wait_for("listening")
    assert server.stop() == 0


# The first set-up of a checkout.


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a set-up needs of a checkout."""
    root = Path(__file__).resolve().parent.parent.parent
    folder = tmp_path / "checkout"
    (folder / "bin").mkdir(parents=True)
    for name in ("bin/bootstrap.py", "bin/fws-pipe", "pyproject.toml"):
        shutil.copy(root / name, folder / name)
    return folder


def _set_up(checkout: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [checkout / "bin" / "fws-pipe", "--version"], capture_output=True, check=False, timeout=PATIENCE_S,
        env={**os.environ, **environment},
    )  # fmt: skip


ISOLATED = {"PIP_CONFIG_FILE": os.devnull, "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}
"""Nothing but the index that is named, whatever this machine's pip is told otherwise."""


@pytest.mark.slow
def test_a_set_up_without_network_says_so(checkout: Path) -> None:
    done = _set_up(checkout, PIP_INDEX_URL="http://127.0.0.1:9/", PIP_RETRIES="0", **ISOLATED)
    assert done.returncode == 5
    assert b"can't set up: pip reaches no package index; is there a network?" in done.stderr.splitlines()[-1]
    [setting_up, installing, _] = done.stderr.decode().splitlines()
    assert setting_up.startswith("setting up .venv with ")
    assert installing == ("installing fws-pipe and its dependencies with pip: 10 to 60 s, longer on a slow network...")


def test_a_set_up_in_a_folder_that_can_not_be_written_says_so(checkout: Path) -> None:
    # For root, whom no permission stops, by something else that stands in the way.
    (checkout / ".venv.lock").mkdir()
    done = _set_up(checkout)
    assert done.returncode == 5
    [line] = done.stderr.decode().splitlines()
    assert line.startswith(f"fws-pipe: can't set up: .venv can't be made in {checkout} (")
    assert "make the folder writable for this user, or install it elsewhere" in line


def test_an_interrupt_while_the_set_up_loads_shows_no_traceback(checkout: Path) -> None:
    """What lies beside a script is found before the standard library: here it sends the interrupt."""
    (checkout / "bin" / "hashlib.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = _set_up(checkout)
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, b"")


def test_an_interrupted_set_up_that_waits_behind_another_says_both(checkout: Path) -> None:
    with open(checkout / ".venv.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [checkout / "bin" / "fws-pipe", "--version"], stderr=subprocess.PIPE, start_new_session=True
        )
        with process:
            assert process.stderr is not None
            assert process.stderr.readline() == b"waiting for another process that is setting up .venv...\n"
            os.killpg(process.pid, signal.SIGINT)
            assert process.stderr.read() == (
                b"fws-pipe: interrupted while setting up .venv; the next start does it anew\n"
            )
        assert process.returncode in (130, -signal.SIGINT)
