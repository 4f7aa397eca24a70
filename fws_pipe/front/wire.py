"""The wire: the stream between a client's socket and trio-websocket, and the only seam to it.

trio-websocket reads and writes it like any trio stream. What the wire does beyond passing bytes on:

- reads the request's head itself, so that a refusal is answered here and at once; what arrived in the same
  segment behind the head is kept until the client is open (`release`), and then delivered;
- lets a tap see every block that arrives, before anybody parses it (`data` events);
- writes: all that leaves, messages of the chain as well as trio-websocket's control frames, goes through one outbox,
  written without blocking and drained by a task when the client is slow;
- closes: a Close frame always goes out before TCP ends, with the code that trio-websocket found, and the
  client gets time to read it (RFC 6455, section 7.1.1); a second Close frame never does.

Never: parses messages, or touches a private name of trio-websocket.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVarTuple, Unpack

import trio

from fws_pipe.front import handshake
from fws_pipe.front.outbox import Outbox
from fws_pipe.front.rfc6455 import ABNORMAL, CLOSE, encode_close, opcode_of
from fws_pipe.front.transport import Transport

RECEIVE_BYTES = 64 * 1024

PARSE_BYTES = 4 * 1024
"""trio-websocket gets so much at a time, its own default: it handles a flood of tiny frames without a checkpoint."""

CLOSE_TIMEOUT_S = 5.0
"""How long a client may take to answer a Close frame, or to read what stands before it."""

LINGER_S = 2.0
"""How long what still arrives is read and thrown away, so that no reset overtakes the Close frame (RFC 9112, 9.6)."""

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_SPACE = 0x20

Arguments = TypeVarTuple("Arguments")

CloseCode = tuple[int, str]
"""A close code and its reason."""


class Wire(trio.abc.Stream):
    """One client's connection, below trio-websocket.

    `nursery` runs the wire's tasks and is cancelled by whoever opened it once the wire is closed. `why_failed`
    tells the close code that trio-websocket has settled on, if any.
    """

    def __init__(self, transport: Transport, outbox_limit: int, nursery: trio.Nursery) -> None:
        self._transport = transport
        self.remote = transport.remote
        """The client's address: (host, port)."""
        self._nursery = nursery
        self.outbox = Outbox(outbox_limit)
        self._held = Outbox(outbox_limit)
        """What the chain sends to a client that it has yet to accept."""
        self._writing = False
        self._all_written = trio.lowlevel.ParkingLot()

        self._head = b""
        self._early = b""
        self._early_was_tapped = False
        self._received = memoryview(b"")
        self._released = trio.Event()
        self.tap: Callable[[bytes], Awaitable[None]] | None = None
        self.waiting_since: float | None = None
        """Since when we have been waiting for this client (trio's clock); None while it is us who don't read."""
        self.blocked_since: float | None = None
        """Since when the kernel has taken nothing of what waits in the outbox; None while nothing waits."""

        self.why_failed: Callable[[], CloseCode | None] = lambda: None
        self.on_room: Callable[[], object] = lambda: None
        """Called whenever the outbox has become empty, or nobody need wait for that any more."""
        self.close_sent: CloseCode | None = None
        """The Close frame that we sent of our own accord."""
        self._close_written = False
        self._library_sent_close = False
        self.has_failed = False
        """Whether we have closed for the client's fault, and read no more."""
        self._reading = trio.CancelScope()
        self.clean = False
        """Whether both sides have sent a Close frame."""
        self._at_end = False
        self._closed = False

    # The opening handshake.

    async def read_request(self) -> handshake.Upgrade | handshake.Refusal | None:
        """Read the request's head and judge it; None when the client has gone without one."""
        if not await self._transport.begin():
            return None
        received = bytearray()
        while not (end := _END_OF_HEAD.search(received)):
            if len(received) > handshake.HEAD_LIMIT_BYTES:
                return handshake.TOO_LARGE
            if received and received[0] < _SPACE and not received.startswith((b"\r", b"\n")):
                break  # a TLS hello, or other bytes that will never be a request
            try:
                block = await self._transport.receive_some(RECEIVE_BYTES)
            except trio.BrokenResourceError:
                return None
            if not block:
                return None
            if self.tap is not None:
                self._early_was_tapped = True
                await self.tap(block)
            received += block
        position = end.end() if end else len(received)
        if position > handshake.HEAD_LIMIT_BYTES:
            return handshake.TOO_LARGE
        self._head, self._early = bytes(received[:position]), bytes(received[position:])
        return handshake.judge(self._head)

    async def refuse(self, refusal: handshake.Refusal) -> None:
        """Answer the request with a refusal and end the connection."""
        self.outbox.append(refusal.encode())
        self.flush()
        await self._end(lingers=True)

    def release(self) -> None:
        """The client is open: what arrives from now on may be read, and what was held for it is written."""
        self._released.set()
        if self._held:
            self.outbox.append(self._held.take())
            self.flush()

    def describe_tls(self) -> dict[str, Any] | None:
        """What an `open` event tells of TLS; None without."""
        return self._transport.describe_tls()

    # What trio-websocket calls.

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """The request's head first; after `release` whatever the client sends. Empty at the end.

        Raises trio.BrokenResourceError or trio.ClosedResourceError as any stream.
        """
        if self._head:
            head, self._head = self._head, b""
            return head
        await self._released.wait()
        if self.has_failed or self._library_sent_close:
            # trio-websocket asks for more after its own Close for a too large message, and would wait for ever.
            return b""
        size = min(max_bytes or PARSE_BYTES, PARSE_BYTES)
        if self._received:
            await trio.lowlevel.checkpoint()
        else:
            await self._receive()
        block, self._received = self._received[:size], self._received[size:]
        return bytes(block)

    async def _receive(self) -> None:
        """Read a block, which stays empty at the end, and show it to the tap."""
        was_tapped = False
        if self._early:
            block, self._early = self._early, b""
            was_tapped = self._early_was_tapped
        else:
            block = await self._read_transport()
        if not block:
            self._at_end = not self.has_failed
        elif self.tap is not None and not was_tapped:
            await self.tap(block)
        self._received = memoryview(block)

    async def _read_transport(self) -> bytes:
        self.waiting_since = trio.current_time()
        try:
            with trio.CancelScope() as self._reading:
                return await self._transport.receive_some(RECEIVE_BYTES)
            return b""  # we have failed
        except trio.BrokenResourceError:
            self._at_end = True
            raise
        finally:
            self.waiting_since = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send trio-websocket's bytes: the response to the request, then whole control frames."""
        frame = bytes(data)
        if self._released.is_set():
            is_close = opcode_of(frame) == CLOSE
            self._library_sent_close |= is_close
            if self._close_written:
                return  # nothing follows a Close frame, not even the answer to a ping
            if is_close:
                self._note_close()
        self._check_open()
        self.outbox.append(frame)
        self.flush()
        await self._wait_all_written()
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until what is queued has been written."""
        await self._wait_all_written()

    async def aclose(self) -> None:
        """trio-websocket is done: after both Close frames, or because the client broke the protocol."""
        self.clean = self._library_sent_close
        await self._end(lingers=not self.clean)

    # What the front calls.

    def run_beside(self, task: Callable[[Unpack[Arguments]], Awaitable[object]], *arguments: *Arguments) -> None:
        """Run a task for as long as the connection lasts."""
        self._nursery.start_soon(task, *arguments)

    def post(self, frame: bytes) -> bool:
        """Queue a whole WebSocket frame for the next `flush`. False when it doesn't fit, or the client is closing."""
        if self._close_written or self._closed:
            return False
        if not self._released.is_set():
            return self._hold(frame)
        if not self.outbox.fits(len(frame)):
            # Perhaps the kernel takes some: a client that reads must not be closed for one large batch.
            self.flush()
            if not self.outbox.fits(len(frame)):
                return False
        self.outbox.append(frame)
        return True

    def _hold(self, frame: bytes) -> bool:
        if not self._held.fits(len(frame)):
            return False
        self._held.append(frame)
        return True

    @property
    def is_closing(self) -> bool:
        """Whether a Close frame has been sent, or the connection has ended."""
        return self._close_written or self._closed

    def begin_close(self, code: int, reason: str = "") -> None:
        """Send a Close frame behind what is queued, and end the connection if the client does not answer in time."""
        if self.is_closing:
            return
        self.close_sent = (code, reason)
        self.outbox.append(encode_close(code, reason))
        self._note_close()
        self.flush()

    def fail(self, code: int, reason: str) -> None:
        """Close for the client's fault: what it still sends is not read (RFC 6455, section 7.1.7)."""
        if self.is_closing:
            return
        self.close_sent = (code, reason)
        self.has_failed = True
        self.outbox.append(encode_close(code, reason))
        self._note_close()
        self.flush()
        self._reading.cancel()

    def _note_close(self) -> None:
        """A Close frame is on its way: nothing follows it, and the end comes in time whether or not it is read."""
        self._close_written = True
        self._nursery.start_soon(self._abort_after, CLOSE_TIMEOUT_S)
        self.on_room()

    async def finish(self) -> None:
        """End the connection in good manners, if that has not been done. Idempotent."""
        await self._end(lingers=not self.clean and not self._at_end)

    def abort(self) -> None:
        """End the connection now. Idempotent."""
        if not self._closed:
            self._closed = True
            self._transport.close()
            self._all_written.unpark_all()
            self.on_room()

    # Writing.

    def flush(self) -> None:
        """Write what the kernel takes now; a task writes the rest."""
        if self._writing or self._closed or not self.outbox:
            return
        try:
            self._transport.write_now(self.outbox)
        except OSError:
            self.abort()
            return
        if self.outbox:
            self._writing = True
            self.blocked_since = trio.current_time()
            self._nursery.start_soon(self._drain)
        else:
            self._note_all_written()

    def _note_all_written(self) -> None:
        self._all_written.unpark_all()
        self.on_room()

    async def _drain(self) -> None:
        try:
            while self.outbox and not self._closed:
                await self._transport.write_more(self.outbox)
                self.blocked_since = trio.current_time()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            self.abort()
        finally:
            self._writing = False
            self.blocked_since = None
        self._note_all_written()

    async def _wait_all_written(self) -> None:
        while (self.outbox or self._writing) and not self._closed:
            await self._all_written.park()

    # Ending.

    async def _abort_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self.abort()

    async def _end(self, *, lingers: bool) -> None:
        if self._closed:
            return
        try:
            with trio.move_on_after(CLOSE_TIMEOUT_S):
                self._send_close_if_owed()
                await self._wait_all_written()
            if lingers and not self._closed:
                with trio.move_on_after(LINGER_S):
                    await self._discard_what_arrives()
            else:
                await self._transport.say_goodbye()
        finally:
            self.abort()

    def _send_close_if_owed(self) -> None:
        failure = self.why_failed()
        if failure and failure[0] != ABNORMAL and self._released.is_set() and not self.is_closing:
            self._close_written = True
            self.outbox.append(encode_close(*failure))
            self.flush()

    async def _discard_what_arrives(self) -> None:
        try:
            await self._transport.linger()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            # Gone, or still being read by trio-websocket: there is nothing left to be polite about.
            pass
