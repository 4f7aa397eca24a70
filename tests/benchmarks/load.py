"""Loads a WebSocket server on loopback and checks by content that what came back is right. Standard library only.

The client shares the machine with the server, so it is cheap: frames are encoded once, blocks are received into one
buffer and compared there.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

RECEIVE_BYTES = 1 << 18
PATIENCE_S = 30.0
WINDOW = 64
END = b"."
_Link = tuple[Callable[[bytearray], int], Callable[[bytes], int], bytes, bytes, bytearray]


def client_frame(payload: bytes) -> bytes:
    """A masked text frame, the mask applied."""
    size = len(payload)
    mask = os.urandom(4)
    stretched = (mask * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")).to_bytes(size, "big")
    return _head(size, 0x80) + mask + masked


def server_frame(payload: bytes) -> bytes:
    """The same message as a server writes it."""
    return _head(len(payload), 0) + payload


def _head(size: int, masked: int) -> bytes:
    if size < 126:
        return bytes([0x81, masked | size])
    if size < 1 << 16:
        return struct.pack("!BBH", 0x81, masked | 126, size)
    return struct.pack("!BBQ", 0x81, masked | 127, size)


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
def open_clients(port: int, count: int, window: int = WINDOW) -> Iterator[list[socket.socket]]:
    """So many open WebSockets, as bare sockets that don't block, opened `window` at a time, closed at the end."""
    request = _request(port)
    opened: list[socket.socket] = []
    under_way: dict[int, tuple[socket.socket, bytearray]] = {}
    try:
        with select.epoll() as poll:

            def begin() -> None:
                sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
                under_way[sock.fileno()] = sock, bytearray()
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


def in_flight(port: int, clients: int, seconds: float, size: int = 64) -> float:
    """Clients with one message in flight each; returns round trips a second, after a first one of each client."""
    buffer = bytearray(RECEIVE_BYTES)
    length = len(server_frame(b"z" * size))
    links: dict[int, _Link] = {}

    def receive(descriptor: int) -> bool:
        """Whether the client's message is back."""
        receive_into, _, _, expected, part = links[descriptor]
        got = receive_into(buffer)
        if got == length and not part and buffer.startswith(expected):
            return True
        part += buffer[:got] if got else _ended(part)
        if len(part) < length:
            return False
        if part != expected:
            raise ValueError("what came back is not what was sent")
        part.clear()
        return True

    with open_clients(port, clients) as sockets, select.epoll() as poll:
        for number, sock in enumerate(sockets):
            payload = b"%09d" % number + b"z" * (size - 9)
            frame, expected = client_frame(payload), server_frame(payload)
            links[sock.fileno()] = sock.recv_into, sock.send, frame, expected, bytearray()
            poll.register(sock.fileno(), select.EPOLLIN)
            sock.send(frame)
        waiting = set(links)
        while waiting:
            waiting -= {descriptor for descriptor in _ready(poll, "first messages") if receive(descriptor)}
        trips = 0
        start = time.perf_counter()
        for _, send, frame, _, _ in links.values():
            send(frame)
        while (took := time.perf_counter() - start) < seconds:
            for descriptor in _ready(poll, "messages"):
                if receive(descriptor):
                    trips += 1
                    link = links[descriptor]
                    link[1](link[2])
        return trips / took


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


def fan_out(clients: list[socket.socket], count: int, size: int = 64, rate: float = 0) -> float:
    """The first client sends to all others, at once or `rate` a second; returns deliveries a second, each checked."""
    sender, *receivers = clients
    payloads = _numbered(count, size)
    frames = list(map(client_frame, payloads))
    expected = b"".join(map(server_frame, payloads))
    buffer = bytearray(RECEIVE_BYTES)
    view = memoryview(buffer)
    time.sleep(0.2)  # a server may have answered the last handshake before it counts the client in
    sender.settimeout(PATIENCE_S)

    def send() -> None:
        if not rate:
            sender.sendall(b"".join(frames))
            return
        for number, frame in enumerate(frames):
            time.sleep(max(0.0, start + number / rate - time.perf_counter()))
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
                at[descriptor] += got
                waiting -= at[descriptor] == len(expected)
        took = time.perf_counter() - start
        thread.join()
    return len(receivers) * count / took


def handshakes(port: int, clients: int, window: int) -> float:
    """Open so many connections, `window` at a time, and keep them; returns handshakes a second."""
    start = time.perf_counter()
    with open_clients(port, clients, window):
        return clients / (time.perf_counter() - start)


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
    # The clock of another process, as clock_getcpuclockid(3) makes it: /proc/PID/stat knows hundredths only.
    return sum(time.clock_gettime((~child << 3) | 2) for child in process_tree(pid))
