"""The clients, all in one process: they talk, listen, vanish and are replaced. All that is said and heard is noted."""

from __future__ import annotations

import asyncio
import random
import socket
import struct

from tests.benchmarks.load import client_frame
from tests.chaos.accounts import POISON, POISONER, Ending, Listener, Message, Sender, compose
from tests.e2e.raw import BINARY, CLOSE, PING, TEXT, request
from tests.harness import PATIENCE_S

ROOM_SIZE = 10
TURN_S = 0.05
WINDOW = 60
"""How many messages a client has under way at most: all that wait while the chain is down fit into its outbox."""

_PONG = 10
_CONTINUATION = 0
_CLOSE_NORMALLY = struct.pack("!H", 1000)


class Client(asyncio.Protocol):
    """One client, which is a sender and a listener."""

    def __init__(self, crowd: Crowd, number: int, room: int) -> None:
        self._crowd = crowd
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.sender = Sender(number, room)
        self.listener = Listener(f"client {number}", room)
        self.is_open = False
        self.gone = asyncio.Event()

    # What comes.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(request(self._crowd.port, line=f"GET /?{self.sender.room} HTTP/1.1"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.is_open:
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            if b" 101 " not in head.split(b"\r\n")[0]:
                self._complain(f"was not let in: {bytes(head)!r}")
                return
            self._buffer = rest
            self.is_open = True
            self.say()  # whoever hears itself knows that it is in its room
        self._take_frames()

    def _take_frames(self) -> None:
        buffer, position = self._buffer, 0
        while position + 2 <= len(buffer):
            size, start = buffer[position + 1], position + 2
            if size >= 126:
                width = 2 if size == 126 else 8
                size = int.from_bytes(buffer[start : start + width], "big")
                start += width
            if start + size > len(buffer):
                break
            self._take_frame(buffer[position] & 0x0F, bytes(buffer[start : start + size]))
            position = start + size
        del buffer[:position]

    def _take_frame(self, opcode: int, payload: bytes) -> None:
        if opcode in (TEXT, BINARY):
            message = self.listener.hear(payload)
            if self.listener.owed_from is None and message is not None and message.sender == self.sender.number:
                self.listener.owed_from = self._crowd.said_so_far(self.sender.room)
        elif opcode == PING:
            self._write(client_frame(payload, _PONG))
        elif opcode == CLOSE and self.sender.ending is Ending.HERE:
            self._complain(f"was closed: {payload!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        if self.sender.ending is Ending.HERE:
            self._complain(f"has lost its connection: {exc}")

    def _complain(self, text: str) -> None:
        if not self._crowd.is_over:
            self.listener.complain(text)

    # What goes.

    def say(self, size: int = 0) -> None:
        """Say the next message, with some padding; in fragments or not, text or binary, as the dice have it."""
        dice = self._crowd.dice
        self.sender.said += 1
        payload = compose(Message(self.sender.number, self.sender.said), "x" * size)
        opcode = BINARY if dice.random() < 0.3 else TEXT
        if dice.random() < 0.05:
            middle = dice.randrange(len(payload) + 1)
            first = bytearray(client_frame(payload[:middle], opcode))
            first[0] &= 0x7F  # not the last fragment
            self._write(bytes(first) + client_frame(payload[middle:], _CONTINUATION))
        else:
            self._write(client_frame(payload, opcode))

    def say_poison(self, number: int) -> None:
        """Say what kills a stage, each time that it reads it."""
        self._write(client_frame(compose(Message(POISONER, number), POISON)))

    @property
    def may_talk(self) -> bool:
        """Whether it is open and hears its own messages soon enough."""
        return self.is_open and self.sender.said - self.listener.last_of(self.sender.number) < WINDOW

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    # How it goes.

    def reset(self) -> None:
        """Vanish, with a TCP reset."""
        self.sender.ending, self.listener.is_here = Ending.RESET, False
        if self._transport is not None:
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()

    def leave(self) -> None:
        """Go with a Close frame, once all that was said has been sent."""
        self.sender.ending, self.listener.is_here = Ending.LEFT, False
        self._write(client_frame(_CLOSE_NORMALLY, CLOSE))


class Crowd:
    """So many clients, in rooms; who goes is replaced."""

    def __init__(self, port: int, dice: random.Random, rate: float) -> None:
        self.port = port
        self.dice = dice
        self._rate = rate
        self.here: list[Client] = []
        self._all: list[Client] = []
        self._said: dict[int, list[Sender]] = {}
        self.is_over = False
        """The server ends, and so may connections."""

    @property
    def senders(self) -> list[Sender]:
        """All that there have been."""
        return [client.sender for client in self._all]

    @property
    def listeners(self) -> list[Listener]:
        """All that there have been."""
        return [client.listener for client in self._all]

    def said_so_far(self, room: int) -> dict[int, int]:
        """How much each sender of a room has said."""
        return {sender.number: sender.said for sender in self._said[room]}

    async def enter(self, count: int) -> None:
        """Let so many clients come in, into rooms that are filled one after the other; returns when all are in."""
        for start in range(0, count, ROOM_SIZE):
            size = min(ROOM_SIZE, count - start)
            await asyncio.gather(*(self._admit(start // ROOM_SIZE) for _ in range(size)))

    async def _admit(self, room: int) -> None:
        client = Client(self, len(self._all) + 1, room)
        self._all.append(client)
        self._said.setdefault(room, []).append(client.sender)
        self.here.append(client)
        await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", self.port)

    async def talk(self) -> None:
        """Talk, for ever."""
        while True:
            for client in self.here:
                if client.may_talk and self.dice.random() < self._rate * TURN_S:
                    self._say_something(client)
            await asyncio.sleep(TURN_S)

    def _say_something(self, client: Client) -> None:
        luck = self.dice.random()
        if luck < 0.005:
            client.say(self.dice.randrange(100_000))
        elif luck < 0.02:
            for _ in range(20):
                client.say(self.dice.randrange(200))
        else:
            client.say(self.dice.randrange(200))

    def say_last_words(self) -> None:
        """Each says one more message, behind all that there has been."""
        for client in self.here:
            client.say()

    async def replace(self, count: int, how: str) -> None:
        """Let so many go, never the last of a room, and others come. `how` is "reset" or "leave"."""
        candidates = [client for client in self.here if client.is_open]
        for client in self.dice.sample(candidates, min(count, len(candidates))):
            room = client.sender.room
            if sum(other.sender.room == room for other in self.here) < 2:
                continue
            self.here.remove(client)
            getattr(client, how)()
            await self._admit(room)

    async def end(self) -> None:
        """All leave; returns when the server has closed their connections."""
        for client in self.here:
            client.leave()
        async with asyncio.timeout(PATIENCE_S):
            for client in self.here:
                await client.gone.wait()
        self.here.clear()
