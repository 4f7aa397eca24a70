"""What people do to a server and its filters without meaning harm; each was once a traceback, or silence."""

from __future__ import annotations

import os
import signal

import pytest
from websockets.exceptions import ConnectionClosedOK
from websockets.sync.client import connect

from tests.e2e.raw import RawClient
from tests.e2e.test_chain import stage_of
from tests.harness import Servers, eventually, run, shell

HEAD = "#!/usr/bin/env fws-python\nfrom fws_pipe.sdk import *\n"


def test_a_stage_killed_by_a_signal_without_a_name(servers: Servers) -> None:
    server = servers.start("cat | mirror")
    with connect(server.url) as client:
        os.kill(stage_of(server.pid, "cat"), 35)
        server.stderr.wait_for("was killed by signal 35; the chain starts again")
        client.send("x")
        assert client.recv(30) == "x"


def test_what_is_printed_before_run_and_by_programs_goes_to_the_servers_stdout(servers: Servers) -> None:
    chatty = servers.script(
        "chatty",
        "#!/usr/bin/env fws-python\nimport subprocess\nfrom fws_pipe.sdk import on, run, send\n"
        "print('starting up')\n"
        "@on('message')\n"
        "def reply(event):\n"
        "    subprocess.run(['sh', '-c', 'cat; echo from a program'])\n"
        "    send(event['id'], event['data'])\n"
        "run()\n",
    )
    server = servers.start(chatty)
    with connect(server.url) as client:
        for number in range(3):
            client.send(str(number))
        assert [client.recv(30) for _ in range(3)] == ["0", "1", "2"]
    assert server.stop() == 0
    assert server.stdout.lines == ["starting up"] + ["from a program"] * 3


def test_a_print_survives_the_end_of_who_reads_the_log(servers: Servers) -> None:
    printing = servers.script(
        "printing", HEAD + "@on('message')\ndef show(event):\n    print('saw it')\n    send(event['id'], 'ok')\nrun()\n"
    )
    server = servers.start_command("/bin/sh", "-c", f"exec 3>&2; fws-pipe --port 0 {printing} 2>&3 | head -n 1")
    url = server.stderr.wait_for("listening on").split("listening on ")[1]
    with connect(url) as client:
        for _ in range(5):
            client.send("x")
            assert client.recv(30) == "ok"
    servers.interrupt("fws-pipe")
    server.wait()
    assert "starts again" not in server.stderr.text


def test_a_broken_pipe_of_the_filters_own_is_a_failure_like_any_other(servers: Servers) -> None:
    own = servers.script("own", HEAD + "@on('message')\ndef f(e):\n    raise BrokenPipeError\nrun()\n")
    done = run(str(servers.folder / own), stdin=b"\x83\xa4type\xa7message\xa2id\xa1a\xa4data\xa1x")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(b"BrokenPipeError")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("@on('message')\nasync def f(event):\n    pass\nrun()\n", "f: a handler is a plain function or a generator"),
        ("@on('message')\nasync def f(event):\n    yield\nrun()\n", "f: a handler is a plain function or a generator"),
        ("@on('message')\ndef f(event):\n    return 'text'\nrun()\n", "or DROP, got 'text'"),
    ],
)
def test_handlers_that_cannot_work_are_told(servers: Servers, body: str, words: str) -> None:
    filter_path = str(servers.folder / servers.script("f", HEAD + body))
    done = run(filter_path, stdin=b"\x83\xa4type\xa7message\xa2id\xa1a\xa4data\xa1x")
    assert done.returncode == 1
    assert words in done.stderr.decode()


def test_a_handler_may_return_the_event(servers: Servers) -> None:
    upper = servers.script(
        "upper",
        HEAD + "@on('message')\ndef f(event):\n    event['data'] = event['data'].upper()\n    return event\nrun()\n",
    )
    server = servers.start(f"{upper} | mirror")
    with connect(server.url) as client:
        for message in ("a", "b"):
            client.send(message)
            assert client.recv(30) == message.upper()


def test_threads_and_what_comes_before_run_may_send(servers: Servers) -> None:
    clock = servers.script(
        "clock",
        "#!/usr/bin/env fws-python\nimport threading\nfrom fws_pipe.sdk import enqueue, on, run, send\n"
        "enqueue('from before run')\n"
        "asked = threading.Event()\n"
        "def chime():\n"
        "    asked.wait()\n"
        "    send('*', 'from a thread')\n"
        "threading.Thread(target=chime, daemon=True).start()\n"
        "@on('message')\n"
        "def ask(event):\n"
        "    asked.set()\n"
        "run()\n",
    )
    server = servers.start(f"{clock} | stdout_pubsub")
    server.stdout.wait_for("=> from before run")
    with connect(server.url) as client:
        client.send("go")
        assert client.recv(30) == "from a thread"


def test_events_without_their_fields_pass_on_unhandled() -> None:
    done = shell("fws-emit message --data hello | broadcast | fws-cat")
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b"frame from stdin: message.id: is missing; such events pass on unhandled\n"
    assert b"channel: is missing" in shell("fws-emit consumer --data x | stdout_pubsub | fws-cat").stderr


def test_hosted_modules_may_end_with_run(servers: Servers) -> None:
    for name, word in (("one.py", "one"), ("two.py", "two")):
        servers.script(name, HEAD + f"@on('message')\ndef f(event):\n    send(event['id'], '{word}')\nrun()\n")
    server = servers.start("fws-filter ./one.py ./two.py")
    with connect(server.url) as client:
        client.send("x")
        assert [client.recv(30), client.recv(30)] == ["one", "two"]


def test_a_script_does_not_inherit_the_launchers_future(servers: Servers) -> None:
    script = servers.script("f", "#!/usr/bin/env fws-python\ndef f(x: int): ...\nprint(f.__annotations__)\n")
    assert run(str(servers.folder / script)).stdout == b"{'x': <class 'int'>}\n"


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("fws-pipe 'broadcast\\'", 2, "No escaped character in"),
        (f"fws-pipe {'x' * 300}", 2, "no such filter"),
        ("fws-pipe --port 0 --host a..b", 5, "can't listen on host 'a..b'"),
        (f"fws-pipe --port 0 --host {'a' * 70}", 5, "is the name right?"),
        ("fws-pipe --port 0 --shell /nope", 5, "can't start the chain with /nope"),
        ("fws-cat /tmp", 5, "can't read from /tmp: Is a directory"),
        ("fws-emit message --id a >/dev/full", 5, "can't write: No space left on device"),
        ("fws-pipe --list >/dev/full", 5, "No space left on device"),
        ("fws-emit message --seq 99999999999999999999999", 2, "the frame has no msgpack form"),
    ],
)
def test_one_line_and_an_exit_code(command: str, code: int, words: str) -> None:
    done = shell(command)
    assert done.returncode == code
    assert words in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
def test_a_server_without_standard_descriptors(servers: Servers, closed: str) -> None:
    server = servers.start_command("/bin/sh", "-c", f"exec fws-pipe --port 0 'mirror | stdout_log' {closed}")
    with connect(server.url) as client:
        for _ in range(3):
            client.send("x")
            assert client.recv(30) == "x"
    assert server.stop() == 0
    assert "starts again" not in server.stderr.text


@pytest.mark.parametrize(
    "command", ["fws-pipe --list >&-", "fws-cat <&-", "fws-emit message --id a >&-", "fws-sink <&- >&-"]
)
def test_small_commands_without_standard_descriptors(command: str) -> None:
    done = shell(command)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupt_of_the_line_by_hand_is_no_error(servers: Servers) -> None:
    line = "mkfifo back; fws-front --port 0 <back | cat | fws-sink >back; true"
    server = servers.start_command("/bin/sh", "-c", line)
    with connect(server.url) as client:
        # A terminal interrupts all of them, in no particular order; the filters first is the worst.
        for command in ("cat", "fws-sink", "fws-front"):
            servers.interrupt(command)
        with pytest.raises(ConnectionClosedOK, match="1001"):
            client.recv(30)
    server.wait()
    assert "gone" not in server.stderr.text
    assert "Traceback" not in server.stderr.text


def test_descriptors_limit_the_clients(servers: Servers) -> None:
    server = servers.start_command("/bin/sh", "-c", "ulimit -n 100; exec fws-pipe --port 0 mirror")
    server.stderr.wait_for("open files allows 15 clients and 5 handshakes")
    clients = [RawClient(server.port) for _ in range(15)]
    try:
        for client in clients:
            client.upgrade()
        os.kill(stage_of(server.pid, "mirror"), signal.SIGKILL)
        server.stderr.wait_for("the chain serves again")
    finally:
        for client in clients:
            client.socket.close()
    assert server.stop() == 0


def test_what_a_stage_has_started_may_finish_its_work(servers: Servers) -> None:
    finishing = servers.script("finishing", "#!/bin/sh\n( cat >tmp; sleep 1.5; mv tmp done ) &\nexec cat\n")
    server = servers.start(f"mirror | {finishing}")
    assert server.port
    assert server.stop() == 0
    eventually((servers.folder / "done").exists, "what the stage has started has finished")


def test_a_quarantine_that_is_no_folder_is_told_at_the_start(servers: Servers) -> None:
    (servers.folder / "full").write_text("a file, where a folder would be needed")
    result = shell("fws-pipe --port 0 --quarantine full mirror", cwd=servers.folder)
    assert (result.returncode, result.stderr.decode()) == (
        2, "fws-pipe: --quarantine full: it is not a folder\n"
    )  # fmt: skip


def test_a_program_of_text_as_a_stage_is_sent_to_an_adapter(servers: Servers) -> None:
    count = servers.script("count.sh", "#!/bin/sh\necho 1\ncat >/dev/null\n")
    server = servers.start_command("fws-pipe", "--port", "0", count)
    assert server.wait() == 3
    mend = f'a program that writes text runs under an adapter: "per_client {count}"?'
    assert f"got text that begins with '1'; {mend}" in server.stderr.text


@pytest.mark.parametrize(
    ("chain", "stage", "mend"),
    [
        ("to_json | jq -c . | from_json", 'stage 2 "jq"', "give jq the option --unbuffered"),
        ("cat | sort | cat", 'stage 2 "sort"', "if it works on lines of text, run it under an adapter"),
    ],
)
def test_a_stage_that_keeps_the_first_tick_is_named_with_its_cure(
    servers: Servers, chain: str, stage: str, mend: str
) -> None:
    server = servers.start_command("fws-pipe", "--port", "0", chain)
    server.stderr.wait_for(f"the chain does not serve yet: {stage} has read its input and passes no tick on; {mend}")
    assert "listening" not in server.stderr.text
    assert server.stop() == 0


@pytest.mark.slow  # a chain has ten seconds for its first tick
def test_a_chain_that_answers_nothing_is_not_said_to_serve_and_the_cure_is_the_last_word(servers: Servers) -> None:
    """It may work all the same, so it serves (promise 5); a filter that was only slow is told of when it answers."""
    deaf = servers.script("deaf.sh", "#!/bin/sh\nuntil test -e go; do echo noise >&2; sleep 1; done\nexec cat\n")
    calculator = servers.script("calculator", "#!/bin/sh\nexec tr -d x\n")
    slow = servers.start_command("fws-pipe", "--port", "0", deaf)
    server = servers.start_command("fws-pipe", "--port", "0", calculator)
    server.stderr.wait_for("no tick has come back within 10 s")
    last = server.stderr.wait_for("listening on ")
    assert ", although the chain has answered nothing yet: stage " in last
    assert "run it under an adapter" in last
    assert ", although the chain has answered nothing yet" in slow.stderr.wait_for("listening on ")
    (servers.folder / "go").touch()
    slow.stderr.wait_for("the chain has returned its first tick: it answers")
    assert [server.stop(), slow.stop()] == [0, 0]


def test_a_script_with_windows_line_ends_is_named_before_anything_starts(servers: Servers) -> None:
    script = servers.script("dos.sh", "#!/bin/sh\r\ncat\r\n")
    server = servers.start_command("fws-pipe", "--port", "0", script)
    assert server.wait() == 2
    assert "its lines end with CR LF, as on Windows" in server.stderr.text


def test_forgotten_quotes_are_guessed(servers: Servers) -> None:
    server = servers.start_command("/bin/sh", "-c", "exec 3>&2; fws-pipe --port 0 mirror 2>&3 | true")
    server.stderr.wait_for("stdout has no reader")
    servers.interrupt("fws-pipe")
    server.wait()


def test_the_default_chain_is_said(servers: Servers) -> None:
    servers.start().stderr.wait_for('no chain was given: the default is "broadcast . stdout_log"')
