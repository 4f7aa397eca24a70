"""Clients that hold back, vanish, flood or crowd: each was once a way to make others pay."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import time

from websockets.sync.client import connect

from tests.e2e.raw import CLOSE, PING, RawClient, frame, request
from tests.e2e.test_chain import stage_of
from tests.harness import Servers, shell


def hold_back(client: RawClient) -> None:
    """Send to a mirror, read nothing, until the server reads no more."""
    client.upgrade()
    client.socket.settimeout(0.5)
    message = frame(b"x" * 50_000)
    try:
        while True:
            client.socket.sendall(message)
    except TimeoutError:
        pass


def test_a_client_that_is_held_back_and_vanishes_is_noticed(servers: Servers) -> None:
    server = servers.start("--verbose", "mirror")
    with RawClient(server.port, receive_buffer=4096) as client:
        hold_back(client)
        client.reset()
        server.stderr.wait_for("has gone: 1006")
    # Nothing of it is left that the end would have to wait for.
    assert server.stop() == 0
    assert "SIGTERM for" not in server.stderr.text


def test_a_client_that_is_held_back_and_never_reads_is_closed_by_keep_alive(servers: Servers) -> None:
    server = servers.start("--ping-interval", "0.3", "--ping-timeout", "0.3", "--verbose", "mirror")
    with RawClient(server.port, receive_buffer=4096) as client:
        hold_back(client)
        server.stderr.wait_for("has gone: 1011 'no sign of life")


def test_a_close_that_waits_behind_what_the_client_does_not_read_ends_in_time(servers: Servers) -> None:
    flood = servers.script(
        "flood",
        "#!/usr/bin/env fws-python\n"
        "from fws_pipe.sdk import on, run, send\n"
        "@on('message')\n"
        "def flood(event):\n"
        "    for _ in range(100):\n"
        "        send(event['id'], 'x' * 65536)\n"
        "run()\n",
    )
    server = servers.start("--outbox-limit", "16M", "--verbose", flood)
    with RawClient(server.port, receive_buffer=4096) as client:
        client.upgrade()
        client.send(frame(b"go"))
        # Until its replies fill the kernel's buffers.
        client.read(1)
        client.send(frame(struct.pack("!H", 1000), CLOSE))
        server.stderr.wait_for("has gone")
    assert server.stop() == 0


def test_no_more_enter_at_once_than_there_is_room_for(servers: Servers) -> None:
    server = servers.start("--max-clients", "2", "mirror")
    clients = [RawClient(server.port) for _ in range(12)]
    try:
        for client in clients:
            client.send(request(server.port))
        heads = [client.socket.recv(12) for client in clients]
        assert sorted(heads) == [b"HTTP/1.1 101"] * 2 + [b"HTTP/1.1 503"] * 10
    finally:
        for client in clients:
            client.socket.close()


def test_an_event_that_kills_the_chain_does_not_pass_for_a_chain_that_cannot_start(servers: Servers) -> None:
    fragile = servers.script(
        "fragile",
        "#!/usr/bin/env fws-python\n"
        "import sys\n"
        "from fws_pipe.sdk import on, run, send\n"
        "@on('message')\n"
        "def check(event):\n"
        "    if event['data'] == 'boom':\n"
        "        sys.exit(9)\n"
        "    send(event['id'], 'alive')\n"
        "run()\n",
    )
    server = servers.start(fragile)
    with connect(server.url) as innocent, connect(server.url) as hostile:
        for number in range(1, 8):
            hostile.send("boom")
            server.stderr.wait_for("exited with status 9", count=number)
        server.stderr.wait_for("the chain serves again", count=7)
        innocent.send("x")
        assert innocent.recv(30) == "alive"
    assert server.stop() == 0


def test_a_flood_of_pongs_does_not_stop_the_others(servers: Servers) -> None:
    server = servers.start("mirror")
    pongs = frame(b"", 10) * 20_000
    with RawClient(server.port) as flooder, connect(server.url) as other:
        flooder.upgrade()
        flooder.socket.settimeout(0)
        trips = 0
        sent = 0
        while trips < 20:
            try:
                sent += flooder.socket.send(pongs[sent % 6 :])
            except BlockingIOError:
                pass
            other.send("x")
            assert other.recv(30) == "x"
            trips += 1


def test_bytes_that_arrive_while_the_chain_is_down_are_tapped(servers: Servers) -> None:
    server = servers.start("stdout_rawdata | stdout_log | mirror")
    with connect(server.url) as client:
        for number in range(1, 4):
            os.kill(stage_of(server.pid, "mirror"), signal.SIGKILL)
            client.send(f"gap {number}")
            server.stderr.wait_for("the chain serves again", count=number)
            client.send(f"mark {number}")
            server.stdout.wait_for(f"=> mark {number}")
    assert server.stop() == 0
    assert len([line for line in server.stdout.lines if " raw " in line]) >= len(
        [line for line in server.stdout.lines if "=> gap" in line or "=> mark" in line]
    )


def test_a_hurried_end_does_not_wait_for_a_chain_that_hangs(servers: Servers) -> None:
    hung = servers.script("hung", "#!/bin/sh\nhead -c 30\nexec sleep 1000\n")
    server = servers.start("--drain-timeout", "1000", f"{hung} | mirror")
    with RawClient(server.port) as client:
        client.send(request(server.port))
        server.signal(signal.SIGTERM)
        server.stderr.wait_for("SIGTERM: draining")
        server.signal(signal.SIGTERM)
        assert server.wait() == 6
    assert re.search(r"stopped with [12] events that the chain has not finished", server.stderr.text)


def test_a_client_that_ignores_its_close_leaves_the_chain_time_to_finish(servers: Servers) -> None:
    finisher = servers.script(
        "finisher",
        "#!/usr/bin/env fws-python\n"
        "import atexit, os\n"
        "from fws_pipe.sdk import on, run\n"
        "atexit.register(lambda: os.write(2, b'finished in peace\\n'))\n"
        "run()\n",
    )
    server = servers.start("--drain-timeout", "3", finisher)
    with RawClient(server.port) as rude:
        rude.upgrade()
        assert server.stop() == 0
    assert "finished in peace" in server.stderr.text
    assert "SIGTERM for" not in server.stderr.text


def test_frames_of_odd_types_and_depths_do_not_kill_the_sink(servers: Servers) -> None:
    odd = servers.script(
        "odd",
        "#!/usr/bin/env fws-python\n"
        "from fws_pipe.pipes.blocks import BlockWriter, frames_of_blocks\n"
        "from fws_pipe.protocol.codec import encode\n"
        "deep = b'\\x82\\xa4type\\xa4send\\xa2to' + b'\\x91' * 900 + b'\\x01'\n"
        "out = BlockWriter()\n"
        "for frame, raw in frames_of_blocks('stdin', out.flush):\n"
        "    out.add(raw)\n"
        "    if frame['type'] == 'message':\n"
        "        out.add(encode({'type': [1]}) + encode({'type': {'a': 1}}) + deep)\n"
        "        out.add(encode({'type': 'send', 'to': frame['id'], 'data': 'ok'}))\n"
        "out.flush()\n",
    )
    server = servers.start(odd)
    with connect(server.url) as client:
        client.send("x")
        assert client.recv(30) == "ok"
    assert server.stop() == 0
    assert "Traceback" not in server.stderr.text
    assert "starts again" not in server.stderr.text


def test_a_clients_reason_cannot_forge_lines_of_the_log(servers: Servers) -> None:
    server = servers.start("--verbose", "mirror")
    with RawClient(server.port) as client:
        client.upgrade()
        client.send(frame(struct.pack("!H", 1000) + b"x\nfws-pipe: forged \x1b[31m", CLOSE))
        client.read_to_end()
    server.stderr.wait_for(re.escape(r"has gone: 1000 'x\nfws-pipe: forged \x1b[31m'"))


def test_an_empty_offer_of_subprotocols_is_no_choice(servers: Servers) -> None:
    server = servers.start("mirror")
    with RawClient(server.port) as client:
        client.send(request(server.port, "Sec-WebSocket-Protocol: ,"))
        assert b"sec-websocket-protocol" not in client.socket.recv(4096).lower()


def test_a_front_whose_filters_go_closes_its_clients(servers: Servers) -> None:
    server = servers.start_command("/bin/sh", "-c", "mkfifo back; fws-front --port 0 <back | cat | fws-sink >back")
    with RawClient(server.port) as client:
        client.upgrade()
        cat = next(pid for pid in servers.processes() if b"cat" in _command_line(pid).split(b"\0")[:1])
        os.kill(cat, signal.SIGKILL)
        assert client.read_close_code() == 1011
    server.wait()


def _command_line(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def test_a_slow_reader_that_reads_lives(servers: Servers) -> None:
    server = servers.start("--ping-interval", "0.4", "--ping-timeout", "0.4", "--outbox-limit", "8M", "broadcast")
    with RawClient(server.port, receive_buffer=4096) as slow, connect(server.url, max_queue=None) as sender:
        slow.upgrade()
        count = 600
        for number in range(count):
            sender.send(f"{number:03d}" + "x" * 9997)
        slow.socket.settimeout(30)
        received = bytearray()
        expected = count * 10_004
        # It reads at its own pace, for far longer than interval and timeout, and answers no ping.
        for _ in range(150):
            received += slow.socket.recv(100_000)
            time.sleep(0.02)
        while len(received) < expected:
            block = slow.socket.recv(1 << 20)
            assert block, "the server has given up a client that reads"
            received += block
            slow.send(frame(b"", 10))
        assert bytes(received).replace(b"\x89\x00", b"").count(b"\x81\x7e\x27\x10") == count


def test_connections_that_say_nothing_use_up_no_descriptors(servers: Servers) -> None:
    line = "ulimit -n 100; exec fws-pipe --port 0 --handshake-timeout 0.2 mirror"
    server = servers.start_command("/bin/sh", "-c", line)
    with connect(server.url) as client:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(120)]
        try:
            client.send("x")
            assert client.recv(30) == "x"
            # It waits in the kernel's queue behind those that say nothing, five of whom are let in at a time.
            with connect(server.url, open_timeout=30) as another:
                another.send("y")
                assert another.recv(30) == "y"
            for sock in idle:
                sock.settimeout(30)
                assert sock.recv(1000).startswith(b"HTTP/1.1 408 ")
        finally:
            for sock in idle:
                sock.close()
    assert server.stop() == 0
    assert "can't accept" not in server.stderr.text
    counted = server.stderr.wait_for("counted")
    assert "refused 408: 120" in counted
    assert "accepting paused" in counted


def test_what_comes_behind_our_close_is_taken_once(servers: Servers) -> None:
    """A message in two reads and a header that announces too much: it used to come again with each further read."""
    closer = servers.script(
        "closer",
        "#!/usr/bin/env fws-python\n"
        "from fws_pipe.sdk import close, on, run\n"
        "@on('message')\n"
        "def said(event):\n"
        "    close(event['id'], 4000, 'enough')\n"
        "run()\n",
    )
    server = servers.start(f"{servers.reporter()} | {closer}")
    with RawClient(server.port) as client:
        client.upgrade()
        client.send(frame(b"first"))
        assert client.read(10)[:1] == b"\x88"
        again = frame(b"again")
        client.send(again[:4])
        client.send(again[4:] + b"\x82\xff" + (50 << 20).to_bytes(8, "big") + bytes(4))
        for _ in range(20):
            try:
                client.send(b"x" * 1000)
            except OSError:
                break
        [gone] = server.events("disconnect", 1)
    assert gone["code"] == 4000
    assert server.stop() == 0
    said = [line for line in server.stdout.lines if '"type": "message"' in line]
    assert len(said) in (1, 2)


def test_what_a_client_sends_cannot_act_on_a_terminal(servers: Servers) -> None:
    repeater = servers.script(
        "repeater",
        "#!/usr/bin/env fws-python\n"
        "import sys\n"
        "from fws_pipe.sdk import on, run\n"
        '@on("message")\n'
        "def repeat(event):\n"
        '    print("repeated:\\t" + event["data"], file=sys.stderr, flush=True)\n'
        "run()\n",
    )
    coloured = r"""sh -c 'printf "\033[1mmine\033[0m\n" >&"$FWS_STDOUT_FD"; exec cat'"""
    server = servers.start(
        "-v", f"{repeater} | stdout_log | publish 'a\u202eb' | stdout_pubsub | tee events.mp | {coloured}"
    )
    text = "\x1b[2J\r\x9b31m\u202e\u2066\u2028\x7f é 今日は"
    escaped = r"\x1b[2J\r\x9b31m\u202e\u2066\u2028\x7f é 今日は"
    with connect(server.url + "/%1b") as client:
        client.send(text)
        server.stdout.wait_for(re.escape(f"=> '{escaped}'"))
        server.stderr.wait_for(re.escape(f"repeated:\t{escaped}"))
        server.stdout.wait_for(re.escape(rf"a\u202eb => '{escaped}'"))
        client.close(3000, "\x1b\u202e")
        server.stderr.wait_for(r"has gone: 3000 '\\x1b\\u202e'")
    server.stdout.wait_for(r"disconnect 3000 '\\x1b\\u202e'")
    server.stdout.wait_for("\x1b\\[1mmine")
    assert server.stop() == 0
    shown = [*server.stderr.lines, *(line for line in server.stdout.lines if "mine" not in line)]
    assert all(line.replace("\t", "").isprintable() for line in shown)
    recorded = shell("fws-cat events.mp", cwd=servers.folder).stdout.decode()
    assert recorded.replace("\n", "").isprintable()
    assert r"\u001b[2J\r\u009b31m\u202e\u2066\u2028\u007f é 今日は" in recorded
    assert shell("fws-cat events.mp | fws-emit | fws-cat", cwd=servers.folder).stdout.decode() == recorded


def test_a_client_that_is_held_back_and_resets_costs_nobody_else(servers: Servers) -> None:
    """What fills its share comes first, then a ping, whose pong finds the connection gone, and a frame behind that."""
    server = servers.start("cat")
    first = RawClient(server.port)
    first.upgrade()  # so that the chain runs
    first.reset()
    stage = stage_of(server.pid, "cat")
    os.kill(stage, signal.SIGSTOP)
    for behind in (frame(b"ab", first=0x01), frame(b"", first=0xFF), frame(b"\x03", opcode=CLOSE)):
        client = RawClient(server.port)
        client.upgrade()
        client.send(frame(b"abc") * 1200 + frame(b"x", opcode=PING) + behind)
        time.sleep(0.2)  # not for an event: that the server has read it shows nowhere while the chain stands still
        client.reset()
    os.kill(stage, signal.SIGCONT)
    with connect(server.url):
        assert server.stop() == 0
    assert "an error in the server itself" not in server.stderr.text
