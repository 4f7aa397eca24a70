"""The way out to one client: everything that leaves goes through one outbox, and the end comes in good manners.

- Messages of the chain and control frames alike are queued whole, written without waiting, and drained by a task when
  the client is slow.
- A Close frame always goes out before TCP ends, and the client gets time to read it (RFC 6455, section 7.1.1); nothing
  follows it, not even a second one.

Never: reads, but to throw away what still arrives at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVarTuple

import trio

from fws_pipe.websocket.outbox import Outbox
from fws_pipe.websocket.rfc6455 import encode_close
from fws_pipe.websocket.states import WIRE_TRANSITIONS, after
from fws_pipe.websocket.states import WireEvent as Event
from fws_pipe.websocket.states import WireState as State
from fws_pipe.websocket.transport import Transport, takes_a_task

CLOSE_TIMEOUT_S = 5.0
"""How long a client may take to answer a Close frame, or to read what stands before it."""

LINGER_S = 2.0
"""How long what still arrives is read and thrown away, so that no reset overtakes the Close frame (RFC 9112, 9.6)."""

Arguments = TypeVarTuple("Arguments")

CloseCode = tuple[int, str]
"""A close code and its reason."""


_HELD = State.HELD  # an enum's member by name takes as long as three of a module's
_OPEN = State.OPEN


class Owner(Protocol):
    """What hears of a wire: there is one at a time, and `Wire.hand_over` makes another the owner.

    The lobby's (a handshake is under way), then the admitted client's, then the conversation.
    """

    def note_room(self) -> object:
        """Called whenever something has gone out, or waiting for that is of no use any more."""

    def note_failed(self) -> None:
        """Called when the wire is being closed for the client's fault."""

    def note_closed(self) -> None:
        """Called once, when the connection is closed, just before its descriptor is."""


class Wire:
    """One client's connection, from us to it. `spawn` starts its tasks; each of them ends with the wire.

    `on_close_sent` is called with it when a Close frame has been queued: then it has CLOSE_TIMEOUT_S to end.
    What it does with messages is its WireState (states.py, with the table); only `_follow` writes that.
    """

    __slots__ = (
        "_all_written",
        "_held",
        "_is_frozen",
        "_note_room",
        "_on_close_sent",
        "_owner",
        "_send_now",
        "_spawn",
        "_tasks",
        "blocked_since",
        "close_sent",
        "has_sent",
        "outbox",
        "state",
        "transport",
        "waiting_since",
    )

    def __init__(
        self,
        transport: Transport,
        outbox_limit: int,
        spawn: Callable[[Callable[[], Awaitable[object]]], object],
        on_close_sent: Callable[[Wire], object],
    ) -> None:
        self.transport = transport
        self._send_now = transport.send_now
        self._spawn = spawn
        self._on_close_sent = on_close_sent
        self._tasks: set[trio.CancelScope] | frozenset[trio.CancelScope] = frozenset()
        self.outbox = Outbox(outbox_limit)
        self._held: Outbox | None = None
        """What the chain sends to a client before it accepts the client."""
        self.state = _HELD
        self._is_frozen = False
        """Whether nothing is written to the connection: another server is about to take it over."""
        self._owner: Owner | None = None
        self._note_room: Callable[[], object] = _nothing
        """The owner's, by itself: it is called for each write."""
        self._all_written: trio.lowlevel.ParkingLot | None = None
        self.waiting_since: float | None = None
        """Since when the server has waited for this client (trio's clock); None while the client is not read."""
        self.blocked_since: float | None = None
        """Since when the kernel has taken nothing of what waits in the outbox; None while no task writes it."""
        self.has_sent = False
        """Whether anything has been written, ever, or since `forget_sent`."""
        self.close_sent: CloseCode | None = None
        """The Close frame that has been queued."""

    def hand_over(self, owner: Owner) -> None:
        """From now on this is the owner, and no other."""
        self._owner = owner
        self._note_room = owner.note_room

    def _follow(self, event: Event) -> None:
        self.state = after(WIRE_TRANSITIONS, self.state, event)

    @property
    def remote(self) -> tuple[str, int]:
        """The client's address: (host, port)."""
        return self.transport.remote

    @property
    def is_silent(self) -> bool:
        """Whether nothing at all has arrived from the client."""
        return self.transport.is_silent()

    @property
    def has_unread(self) -> bool:
        """Whether something from the client waits to be read; the end of its side counts."""
        return self.transport.has_unread()

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        return self.state is State.CLOSED

    @property
    def is_closing(self) -> bool:
        """Whether a Close frame has been queued, or the connection has ended."""
        state = self.state
        return state is not _OPEN and state is not _HELD

    def forget_sent(self) -> bool:
        """Whether anything has been written since this was called last."""
        has_sent, self.has_sent = self.has_sent, False
        return has_sent

    def run_beside(self, task: Callable[[*Arguments], Awaitable[object]], *arguments: *Arguments) -> None:
        """Run a task for as long as the connection lasts. An error in it, which is ours, ends the connection."""
        scope = trio.CancelScope()
        self._tasks = {*self._tasks, scope}

        async def run() -> None:
            try:
                with scope:
                    await task(*arguments)
            except Exception:
                self.abort()
                raise
            finally:
                self._tasks = self._tasks - {scope}

        self._spawn(run)

    # Messages.

    def send_response(self, response: bytes) -> None:
        """Answer the request."""
        self.outbox.begin_with(response)
        self.flush()

    def release(self) -> None:
        """The client is open, and what was held for it is written."""
        self._follow(Event.RELEASE)
        if self._held is not None:
            self.outbox.append(self._held.pop_all())
            self._held = None
            self.flush()

    def post(self, frame: bytes, weight: int = 0) -> bool:
        """Queue whole WebSocket frames for the next `flush`; `weight` as in the outbox.

        False when the client is closing, or is behind: then `post_behind` may queue them, by what has caused them.
        """
        if self.state is _OPEN:
            outbox = self.outbox
        elif self.state is _HELD:
            outbox = self._held_outbox()
        else:
            return False
        if self.blocked_since is not None or (outbox.size and outbox.size + len(frame) > outbox.limit):
            return False
        outbox.append(frame, weight)
        return True

    def post_behind(self, frame: bytes, weight: int = 0, *, is_own: bool) -> bool:
        """Queue frames for a client that is behind. `is_own`: its own messages have caused them.

        False when they are others' and find no room, or the client is closing.
        """
        if self.state is _OPEN:
            self.flush()  # perhaps the kernel takes some: a client that reads must not be closed for one large batch
        if self.is_closing:
            return False
        outbox = self.outbox if self.state is _OPEN else self._held_outbox()
        if not outbox.size:
            outbox.append(frame, weight)
        elif is_own:
            outbox.append_own(frame)
        elif outbox.fits(len(frame)):
            outbox.append_others(frame, weight)
        else:
            return False
        return True

    def _held_outbox(self) -> Outbox:
        if self._held is None:
            self._held = Outbox(self.outbox.limit)
        return self._held

    @property
    def weight(self) -> int:
        """About how much memory what waits for the client takes."""
        return self.outbox.weight + (self._held.weight if self._held is not None else 0)

    def write(self, frame: bytes, weight: int = 0) -> bool:
        """Write whole WebSocket frames now, and queue what the kernel doesn't take. False as for `post`."""
        if self.outbox.size or self.state is not _OPEN:
            is_queued = self.post(frame, weight)
            self.flush()
            return is_queued
        try:
            count = self._send_now(frame)
        except BlockingIOError:
            count = 0
        except OSError:
            self.abort()
            return True
        self.has_sent = True
        if count < len(frame):
            self.outbox.append(frame, weight)
            self.outbox.advance(count)
            self._start_draining()
        else:
            self.outbox.written += count
        return True

    def flush(self) -> None:
        """Write what the kernel takes now; a task writes the rest."""
        outbox = self.outbox
        if self.blocked_since is not None or self.is_closed or not outbox.size:
            return
        self.has_sent = True
        try:
            outbox.write_with(self._send_now)
        except OSError:
            self.abort()
            return
        if outbox.size:
            self._start_draining()
        else:
            self._note_all_written()

    def _start_draining(self) -> None:
        if self.blocked_since is None and not self._is_frozen:
            self.blocked_since = trio.current_time()
            self.run_beside(self._drain)

    async def _drain(self) -> None:
        try:
            while self.outbox and not self.is_closed and not self._is_frozen:
                await self.transport.write_more(self.outbox)
                self.has_sent = True
                self.blocked_since = trio.current_time()
                self._note_room()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            self.abort()
        finally:
            self.blocked_since = None
        self._note_all_written()

    def _note_all_written(self) -> None:
        if self._all_written is not None:
            self._all_written.unpark_all()
        self._note_room()

    async def wait_all_written(self) -> None:
        """Wait until what is queued has been written, or never will be."""
        while (self.outbox or self.blocked_since is not None) and not self.is_closed:
            if self._all_written is None:
                self._all_written = trio.lowlevel.ParkingLot()
            await self._all_written.park()

    # Another server.

    def freeze(self) -> None:
        """Write nothing to the connection until `thaw`: what is sent meanwhile is queued."""
        self._is_frozen = True
        self._send_now = self.transport.send_now = takes_a_task

    def thaw(self) -> None:
        """Write again: no other server has taken the connection over."""
        if self._is_frozen:
            self._is_frozen = False
            self._send_now = self.transport.send_now = self.transport.own_send_now
            self.flush()

    def let_go(self) -> None:
        """Another server has the connection: close our descriptor, and say nothing to the client or to the owner."""
        self._owner = None
        self.abort()

    def restore(self, outbox: Mapping[str, Any], close: CloseCode | None) -> None:
        """Be open, or closing, as the wire was that another server had; nothing is written before `flush`."""
        self._follow(Event.RELEASE)
        self.outbox.restore(outbox)
        if close is not None:
            self._follow(Event.CLOSE)
            self.close_sent = close
            self._on_close_sent(self)

    # The end.

    def begin_close(self, code: int, reason: str = "") -> None:
        """Send a Close frame behind what is queued, and end the connection if the client does not answer in time."""
        if not self.is_closing:
            self._queue_close(encode_close(code, reason), (code, reason))

    def send_close(self, frame: bytes, close: CloseCode) -> None:
        """Send a Close frame that is ready."""
        if not self.is_closing:
            self._queue_close(frame, close)

    def send_control(self, frame: bytes) -> None:
        """Send a control frame, but for one that finds no room: pongs may be left out (RFC 6455, section 5.5.3)."""
        has_room = self.outbox.own + len(frame) <= self.outbox.limit
        if self.post(frame) or (has_room and self.post_behind(frame, is_own=True)):
            self.flush()

    def fail(self, code: int, reason: str) -> None:
        """Close for the client's fault: what it still sends is not read (RFC 6455, section 7.1.7)."""
        if not self.is_closing:
            self._queue_close(encode_close(code, reason), (code, reason))
            if self._owner is not None:
                self._owner.note_failed()

    def _queue_close(self, frame: bytes, close: CloseCode) -> None:
        """Nothing follows a Close frame, and the end comes in time whether or not it is read."""
        self._follow(Event.CLOSE)
        self.close_sent = close
        self.outbox.append(frame)
        self.flush()
        if not self.is_closed:
            self._on_close_sent(self)
        self._note_room()

    def finish_at_once(self) -> bool:
        """Close, if nothing is left to write and TCP's end says all. False, and nothing done: `finish` must."""
        if (
            self.outbox or self.blocked_since is not None or self.transport.descriptor is None
        ):  # TLS has a goodbye of its own
            return False
        self.abort()
        return True

    async def finish(self, *, lingers: bool) -> None:
        """Write what is queued, say goodbye, and close. `lingers`: the client may still be sending. Idempotent."""
        if self.is_closed:
            return
        try:
            with trio.move_on_after(CLOSE_TIMEOUT_S):
                await self.wait_all_written()
            if not self.is_closed:
                with trio.move_on_after(LINGER_S):
                    await self._say_goodbye(lingers)
        finally:
            self.abort()

    async def _say_goodbye(self, lingers: bool) -> None:
        if self._is_frozen:
            return  # the other server's clients must not see an end
        try:
            await (self.transport.linger() if lingers else self.transport.say_goodbye())
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass  # gone, or still being read: there is nothing left to be polite about

    def dismiss(self, response: bytes) -> None:
        """End a connection that is no client yet, with this response if none has begun and it takes no waiting."""
        if response and not self.has_sent and self.transport.descriptor is not None:  # TLS would take a task
            self.send_response(response)
        self.abort()

    def abort(self) -> None:
        """End the connection now. Idempotent."""
        if not self.is_closed:
            self._follow(Event.END)
            try:
                if self._owner is not None:
                    self._owner.note_closed()  # first: readers must let go of the descriptor before it is another's
            finally:
                self.transport.close()
                self._note_all_written()
                for scope in self._tasks:
                    scope.cancel()


def _nothing() -> None:
    """No owner yet."""


class OverdueWires:
    """Ends wires whose client has not answered a Close frame in time. One task for all: thousands may close at once."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Wire]] = deque()
        self._has_some = trio.Event()

    def add(self, wire: Wire) -> None:
        """A Close frame has been queued now: give it CLOSE_TIMEOUT_S."""
        self._waiting.append((trio.current_time() + CLOSE_TIMEOUT_S, wire))
        self._has_some.set()

    async def run(self) -> None:
        """End them, for ever."""
        while True:
            await self._has_some.wait()
            while self._waiting:
                deadline, wire = self._waiting.popleft()
                if not wire.is_closed:
                    await trio.sleep_until(deadline)
                    wire.abort()
            self._has_some = trio.Event()
