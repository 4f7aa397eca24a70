"""Sends the fuzzer's streams to a server, many at a time, and judges what comes back."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator

from tests.benchmarks.load import client_frame, open_client, server_frame
from tests.e2e.raw import CLOSE, PING, Reply, request, split_replies
from tests.fuzz.streams import FAREWELL, LAST_WORD, PONG, Ending, Stream

PATIENCE_S = 30.0
"""How long a server may take to end a connection whose client has ended it, or to take or answer anything at all."""

AT_ONCE = 64
_RECEIVE_BYTES = 1 << 18
_CLOSE = 0x80 | CLOSE
_LAST_ECHO = server_frame(LAST_WORD)
_KNOWN = frozenset((0x81, 0x82, 0x80 | PING, 0x80 | PONG, _CLOSE))


class BrokenInvariantError(AssertionError):
    """The server has done what no bytes may make it do."""


class _Connection:
    """One client of the fuzzer, which writes its blocks and collects what comes."""

    def __init__(self, port: int, stream: Stream) -> None:
        self.stream = stream
        self.received = bytearray()
        self.has_finished = False
        """Whether it has written all, and ended its side."""
        self.was_ended = False
        """Whether the server has ended the connection."""
        self.last_progress = time.monotonic()
        self._waiting = [*stream.blocks[::-1], request(port)]
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    @property
    def wants_to_write(self) -> bool:
        """Whether it has something to write, or to end."""
        if self.has_finished:
            return False
        return bool(self._waiting) or self.stream.expected is None or self.received.endswith(_LAST_ECHO)

    @property
    def goes_on(self) -> bool:
        """Whether there is anything left to wait for."""
        return not self.was_ended and not (self.has_finished and self.stream.ending is Ending.RESET)

    def write(self) -> None:
        """Write one block, or as much of it as the kernel takes; behind the last one the client's end."""
        try:
            if self._waiting:
                block = self._waiting.pop()
                if rest := block[self.socket.send(block) :]:
                    self._waiting.append(rest)
            else:
                self._finish()
        except OSError:  # it has been closed for a fault; what it was told is still to be read
            self.has_finished = True

    def _finish(self) -> None:
        self.has_finished = True
        if self.stream.ending is Ending.CLOSE:
            self.socket.sendall(FAREWELL)
        if self.stream.ending is not Ending.RESET:
            self.socket.shutdown(socket.SHUT_WR)

    def read(self) -> None:
        """Take what has come."""
        try:
            block = self.socket.recv(_RECEIVE_BYTES)
        except ConnectionResetError:
            block = b""
        self.received += block
        self.was_ended = not block

    def close(self) -> None:
        """Close the socket; with a reset where its stream ends so."""
        if self.stream.ending is Ending.RESET:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def drive(port: int, streams: Iterator[Stream]) -> Counter[str]:
    """Send all of them, AT_ONCE at a time; returns how often the connections ended in which way.

    Raises BrokenInvariantError, with the stream's number, for a reply that is wrong or doesn't come.
    """
    outcomes: Counter[str] = Counter()
    live: dict[int, _Connection] = {}
    with select.epoll() as poll:
        try:
            while True:
                while len(live) < AT_ONCE and (stream := next(streams, None)):
                    connection = _Connection(port, stream)
                    live[connection.socket.fileno()] = connection
                    poll.register(connection.socket, select.EPOLLIN | select.EPOLLOUT)
                if not live:
                    return outcomes
                for descriptor, events in poll.poll(1.0):
                    connection = live[descriptor]
                    _serve(poll, connection, events)
                    if not connection.goes_on:
                        poll.unregister(descriptor)
                        del live[descriptor]
                        connection.close()
                        outcomes[_judge(connection)] += 1
                _check_progress(live)
        finally:
            for connection in live.values():
                connection.socket.close()


def _serve(poll: select.epoll, connection: _Connection, events: int) -> None:
    """Read and write what can be, and wait for what else may come."""
    connection.last_progress = time.monotonic()
    wanted = select.EPOLLOUT if connection.wants_to_write else 0
    if events & ~select.EPOLLOUT:
        connection.read()
    elif wanted:
        connection.write()
    now_wanted = select.EPOLLOUT if connection.wants_to_write else 0
    if now_wanted != wanted and connection.goes_on:
        poll.modify(connection.socket, select.EPOLLIN | now_wanted)


def _check_progress(live: dict[int, _Connection]) -> None:
    now = time.monotonic()
    for connection in live.values():
        if now - connection.last_progress > PATIENCE_S:
            what = "does not end" if connection.has_finished else "takes nothing more, and says nothing"
            raise BrokenInvariantError(f"connection {connection.stream.number} {what}")


def _judge(connection: _Connection) -> str:
    """Say how it ended. Raises BrokenInvariantError."""
    stream = connection.stream
    head, end, body = bytes(connection.received).partition(b"\r\n\r\n")
    if not connection.was_ended and stream.expected is None:
        return "reset by the client"
    if not end or not head.startswith(b"HTTP/1.1 101 "):
        raise BrokenInvariantError(f"connection {stream.number} was not opened: {head!r}")
    replies = split_replies(body)
    for place, reply in enumerate(replies):
        if reply.first not in _KNOWN or (reply.first == _CLOSE and place != len(replies) - 1):
            raise BrokenInvariantError(f"connection {stream.number} got {reply!r} as reply {place} of {len(replies)}")
    close = replies[-1] if replies and replies[-1].first == _CLOSE else None
    if stream.expected is not None:
        _check_echoes(stream, replies)
    if not connection.was_ended:
        return "reset by the client"
    return "no Close frame" if close is None else f"Close {int.from_bytes(close.payload[:2], 'big') or 1005}"


def _check_echoes(stream: Stream, replies: list[Reply]) -> None:
    echoes = [reply for reply in replies if reply.first in (0x81, 0x82)]
    if echoes != stream.expected:
        raise BrokenInvariantError(
            f"connection {stream.number} sent nothing wrong, and got {len(echoes)} echoes for "
            f"{len(stream.expected or ())} messages, or others"
        )


class Innocent:
    """A client beside them, one numbered message in flight, in a thread of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self.answered = 0
        self.longest_s = 0.0

    def __enter__(self) -> Innocent:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raises BrokenInvariantError if it was not served as it must be."""
        if self._error is not None:
            raise BrokenInvariantError(f"the innocent client, message {self.answered}: {self._error!r}")

    def _run(self) -> None:
        try:
            with open_client(self._port) as client:
                while not self._stop.is_set():
                    self._exchange(client, b"innocent %d" % self.answered)
        except (OSError, ValueError) as error:
            self._error = error

    def _exchange(self, client: socket.socket, payload: bytes) -> None:
        expected = server_frame(payload)
        start = time.monotonic()
        client.sendall(client_frame(payload))
        received = b""
        while len(received) < len(expected):
            block = client.recv(4096)
            if not block:
                raise ConnectionError("closed by the server")
            received += block
        if received != expected:
            raise ValueError(f"{received!r} came back for {payload!r}")
        self.longest_s = max(self.longest_s, time.monotonic() - start)
        self.answered += 1
