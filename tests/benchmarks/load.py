"""Loads a WebSocket server on loopback and checks by content that what came back is right. Standard library only.

The client shares the machine with the server, so it is cheap: frames are encoded once, blocks are received into one
buffer and compared there.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

RECEIVE_BYTES = 1 << 18
PATIENCE_S = 30.0
WINDOW = 64
END = b"."
ROOT = Path(__file__).resolve().parent.parent.parent


def client_frame(payload: bytes, opcode: int = 1) -> bytes:
    """A masked text frame, or another kind, the mask applied."""
    size = len(payload)
    mask = os.urandom(4)
    stretched = (mask * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")).to_bytes(size, "big")
    return _head(size, 0x80, opcode) + mask + masked


def server_frame(payload: bytes) -> bytes:
    """The same message as a server writes it."""
    return _head(len(payload), 0) + payload


def _head(size: int, masked: int, opcode: int = 1) -> bytes:
    if size < 126:
        return bytes([0x80 | opcode, masked | size])
    if size < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, masked | 126, size)
    return struct.pack("!BBQ", 0x80 | opcode, masked | 127, size)


def joined_payload(stream: bytearray) -> bytes:
    """What a server's text frames carry, joined; of the last one perhaps only a part has come."""
    parts, position = [], 0
    while position + 2 <= len(stream):
        if stream[position] not in (0x00, 0x01, 0x80, 0x81):
            raise ValueError(f"a frame that carries no text: {bytes(stream[position : position + 16])!r}")
        size = stream[position + 1]
        position += 2
        for mark, width in ((126, 2), (127, 8)):
            if size == mark:
                size = int.from_bytes(stream[position : position + width], "big")
                position += width
                break
        parts.append(bytes(stream[position : position + size]))
        position += size
    return b"".join(parts)


def _request(port: int) -> bytes:
    return (
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


@contextmanager
def open_clients(
    port: int, count: int, window: int = WINDOW, receive_buffer: int | None = None
) -> Iterator[list[socket.socket]]:
    """So many open WebSockets, as bare sockets that don't block, opened `window` at a time, closed at the end.

    `receive_buffer`: how many bytes the kernel takes for one that doesn't read them; as it likes, unless given.
    """
    request = _request(port)
    opened: list[socket.socket] = []
    under_way: dict[int, tuple[socket.socket, bytearray]] = {}
    try:
        with select.epoll() as poll:

            def begin() -> None:
                sock = socket.socket()
                under_way[sock.fileno()] = sock, bytearray()
                if receive_buffer is not None:  # before it connects: that is when the window is agreed upon
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
                sock.settimeout(PATIENCE_S)
                sock.connect(("127.0.0.1", port))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.sendall(request)
                sock.setblocking(False)
                poll.register(sock.fileno(), select.EPOLLIN)

            for _ in range(min(window, count)):
                begin()
            while under_way:
                for descriptor in _ready(poll, "handshakes"):
                    sock, head = under_way[descriptor]
                    head += sock.recv(RECEIVE_BYTES) or _ended(head)
                    if not head.endswith(b"\r\n\r\n"):
                        continue
                    if b" 101 " not in head.split(b"\r\n")[0]:
                        raise ConnectionError(f"no upgrade: {bytes(head)!r}")
                    poll.unregister(descriptor)
                    opened.append(under_way.pop(descriptor)[0])
                    if len(opened) + len(under_way) < count:
                        begin()
        yield opened
    finally:
        for sock in [*opened, *(sock for sock, _ in under_way.values())]:
            sock.close()


@contextmanager
def open_client(port: int) -> Iterator[socket.socket]:
    """One client, which blocks, and gives up after PATIENCE_S with a BlockingIOError."""
    with open_clients(port, 1) as [client]:
        client.setblocking(True)  # a timeout of Python's would cost a poll for each block
        for side in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            client.setsockopt(socket.SOL_SOCKET, side, struct.pack("ll", int(PATIENCE_S), 0))
        yield client


def _ready(poll: select.epoll, waiting: str) -> list[int]:
    ready = poll.poll(PATIENCE_S)
    if not ready:
        raise TimeoutError(f"nothing comes, but {waiting} wait")
    return [descriptor for descriptor, _ in ready]


def _ended(received: bytearray) -> bytes:
    raise ConnectionError(f"the server has closed a connection, after {bytes(received[-200:])!r}")


def _numbered(count: int, size: int) -> list[bytes]:
    """Payloads that all differ; the last byte of the last is END, which no other has."""
    payloads = [b"%09d" % number + b"x" * (size - 9) for number in range(count)]
    payloads[-1] = payloads[-1][:-1] + END
    return payloads


def echo(port: int, count: int, size: int, whole: bool = True) -> float:
    """One client sends `count` numbered messages without waiting; returns messages a second, all echoed in order.

    A server that isn't `whole` may merge and split messages, and end lines: what they carry, joined, must be right.
    """
    payloads = _numbered(count, size)
    stream = b"".join(map(client_frame, payloads))
    expected = b"".join(map(server_frame if whole else bytes, payloads))
    received, buffer = bytearray(), bytearray(RECEIVE_BYTES)
    view = memoryview(buffer)
    with open_client(port) as client:
        start = time.perf_counter()
        sender = threading.Thread(target=client.sendall, args=(stream,), daemon=True)
        sender.start()
        while True:
            got = client.recv_into(buffer)
            received += view[:got] if got else _ended(received)
            took = time.perf_counter() - start
            # END may also be a length, so it only tells when it is worth looking.
            if len(received) >= len(expected) and (whole or END in buffer[max(0, got - 2) : got]):
                back = received if whole else joined_payload(received).replace(b"\n", b"")
                if whole or len(back) >= len(expected):
                    break
        sender.join()
    if back != expected:
        raise ValueError("what came back is not what was sent")
    return count / took


class InFlight(NamedTuple):
    """What clients with one message in flight each have seen."""

    rate: float
    """Round trips a second, of all clients together."""
    p99: float
    """What all but one of a hundred round trips stay below, in seconds."""


class Link:
    """One of these clients: how it sends and receives, and what must come back."""

    __slots__ = ("expected", "frame", "part", "receive_into", "send", "sent")

    def __init__(self, sock: socket.socket, payload: bytes) -> None:
        self.receive_into, self.send = sock.recv_into, sock.send
        self.part = bytearray()
        self.sent = 0.0
        self.expect(payload)

    def expect(self, payload: bytes) -> None:
        """Make this the next message."""
        self.frame, self.expected = client_frame(payload), server_frame(payload)

    def receive(self, buffer: bytearray) -> bool:
        """Whether the message is back, whole. Raises ValueError when it is another."""
        got = self.receive_into(buffer)
        if got == len(self.expected) and not self.part and buffer.startswith(self.expected):
            return True  # the usual case, without a copy: this client shares the machine with the server
        self.part += buffer[:got] if got else _ended(self.part)
        if len(self.part) < len(self.expected):
            return False
        if self.part != self.expected:
            raise ValueError("what came back is not what was sent")
        self.part.clear()
        return True


def in_flight(port: int, clients: int, seconds: float, size: int = 64) -> InFlight:
    """Clients with one message in flight each, after a first one of each; each reply is compared with its message."""
    buffer = bytearray(RECEIVE_BYTES)
    trips: list[float] = []
    clock = time.perf_counter
    with open_clients(port, clients) as sockets, select.epoll() as poll:
        links = {sock.fileno(): Link(sock, b"%09d" % number + b"z" * (size - 9)) for number, sock in enumerate(sockets)}
        for descriptor, link in links.items():
            poll.register(descriptor, select.EPOLLIN)
            link.send(link.frame)
        waiting = set(links)
        while waiting:
            waiting -= {
                descriptor for descriptor in _ready(poll, "first messages") if links[descriptor].receive(buffer)
            }
        start = clock()
        for link in links.values():
            link.sent = clock()
            link.send(link.frame)
        while not trips or clock() - start < seconds:
            for descriptor in _ready(poll, "messages"):
                link = links[descriptor]
                if link.receive(buffer):
                    now = clock()
                    trips.append(now - link.sent)
                    link.sent = now
                    link.send(link.frame)
        took = clock() - start
    trips.sort()
    return InFlight(len(trips) / took, trips[len(trips) * 99 // 100])


@contextmanager
def greedy_client(port: int) -> Iterator[None]:
    """Beside it, in a process of its own, a client that sends without a pause, and checks what it gets."""
    argv = [sys.executable, "-m", "tests.benchmarks.greedy", str(port)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as greedy:
        assert greedy.stdin is not None
        assert greedy.stdout is not None
        try:
            if greedy.stdout.readline() != b"under way\n":
                raise ChildProcessError("the greedy client got nothing back")
            yield
        finally:
            greedy.stdin.close()
    if greedy.returncode:
        raise ValueError("the greedy client did not get back what it sent")


def round_trip(port: int, count: int, size: int = 64) -> float:
    """One client, one message in flight; returns the median round trip in seconds."""
    payload = b"r" * size
    frame, expected = client_frame(payload), server_frame(payload)
    trips = []
    with open_client(port) as client:
        for _ in range(count):
            start = time.perf_counter()
            client.sendall(frame)
            received = client.recv(RECEIVE_BYTES)
            while 0 < len(received) < len(expected):
                received += client.recv(RECEIVE_BYTES) or _ended(bytearray(received))
            trips.append(time.perf_counter() - start)
            if received != expected:
                raise ValueError("what came back is not what was sent")
    return sorted(trips)[count // 2]


class FanOut(NamedTuple):
    """Deliveries a second, and how long the slowest hundredth took at least, in seconds; that only at a rate."""

    rate: float
    p99: float


def fan_out(clients: list[socket.socket], count: int, size: int = 64, rate: float = 0) -> FanOut:
    """The first client sends to all others, at once or `rate` a second; each delivery is checked."""
    sender, *receivers = clients
    payloads = _numbered(count, size)
    frames = list(map(client_frame, payloads))
    expected = b"".join(map(server_frame, payloads))
    buffer = bytearray(RECEIVE_BYTES)
    view = memoryview(buffer)
    time.sleep(0.2)  # a server may have answered the last handshake before it counts the client in
    sender.settimeout(PATIENCE_S)

    sent: list[float] = []
    delays: list[float] = []
    length = len(expected) // count

    def send() -> None:
        if not rate:
            sender.sendall(b"".join(frames))
            return
        for number, frame in enumerate(frames):
            time.sleep(max(0.0, start + number / rate - time.perf_counter()))
            sent.append(time.perf_counter())
            sender.sendall(frame)

    with select.epoll() as poll:
        receive = {sock.fileno(): sock.recv_into for sock in receivers}
        at = dict.fromkeys(receive, 0)
        for descriptor in receive:
            poll.register(descriptor, select.EPOLLIN)
        start = time.perf_counter()
        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        waiting = len(receivers)
        while waiting:
            for descriptor in _ready(poll, f"{waiting} receivers"):
                got = receive[descriptor](buffer)
                if not got:
                    _ended(bytearray())
                if not expected.startswith(view[:got], at[descriptor]):
                    raise ValueError("a receiver did not get what was sent")
                before = at[descriptor]
                after = at[descriptor] = before + got
                waiting -= after == len(expected)
                if rate:
                    now = time.perf_counter()
                    delays += [now - sent[number] for number in range(before // length, after // length)]
        took = time.perf_counter() - start
        thread.join()
    return FanOut(len(receivers) * count / took, sorted(delays)[len(delays) * 99 // 100] if rate else 0.0)


def handshakes(port: int, clients: int, window: int) -> float:
    """Open so many connections, `window` at a time, and keep them; returns handshakes a second."""
    start = time.perf_counter()
    with open_clients(port, clients, window):
        return clients / (time.perf_counter() - start)
