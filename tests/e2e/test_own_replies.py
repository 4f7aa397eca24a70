"""A client that reads the replies to its own messages slowly is held back: it hears them all, and what others send."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from websockets.sync.client import connect

from fws_pipe.websocket.rfc6455 import encode_message
from tests.e2e.raw import RawClient, frame, split_replies
from tests.harness import Servers

# Each message comes back so many times as long; what begins with "all" goes to everybody.
LONGER = """\
#!/usr/bin/env fws-python
from fws_pipe.sdk import on, run, send

@on("message")
def answer(event):
    if event["data"].startswith("all"):
        send("*", event["data"])
    else:
        send(event["id"], event["data"] + "." * (len(event["data"]) * {more}))

run()
"""


@contextmanager
def talking(client: RawClient, messages: bytes) -> Iterator[None]:
    """Send beside, since a client that is held back can't be sent all of it at once."""
    thread = threading.Thread(target=client.send, args=(messages,))
    thread.start()
    yield
    thread.join(30)
    assert not thread.is_alive()


def numbered(count: int, size: int) -> list[bytes]:
    return [str(number).encode().ljust(size, b"x") for number in range(count)]


def read_messages(client: RawClient, count: int) -> list[bytes]:
    """Read to the last of so many messages."""
    stream = b""
    messages: list[bytes] = []
    while len(messages) < count:
        block = client.socket.recv(65536)
        assert block, "the server has closed a client that reads"
        stream += block
        for reply in split_replies(stream):
            assert reply.first == 0x81, reply
            messages.append(reply.payload)
            stream = stream[len(encode_message(reply.payload)) :]
    return messages


@pytest.mark.parametrize("policy", ["close", "drop-oldest", "drop-newest"])
@pytest.mark.parametrize(
    ("more", "size", "count"), [(0, 124, 30_000), (9, 126, 4_000), (99, 100, 500), (9, 65_536, 12)]
)
def test_a_client_that_reads_its_own_replies_slowly_hears_them_all(
    servers: Servers, policy: str, more: int, size: int, count: int
) -> None:
    script = servers.script("longer.py", LONGER.format(more=more))
    server = servers.start("--outbox-limit", "64K", "--slow-client", policy, "--ping-interval", "0", script)
    messages = numbered(count, size)
    with RawClient(server.port, receive_buffer=4096) as client, connect(server.url) as other:
        client.upgrade()
        with talking(client, b"".join(map(frame, messages))):
            # It reads nothing before another one has said something, by when its own replies wait.
            other.send("all that others say")
            assert other.recv(30) == "all that others say"
            heard = read_messages(client, count + 1)
    heard.remove(b"all that others say")
    assert [text.rstrip(b".") for text in heard] == messages
    assert server.stop() == 0
    assert "slow" not in server.stderr.text
