"""trio-websocket's view of a wire, and the only seam to it: a stream that is fed the frames which are for it.

A connection is trio-websocket's from the first frame that is not plain: fragments, Close, whatever is wrong. The client
has been answered by then, so trio-websocket gets a request that any client might have sent, and its response goes
nowhere. From there on it owns the protocol: what it sends goes to the client, what it finds wrong closes it.

Never: touches a private name of trio-websocket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream
from wsproto.utilities import LocalProtocolError

from fws_pipe.websocket.rfc6455 import CLOSE, close_of, opcode_of
from fws_pipe.websocket.wire import CloseCode, Wire

PARSE_BYTES = 4 * 1024
"""Bytes that trio-websocket gets at a time, its default: it processes them without a checkpoint."""

_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Library(trio.abc.Stream):
    """A stream under trio-websocket.

    `on_done` is called when it has dealt with all that it was fed, and each message has been taken.
    """

    def __init__(self, wire: Wire, on_done: Callable[[], object]) -> None:
        self._wire = wire
        self._on_done = on_done
        self._messages_fed = 0
        """Messages that it was fed the end of."""
        self._messages_taken = 0
        self._fed = bytearray()
        self._has_asked = False
        self._has_more = trio.Event()
        self._has_ended = False
        self._is_idle = False
        """Whether it waits for more."""
        self.has_rest = False
        """Whether it was fed an invalid frame: from there on only trio-websocket knows where frames begin."""
        self._has_answered = trio.Event()
        self.has_sent_close = False
        """Whether it has answered the client's Close frame, or sent one."""

    def feed(self, frame: bytes, *, ends_message: bool) -> None:
        """Append a whole frame; `ends_message`: a message comes out, unless the frame turns out to be invalid."""
        self._messages_fed += ends_message
        self._fed += frame
        self._is_idle = False
        self._has_more.set()

    def feed_rest(self, data: bytes) -> None:
        """Append an invalid frame, or what follows one."""
        self.has_rest = True
        self.feed(data, ends_message=False)

    def end(self) -> None:
        """Nothing more will come."""
        self._has_ended = True
        self._has_more.set()

    async def converse(
        self, max_message: int, on_message: Callable[[str | bytes], Awaitable[object]]
    ) -> CloseCode | None:
        """Run trio-websocket to the end; `on_message` gets each message. Returns the close code, or None for none."""
        connection = None
        try:
            async with trio.open_nursery() as nursery:
                request = await wrap_server_stream(
                    nursery, self, message_queue_size=1, max_message_size=max_message, receive_buffer_size=PARSE_BYTES
                )
                connection = await request.accept()
                while True:
                    await on_message(await connection.get_message())
                    self._messages_taken += 1
                    self._tell_if_done()
        except* ConnectionClosed:
            pass  # this is how get_message says so
        except* LocalProtocolError:
            # It goes on with what it had received after it has closed for a fault, and trips over its own state. The
            # client has had its Close frame.
            pass
        return None if connection is None else _close_code_of(connection)

    def _tell_if_done(self) -> None:
        if self._is_idle and self._messages_taken >= self._messages_fed:
            self._on_done()

    # What trio-websocket calls.

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes of what was fed; empty at the end."""
        await trio.lowlevel.checkpoint()
        if not self._has_asked:
            self._has_asked = True
            return _REQUEST
        await self._has_answered.wait()  # what comes before the response is lost
        while not self._fed and not self._has_ended:
            if self.has_sent_close:
                # It asks for more after its own Close for a message that is too large, and would wait for ever.
                return b""
            self._has_more = trio.Event()
            self._is_idle = True
            self._tell_if_done()
            await self._has_more.wait()
        size = min(max_bytes or PARSE_BYTES, PARSE_BYTES)
        block = bytes(self._fed[:size])
        del self._fed[:size]  # in place: what is left of a large message is not copied for each piece of it
        return block

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send whole control frames to the client. The response to the request, which comes first, is dropped."""
        await trio.lowlevel.checkpoint()
        frame = bytes(data)
        if not self._has_answered.is_set():
            self._has_answered.set()
        elif opcode_of(frame) == CLOSE:
            self.has_sent_close = True
            self._wire.send_close(frame, close_of(frame))
        else:
            self._wire.send_control(frame)

    async def wait_send_all_might_not_block(self) -> None:
        """No-op: sending never blocks, and what trio-websocket sends is bounded by what it is fed."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """trio-websocket is done. The conversation decides how the connection ends."""
        self.end()
        await trio.lowlevel.checkpoint()


def _close_code_of(connection: WebSocketConnection) -> CloseCode | None:
    closed = connection.closed
    return None if closed is None else (int(closed.code), closed.reason or "")
