"""Loads a WebSocket server on loopback and checks by content that what came back is right. Standard library only."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RECEIVE_BYTES = 1 << 18
PATIENCE_S = 60.0


def client_frame(payload: bytes) -> bytes:
    """A masked text frame, the mask applied."""
    size = len(payload)
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    if size < 126:
        return bytes([0x81, 0x80 | size]) + mask + masked
    return struct.pack("!BBH", 0x81, 0xFE, size) + mask + masked


def server_frame(payload: bytes) -> bytes:
    """The same message as a server writes it."""
    size = len(payload)
    return bytes([0x81, size]) + payload if size < 126 else struct.pack("!BBH", 0x81, 126, size) + payload


def _request(port: int) -> bytes:
    return (
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def connect(port: int) -> socket.socket:
    """An open WebSocket, as a bare socket behind the response's head."""
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(_request(port))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise ConnectionError(f"closed during the handshake: {head!r}")
        head += byte
    if b" 101 " not in head:
        raise ConnectionError(f"no upgrade: {head!r}")
    return sock


def receive(sock: socket.socket) -> bytes:
    """What has arrived, at least a byte. Raises ConnectionError at the end of the stream."""
    block = sock.recv(RECEIVE_BYTES)
    if not block:
        raise ConnectionError("the server has closed a connection")
    return block


@contextmanager
def open_clients(port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many open clients, closed at the end."""
    clients: list[socket.socket] = []
    try:
        for _ in range(count):
            clients.append(connect(port))
        yield clients
    finally:
        for client in clients:
            client.close()


def echo(port: int, count: int, size: int) -> float:
    """One client sends `count` numbered messages without waiting; returns messages a second, all echoed in order."""
    payloads = [b"%09d" % number + b"x" * (size - 9) for number in range(count)]
    stream = b"".join(map(client_frame, payloads))
    expected = b"".join(map(server_frame, payloads))
    with open_clients(port, 1) as [client]:
        start = time.perf_counter()
        sender = threading.Thread(target=client.sendall, args=(stream,), daemon=True)
        sender.start()
        received = bytearray()
        while len(received) < len(expected):
            received += receive(client)
        took = time.perf_counter() - start
        sender.join()
    if received != expected:
        raise ValueError("what came back is not what was sent")
    return count / took


def in_flight(port: int, clients: int, seconds: float, size: int = 64) -> float:
    """Clients with one message in flight each; returns round trips a second."""
    with open_clients(port, clients) as sockets, select.epoll() as poll:
        payloads = {sock.fileno(): b"%09d" % number + b"z" * (size - 9) for number, sock in enumerate(sockets)}
        by_descriptor = {sock.fileno(): sock for sock in sockets}
        frames = {descriptor: client_frame(payload) for descriptor, payload in payloads.items()}
        expected = {descriptor: server_frame(payload) for descriptor, payload in payloads.items()}
        received = dict.fromkeys(by_descriptor, b"")
        for descriptor, sock in by_descriptor.items():
            poll.register(descriptor, select.EPOLLIN)
            sock.sendall(frames[descriptor])
        trips = 0
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            for descriptor, _ in poll.poll(PATIENCE_S):
                received[descriptor] += receive(by_descriptor[descriptor])
                if len(received[descriptor]) >= len(expected[descriptor]):
                    if received[descriptor] != expected[descriptor]:
                        raise ValueError("what came back is not what was sent")
                    received[descriptor] = b""
                    trips += 1
                    by_descriptor[descriptor].sendall(frames[descriptor])
        return trips / (time.perf_counter() - start)


def round_trip(port: int, count: int, size: int = 64) -> float:
    """One client, one message in flight; returns the median round trip in seconds."""
    payload = b"r" * size
    frame, expected = client_frame(payload), server_frame(payload)
    trips = []
    with open_clients(port, 1) as [client]:
        for _ in range(count):
            start = time.perf_counter()
            client.sendall(frame)
            received = b""
            while len(received) < len(expected):
                received += receive(client)
            trips.append(time.perf_counter() - start)
            if received != expected:
                raise ValueError("what came back is not what was sent")
    return sorted(trips)[count // 2]


def fan_out(port: int, clients: int, count: int, size: int = 64) -> float:
    """One sender, many receivers, a burst of messages; returns deliveries a second, each checked."""
    payloads = [b"%09d" % number + b"y" * (size - 9) for number in range(count)]
    expected = b"".join(map(server_frame, payloads))
    with open_clients(port, clients + 1) as [sender, *receivers], select.epoll() as poll:
        received = {sock.fileno(): bytearray() for sock in receivers}
        by_descriptor = {sock.fileno(): sock for sock in receivers}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.EPOLLIN)
        stream = b"".join(map(client_frame, payloads))
        start = time.perf_counter()
        threading.Thread(target=sender.sendall, args=(stream,), daemon=True).start()
        waiting = set(by_descriptor)
        while waiting:
            ready = poll.poll(PATIENCE_S)
            if not ready:
                raise TimeoutError(f"{len(waiting)} receivers still wait")
            for descriptor, _ in ready:
                received[descriptor] += receive(by_descriptor[descriptor])
                if len(received[descriptor]) >= len(expected):
                    waiting.discard(descriptor)
        took = time.perf_counter() - start
    if any(stream != expected for stream in received.values()):
        raise ValueError("a receiver did not get what was sent")
    return clients * count / took


def handshakes(port: int, clients: int, window: int) -> float:
    """Open so many connections, `window` at a time, and keep them; returns handshakes a second."""
    request = _request(port)
    done: list[socket.socket] = []
    under_way: dict[int, socket.socket] = {}
    heads: dict[int, bytes] = {}
    with select.epoll() as poll:

        def begin() -> None:
            sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
            sock.sendall(request)
            under_way[sock.fileno()] = sock
            heads[sock.fileno()] = b""
            poll.register(sock.fileno(), select.EPOLLIN)

        start = time.perf_counter()
        try:
            for _ in range(min(window, clients)):
                begin()
            while under_way:
                for descriptor, _ in poll.poll(PATIENCE_S):
                    heads[descriptor] += receive(under_way[descriptor])
                    if heads[descriptor].endswith(b"\r\n\r\n"):
                        if b" 101 " not in heads[descriptor]:
                            raise ConnectionError(f"no upgrade: {heads[descriptor]!r}")
                        poll.unregister(descriptor)
                        done.append(under_way.pop(descriptor))
                        if len(done) + len(under_way) < clients:
                            begin()
            return clients / (time.perf_counter() - start)
        finally:
            for sock in [*done, *under_way.values()]:
                sock.close()


def process_tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parent = int(Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def resident_bytes(pid: int) -> int:
    """The resident memory of a process and all its descendants."""
    pages = sum(int(Path(f"/proc/{child}/statm").read_text().split()[1]) for child in process_tree(pid))
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """The processor time of a process and all its descendants so far."""
    total = 0
    for child in process_tree(pid):
        fields = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")
