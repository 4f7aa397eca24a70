"""The commands one by one: options, queries, errors, exit codes, and the server composed by hand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from websockets.sync.client import connect

import fws_pipe
from fws_pipe.protocol.codec import Frame, encode
from tests.harness import COMMAND_PATH, FILTERS, Servers, eventually, run, shell
from tests.structure.test_dependencies import PROJECT


def test_version() -> None:
    assert run("fws-pipe", "--version").stdout.decode() == f"fws-pipe {fws_pipe.__version__}\n"
    assert run("fws-front", "--version").stdout.decode() == f"fws-front {fws_pipe.__version__}\n"


def test_list_shows_each_filter_with_a_line() -> None:
    lines = run("fws-pipe", "--list").stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == sorted(path.name for path in FILTERS.iterdir() if path.is_file())
    assert all(line.endswith(".") for line in lines)


def test_filters_dir_can_stand_in_path() -> None:
    assert run("fws-pipe", "--filters-dir").stdout.decode().strip() == str(FILTERS)


def test_check_prints_the_stages_and_starts_nothing(tmp_path: Path) -> None:
    done = run("fws-pipe", "--check", "X=1 broadcast | cat >made | ( a | b )", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.decode().splitlines() == [
        f"1  X=1 broadcast  ->  X=1 exec {FILTERS}/broadcast",
        "2  cat >made  ->  exec cat >made",
        "3  ( a | b )  ->  ( a | b )",
    ]
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_option_with_its_variable_and_the_exit_codes() -> None:
    text = run("fws-pipe", "--help").stdout.decode()
    for words in ("--max-message BYTES", "FWS_OUTBOX_LIMIT", "exit codes:", "4  the chain kept failing"):
        assert words in text


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (
            ["broadcast | stdout_lgo"],
            2,
            'stage 2 "stdout_lgo": no such filter, and no such command on PATH; did you mean',
        ),
        (["broadcast | | x"], 2, "empty stage"),
        (["broadcast | 'x"], 2, "is never closed"),
        ([""], 2, "empty stage"),
        (["--check", "a |"], 2, "empty stage"),
        (["--port", "70000"], 2, "--port: expected a port, 0 to 65535, got '70000'"),
        (["--max-message", "1T"], 2, "--max-message: expected a size"),
        (["--max-message", "1G"], 2, "--max-message: expected a size of 1 to"),
        (["--outbox-limit", "0"], 2, "--outbox-limit: expected a size of 1 byte or more"),
        (["--ping-interval", "-1"], 2, "--ping-interval: expected"),
        (["--ping-interval", "nan"], 2, "--ping-interval: expected a number of seconds"),
        (["--name", "a b"], 2, "--name: expected 1 to 32 letters"),
        (["--prot", "1"], 2, "unknown option --prot; did you mean --port? See fws-pipe --help"),
        (
            ["broadcast", "stdout_log"],
            2,
            "unexpected argument 'stdout_log'; a chain is one argument, in quotes; see fws-pipe --help",
        ),
        (["--list", "--filters-dir"], 2, "not allowed with argument"),
        (["--host", "no.such.host.invalid", "--port", "0"], 5, "can't listen on host 'no.such.host.invalid'"),
        (["--host", "192.0.2.1", "--port", "0"], 5, "this machine has no such address"),
        (["--shell", "/no/such/shell", "--port", "0"], 5, "can't start the chain"),
    ],
)
def test_mistakes_are_told_in_a_line_with_an_exit_code(argv: list[str], code: int, words: str) -> None:
    done = run("fws-pipe", *argv)
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert words in text
    assert text.startswith("fws-pipe: ")
    assert "Traceback" not in text
    # An error in the chain shows the chain, and a caret under the culprit.
    assert len(text.splitlines()) in (1, 3)


def test_no_permission_is_a_line() -> None:
    if os.geteuid() == 0:
        pytest.skip("root may listen on any port")
    done = run("fws-pipe", "--port", "1")
    assert done.returncode == 5
    assert b"ports below 1024 need privileges" in done.stderr


def test_options_come_from_the_environment_and_flags_beat_it(servers: Servers) -> None:
    environment = servers.environment(FWS_NAME="from_environment", FWS_MAX_MESSAGE="10", FWS_PORT="1")
    server = servers.start("--max-message", "20", servers.reporter(), environment=environment)
    with connect(server.url) as client:
        client.send("x" * 20)
        [event] = server.events("message", 1)
    assert event["id"].startswith("from_environment-")
    wrong = servers.start_command("fws-pipe", environment=servers.environment(FWS_PORT="many"))
    assert wrong.wait() == 2
    assert "FWS_PORT: expected a port" in wrong.stderr.text


def test_several_hosts_share_one_port(servers: Servers) -> None:
    server = servers.start("--host", "127.0.0.1", "--host", "127.0.0.2", "mirror")
    line = server.stderr.wait_for("listening on")
    urls = line.split("listening on ")[1].split(", ")
    assert [url.rsplit(":", 1)[0] for url in urls] == ["ws://127.0.0.1", "ws://127.0.0.2"]
    assert len({url.rsplit(":", 1)[1] for url in urls}) == 1
    for url in urls:
        with connect(url) as client:
            client.send("x")
            assert client.recv(30) == "x"


def test_ipv6(servers: Servers) -> None:
    if (
        not Path("/proc/net/if_inet6").exists()
        or "00000000000000000000000000000001" not in Path("/proc/net/if_inet6").read_text()
    ):
        pytest.skip("no IPv6 on this machine")
    server = servers.start("--host", "::1", "mirror")
    assert server.url.startswith("ws://[::1]:")
    with connect(server.url) as client:
        client.send("x")
        assert client.recv(30) == "x"


def test_quiet_says_only_where_it_listens_and_verbose_tells_of_clients(servers: Servers) -> None:
    for flag, count in (("--quiet", 0), ("--verbose", 1)):
        server = servers.start(flag, servers.reporter())
        with connect(server.url):
            server.events("open", 1)
        server.events("disconnect", 1)
        assert server.stop() == 0
        assert len([line for line in server.stderr.lines if "has come from" in line]) == count
        assert len([line for line in server.stderr.lines if "listening on ws://" in line]) == 1
        assert any("stopped" in line for line in server.stderr.lines) == bool(count)


def test_the_log_on_stdout_can_be_piped_and_its_reader_may_go(servers: Servers) -> None:
    server = servers.start_command("/bin/sh", "-c", "exec 3>&2; fws-pipe --port 0 2>&3 | head -n 1")
    url = server.stderr.wait_for("listening on").split("listening on ")[1]
    with connect(url) as alice, connect(url) as bob:
        server.stdout.wait_for("open / from")
        for number in range(5):
            alice.send(str(number))
            assert bob.recv(30) == str(number)
    for pid in servers.processes():
        if b"bin/fws-pipe" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, 15)
    assert server.wait() == 0


def test_a_server_composed_by_hand(servers: Servers) -> None:
    line = "mkfifo back; fws-front --port 0 <back | broadcast | tee events.mp | fws-sink >back"
    server = servers.start_command("/bin/sh", "-c", line)
    with connect(server.url) as alice, connect(server.url) as bob:
        alice.send("hello")
        assert bob.recv(30) == "hello"
    front = next(pid for pid in servers.processes() if b"bin/fws-front" in Path(f"/proc/{pid}/cmdline").read_bytes())
    eventually(
        lambda: shell("fws-cat events.mp", cwd=servers.folder).stdout.count(b"disconnect") == 2, "both have gone"
    )
    os.kill(front, 15)
    assert server.wait() == 0
    recorded = shell("fws-cat events.mp", cwd=servers.folder).stdout
    assert recorded.count(b'"type":"open"') == 2
    # The recording replays through the same filters.
    replayed = shell("cat events.mp | mirror | fws-cat", cwd=servers.folder).stdout
    assert b'"type":"send","to":"' in replayed


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fws-front --port 0 <back | true >back", "the filters behind this front are gone"),
        ("fws-front --port 0 <back | sh -c 'printf hello; cat >/dev/null' >back", "broken frame from stdin, at byte 0"),
    ],
)
def test_a_front_whose_filters_fail_says_so_and_ends(servers: Servers, line: str, words: str) -> None:
    server = servers.start_command("/bin/sh", "-c", f"mkfifo back; {line}")
    server.stderr.wait_for(words)
    server.wait()
    assert "Traceback" not in server.stderr.text


def test_sink_passes_right_actions_and_ticks_and_nothing_else() -> None:
    right: list[Frame] = [
        {"type": "send", "to": "*", "data": "x"},
        {"type": "tick", "seq": 1, "time": 1.0},
        {"type": "join", "id": "a", "group": "g"},
        {"type": "tick", "seq": 2, "time": 1.0},
    ]
    events: list[Frame] = [{"type": "message", "id": "a", "data": "x"}, {"type": "open", "id": "a"}]
    sent: list[Frame] = [right[0], events[0], right[1], events[1], {"type": "close", "to": 1}, *right[2:]]
    done = run("fws-sink", stdin=b"".join(map(encode, sent)))
    assert done.stdout == b"".join(map(encode, right))
    assert done.returncode == 0
    offset = len(b"".join(map(encode, sent[:4])))
    where = f"frame that came through stdin, at byte {offset}"
    assert done.stderr.decode() == f"{where}: close.to: expected an id or a list of ids, got int 1; dropped\n"


@pytest.mark.parametrize(
    ("arguments", "frame"),
    [
        ("send --to '*' --data hi", {"type": "send", "to": "*", "data": "hi"}),
        (
            'send --json \'to=["a","b"]\' --base64 data=AAE=',
            {"type": "send", "to": ["a", "b"], "data": "\x10base64:AAE="},
        ),
        (
            "close --to a --code 4000 --reason 'bye bye'",
            {"type": "close", "to": "a", "code": 4000, "reason": "bye bye"},
        ),
        ("disconnect --id a --seq 9 --json time=1.5", {"type": "disconnect", "seq": 9, "time": 1.5, "id": "a"}),
    ],
)
def test_emit_makes_frames_of_arguments(arguments: str, frame: dict[str, object]) -> None:
    assert json.loads(shell(f"fws-emit {arguments} | fws-cat").stdout) == frame


def test_emit_makes_frames_of_lines() -> None:
    lines = b'{"type":"message","id":"a","data":"x"}\noops\n{"type":"tick"}\n{"id":"a"}\n'
    done = shell("fws-emit | fws-cat", stdin=lines)
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["seq"], first["data"], second["seq"], second["type"]) == (1, "x", 2, "tick")
    wrong, untyped = done.stderr.decode().splitlines()
    assert wrong.startswith("fws-emit: line 2: not JSON")
    assert untyped == "fws-emit: line 4: a frame must have a type; dropped"


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("fws-emit --id a", 2, "expected a type first"),
        ("fws-emit message --id", 2, "expected --FIELD VALUE, got '--id' at the end"),
        ("fws-emit message id a", 2, "expected --FIELD VALUE, got 'id'"),
        ("fws-emit close --code x", 2, "--code: expected a whole number, got 'x'"),
        ("fws-emit send --base64 data=!", 2, "this is not base64"),
        ("fws-emit send --base64 data", 2, "expected --base64 FIELD=VALUE"),
        ("fws-emit send --json to", 2, "expected --json FIELD=VALUE"),
        ("fws-emit send --json to=[", 2, "--json: not JSON"),
        ("fws-cat /no/such/file", 5, "can't read /no/such/file"),
        ("fws-filter", 2, "a MODULE is missing"),
        ("fws-filter ''", 2, "expected a module's dotted name, or a file's path, got ''"),
        ("fws-filter .x", 2, "expected a module's dotted name, or a file's path, got '.x'"),
        ("fws-filter no_such_module", 2, "no module 'no_such_module' here or installed"),
        ("fws-filter ./no-such.py", 2, "no such file: ./no-such.py"),
        ("fws-python /no/such/file", 1, "can't read /no/such/file"),
    ],
)
def test_mistakes_with_the_small_commands(command: str, code: int, words: str) -> None:
    done = shell(command)
    assert done.returncode == code
    assert words in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


@pytest.mark.parametrize("command", ["fws-pipe", "fws-front", "fws-cat", "fws-emit", "fws-filter"])
def test_each_command_has_help(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: {command}".encode())


def test_output_into_a_pipe_that_closes_is_no_error() -> None:
    done = shell("fws-pipe --list | head -c 1; fws-pipe --help | head -c 1")
    assert (done.stdout, done.stderr) == (b"bu", b"")


@pytest.mark.slow
def test_pip_install_gives_the_same_from_anywhere(servers: Servers) -> None:
    """A wheel in an environment of its own: commands, filters inside, nothing loose in its bin."""
    root = FILTERS.parent
    environment = servers.folder / "venv"
    venv.create(environment)
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python")]  # its own takes long to make
    subprocess.run([*pip, "install", "--quiet", str(root)], check=True, capture_output=True)
    installed = {path.name for path in (environment / "bin").iterdir()}
    assert {"fws-pipe", "fws-front", "fws-sink", "fws-cat", "fws-emit", "fws-filter", "fws-python"} <= installed
    assert installed.isdisjoint(path.name for path in FILTERS.iterdir())
    plain = {name: value for name, value in servers.environment().items() if name not in ("PATH", "VIRTUAL_ENV")}
    server = servers.start_command(
        str(environment / "bin" / "fws-pipe"), "--port", "0", environment={**plain, "PATH": os.defpath}
    )
    with connect(server.url) as alice, connect(server.url) as bob:
        alice.send("hello")
        assert bob.recv(30) == "hello"
    assert server.stop() == 0
    share = environment / "share"
    assert {page.stem for page in (share / "man" / "man1").iterdir()} == set(PROJECT["scripts"])
    for place in ("bash-completion/completions/fws-pipe", "zsh/site-functions/_fws-pipe"):
        assert "fws-pipe --completion" in (share / place).read_text()
    assert "fws-pipe --completion" in (share / "fish/vendor_completions.d/fws-pipe.fish").read_text()
    folder = subprocess.run([environment / "bin" / "fws-pipe", "--filters-dir"], capture_output=True, check=True)
    assert folder.stdout.decode().startswith(str(environment))
    assert os.access(Path(folder.stdout.decode().strip()) / "examples" / "room.sh", os.X_OK)


def test_a_filter_that_asks_for_python3_can_import_the_sdk(servers: Servers) -> None:
    """A newcomer's first line; no environment is active."""
    filter_text = "#!/usr/bin/env python3\nfrom fws_pipe.sdk import on, run, send\n"
    filter_text += "@on('message')\ndef shout(event):\n    yield send(event['id'], event['data'].upper())\nrun()\n"
    plain = {name: value for name, value in servers.environment().items() if name != "VIRTUAL_ENV"}
    bare = os.pathsep.join(part for part in plain["PATH"].split(os.pathsep) if part != str(Path(sys.executable).parent))
    server = servers.start(servers.script("shout", filter_text), environment={**plain, "PATH": bare})
    with connect(server.url) as client:
        client.send("hello")
        assert client.recv(30) == "HELLO"


def test_what_a_killed_server_left_in_tmp_goes_with_the_next_start(servers: Servers) -> None:
    place = servers.folder / "tmp"
    place.mkdir()
    environment = servers.environment(TMPDIR=str(place))
    killed, living = (servers.start("mirror", environment=environment) for _ in range(2))
    assert killed.port
    assert living.port
    before = set(place.iterdir())
    assert len(before) == 2
    killed.process.kill()
    killed.wait()
    server = servers.start("mirror", environment=environment)
    assert server.port
    after = set(place.iterdir())
    assert len(after) == 2
    assert len(after & before) == 1
    assert living.stop() == server.stop() == 0
    assert list(place.iterdir()) == []


def test_a_database_that_cannot_be_is_told_at_the_start(servers: Servers) -> None:
    server = servers.start("--storage", "sqlite:/nonexistent/x.db", "mirror")
    assert server.wait() == 5
    (line,) = server.stderr.lines
    assert line.startswith("fws-pipe: can't use the SQLite file '/nonexistent/x.db': unable to open")


def test_commands_are_on_path() -> None:
    assert shutil.which("fws-python", path=COMMAND_PATH)


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_the_chain_is_cut_as_its_shell_cuts_it() -> None:
    chain = r"printf $'it\'s | ' | cat"
    done = run("fws-pipe", "--shell", str(shutil.which("bash")), "--check", chain)
    assert [line.split()[0] for line in done.stdout.decode().splitlines()] == ["1", "2"]
    dash = shutil.which("dash")
    if dash is not None:
        done = run("fws-pipe", "--shell", dash, "--check", chain)
        assert done.returncode == 2
        assert b"quote `'` is never closed" in done.stderr
