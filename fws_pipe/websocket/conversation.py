"""What one client sends, from the end of its handshake to the end of its connection.

    bytes -> plain messages: events at once (frames.py)
          -> pings: a few are answered here, of many the last; pongs: a sign of life, no more
          -> a Close frame that is right: echoed here, and the end
          -> everything else: trio-websocket (library.py), and nothing is read until it is done with it

So the order in which a client sends is the order of its events, whichever way they took. A client that has sent many
small frames is dealt with for SLICE_S at a time, and goes on in its turn: others don't wait for all of them.

What a conversation is doing is one ConversationState (states.py, with the table); only `_follow` writes it.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

import trio

from fws_pipe.counters import Count, Counters
from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.events import data_event, message_event
from fws_pipe.websocket.backlog import Backlog, FragmentedMessage
from fws_pipe.websocket.frames import PONGS_AT_ONCE, FrameHead, Kind, close_from, head_at, payload_of, skip_controls
from fws_pipe.websocket.library import Library
from fws_pipe.websocket.meter import Meter, ends_of_messages
from fws_pipe.websocket.rates import RatePolicy
from fws_pipe.websocket.rfc6455 import ABNORMAL, CLOSE, POLICY_VIOLATION, PONG, TOO_BIG, encode_frame
from fws_pipe.websocket.states import CONVERSATION_TRANSITIONS, DEPARTED, HOLDS, MOVABLE, OVER, after
from fws_pipe.websocket.states import ConversationEvent as Event
from fws_pipe.websocket.states import ConversationState as State
from fws_pipe.websocket.wire import CloseCode, Wire

READ_BYTES = 64 * 1024
"""Bytes read of one client at a time: some hundred small messages, so that the others' turn comes soon."""

_READ_BYTES_INSIDE = 256 * 1024
"""Bytes read at a time while a frame is under way that is larger than that."""

SLICE_S = 0.000_3
"""Seconds for which the messages of one client are processed in a row."""

_CONSEQUENCES_S = 5.0
"""How long a client that has ended its side may hear what its messages have caused in the chain once they are through
it: filters that send themselves events may do so for ever, and the chain must hear that the client has gone.
"""

_CONTROLS_AT_ONCE = 1024
"""Pings and pongs that are skipped between two looks at the clock: a fraction of a millisecond."""

_READING = State.READING  # an enum's member by name takes as long as three of a module's
_ADVANCING = State.ADVANCING


class Held(Protocol):
    """A conversation that waits until its client has room."""

    def try_to_go_on(self) -> None:
        """Called when there may be room: in the chain, or in the client's outbox."""


class Sender(Protocol):
    """What a conversation needs to know of its client, and tells it."""

    id: str
    bytes_in: int
    """How many bytes it has sent."""

    @property
    def count_budget(self) -> int:
        """How many messages it may send now; 0 or less: none."""

    @property
    def has_under_way(self) -> bool:
        """Whether the chain is at work on anything that it has sent."""

    def must_wait(self, size: int) -> bool:
        """Whether its next event, of `size` bytes, must wait for its earlier ones and their replies."""

    async def wait_share(self) -> None:
        """Wait until something that it has sent is through the chain, or something has gone out to it."""

    def note_room(self) -> None:
        """Called when something has gone out to the client: there may be room for more."""

    def hold(self, held: Held) -> None:
        """Tell `held` whenever there may be room, until `let_go`."""

    def let_go(self) -> None:
        """The client is read, or it has ended: room is of no interest. Idempotent."""


SenderT = TypeVar("SenderT", bound=Sender)
SenderT_contra = TypeVar("SenderT_contra", bound=Sender, contravariant=True)


class EventQueue(Protocol[SenderT_contra]):
    """Where the events of clients go, on their way to the chain: see ledger/feed.py."""

    def put_messages(self, client: SenderT_contra, block: bytes, position: int, limit: int) -> int:
        """Queue the plain messages at a position of a block; returns where the rest begins."""

    async def put(self, event: Frame, client: SenderT_contra) -> None:
        """Queue an event; waits while there is no room."""

    def put_at_once(self, event: Frame, client: SenderT_contra) -> None:
        """Queue an event that can't wait."""

    def flush(self) -> None:
        """Write what waits, if the chain takes it at once."""

    @property
    def last_event(self) -> int:
        """The number of the last event that there has been."""

    def has_settled(self, seq: int) -> bool:
        """Whether the events up to this number are through the chain."""


class Laggards(Protocol):
    """The clients that have sent more than is dealt with in a row: see readers.py."""

    @property
    def has_time(self) -> bool:
        """Whether a client that finds room may go on at once."""

    def add(self, conversation: Conversation[Any]) -> None:
        """Let a client go on when it is its turn. Idempotent."""


class Readers(Protocol):
    """What reads the clients' connections: see readers.py."""

    def add(self, conversation: Conversation[Any]) -> None:
        """Read a client from now on."""

    def pause(self, conversation: Conversation[Any]) -> None:
        """Stop reading it until `resume`."""

    def resume(self, conversation: Conversation[Any]) -> None:
        """Read it again."""

    def remove(self, conversation: Conversation[Any]) -> None:
        """Stop reading it for good. Idempotent."""

    async def wait_removed(self, conversation: Conversation[Any]) -> None:
        """Wait until another task may read the connection."""

    def unreceived(self, conversation: Conversation[Any]) -> bytes:
        """What has been read from the connection and not been received by the conversation."""


class Host(Protocol[SenderT_contra]):
    """What a conversation needs of the front."""

    max_message: int
    max_fragments: int
    counters: Counters
    is_fast: bool
    """Whether plain messages and control frames take the fast path, and not trio-websocket's."""

    @property
    def laggards(self) -> Laggards:
        """Where clients go that have sent more than is dealt with in a row."""

    def tell_error(self, error: Exception) -> None:
        """Log an error of ours."""

    def depart(self, client: SenderT_contra, code: int, reason: str, *, clean: bool) -> None:
        """Forget a client and tell the chain, once."""

    def leave(self, client: SenderT_contra) -> None:
        """A client has departed and its connection is closed: called once, last of all."""


class _Pass:
    """A pass over a block of frames: its position, and the pings that are still to be answered."""

    __slots__ = ("_ping_count", "_pings", "block", "position")

    def __init__(self, block: bytes) -> None:
        self.block = block
        self.position = 0
        self._ping_count = 0
        self._pings: list[bytes] = []

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return self.position == len(self.block)

    @property
    def rest(self) -> bytes:
        """What is left."""
        return self.block[self.position :] if self.position else self.block

    def add_pings(self, payloads: list[bytes], count: int) -> None:
        """Note `count` pings, and the payloads to answer: all of a few, the last of many."""
        self._ping_count += count
        self._pings = [*self._pings, *payloads][-1 if self._ping_count > PONGS_AT_ONCE else 0 :]

    def pop_pongs(self) -> bytes:
        """Remove the pings that are to be answered, and return their answers (RFC 6455, section 5.5.3)."""
        pongs = b"".join(encode_frame(PONG, payload) for payload in self._pings)
        self._pings, self._ping_count = [], 0
        return pongs


class Conversation(Generic[SenderT]):
    """What one client sends. What waits here is bounded by the largest message and one read.

    `meter` holds the client to a rate and knows how long it has been idle; None where there is no limit to either.
    """

    __slots__ = (
        "_backlog",
        "_feed",
        "_fragmented",
        "_has_shortcut",
        "_host",
        "_is_tapped",
        "_library",
        "_readers",
        "_sweeps_unfinished",
        "appetite",
        "client",
        "meter",
        "state",
        "wire",
    )

    def __init__(
        self,
        client: SenderT,
        wire: Wire,
        readers: Readers,
        feed: EventQueue[SenderT],
        host: Host[SenderT],
        meter: Meter | None = None,
    ) -> None:
        self.client = client
        self.wire = wire
        self._readers = readers
        self._feed = feed
        self._host = host
        self.meter = meter
        self.state = _READING
        self._has_shortcut = host.is_fast and meter is None
        """Whether plain messages can go straight to the feed while nothing waits before them."""
        self._backlog = Backlog()
        self._fragmented: FragmentedMessage | None = None
        """The message that is under way in fragments."""
        self._sweeps_unfinished = 0
        self._library: Library | None = None
        """trio-websocket, from the first frame that only it can deal with."""
        self._is_tapped = False
        self.appetite = READ_BYTES
        """How many bytes to read at once."""

    def start(self, early: bytes) -> None:
        """The client is open; `early` came with its request."""
        now = trio.current_time()
        self.wire.hand_over(self)
        self.wire.waiting_since = now
        self._readers.add(self)
        if early:
            self.receive(early, now)

    def tap(self, *, is_wanted: bool) -> None:
        """Say whether what arrives from now on also goes to the chain as `data` events."""
        self._is_tapped = is_wanted

    def _follow(self, event: Event) -> None:
        self.state = after(CONVERSATION_TRANSITIONS, self.state, event)

    # What a reader calls.

    def receive(self, block: bytes, now: float) -> None:
        """Bytes have arrived; `now` is trio's time."""
        self.client.bytes_in += len(block)
        if self.state is not _READING:
            self._follow(Event.ARRIVED)  # a task may have read them before the end: they come too late
            return
        self.wire.waiting_since = now
        if self._is_tapped:
            self._feed.put_at_once(data_event(self.client.id, block), self.client)
        if self._has_shortcut and not self._backlog.size and self._fragmented is None:
            # Nothing is held back, so whole messages at the beginning need not wait for what `_advance` looks at.
            position = self._feed.put_messages(self.client, block, 0, self._host.max_message)
            block = block[position:]
        if block:
            self._backlog.add(block)
            self._advance(Event.ARRIVED)
        elif self.client.must_wait(1):
            self._advance(Event.ARRIVED)

    def note_end(self) -> None:
        """The client has ended its side without a Close frame. It may still read: what it has sent is answered first.

        The chain would hear of its end behind that in any case.
        """
        if self._library is None and self.client.has_under_way and self.state not in DEPARTED:
            self._follow(Event.LOST)
            self._stop_reading()
            self.wire.run_beside(self._end_when_answered)
        else:
            self.lose()

    async def _end_when_answered(self) -> None:
        await self._wait_answered()
        self._end((ABNORMAL, ""), lingers=False)

    async def _wait_answered(self) -> None:
        """Wait until all that the client has sent is through the chain, and the replies are in its outbox."""
        last_sent = self._feed.last_event
        while self._is_at_work and not self._feed.has_settled(last_sent):
            await self.client.wait_share()
        with trio.move_on_after(_CONSEQUENCES_S):
            while self._is_at_work:
                await self.client.wait_share()

    @property
    def _is_at_work(self) -> bool:
        """Whether the chain is at work on the last words of the client, or on what they have caused."""
        return self.state is State.LAST_WORDS and self.client.has_under_way

    def lose(self) -> None:
        """The client has gone without a word."""
        if self._library is not None and self.state not in DEPARTED:
            self._follow(Event.LOST)
            self._stop_reading()
            self._library.end()  # it may be at work on the client's last words
        else:
            self._end((ABNORMAL, ""), lingers=False)

    def note_reset(self) -> None:
        """The client has reset the connection while it is not read: what its rate holds back is given up.

        What only waits for room still goes to the chain, and then the end is read; a hold is over.
        """
        if self.state is State.HELD_BACK:
            self._give_up()
        else:
            self.resume()

    def _give_up(self) -> None:
        self._backlog.keep(b"")
        self.lose()

    # What a client has begun.

    @property
    def _is_unfinished(self) -> bool:
        """Whether the client is read, and has begun a frame or a message without ending it."""
        return self.state is _READING and (self._backlog.size > 0 or self._fragmented is not None)

    def sweep(self) -> int:
        """Called regularly (memory.py); returns how many calls have found the present message unfinished."""
        if self.state in HOLDS and self.wire.transport.has_been_ended():
            self.resume()
        if not self._is_unfinished:
            return 0
        self._sweeps_unfinished += 1
        return self._sweeps_unfinished

    @property
    def weight(self) -> int:
        """About how much memory an unfinished message takes, or what is held back, in bytes."""
        return self._backlog.weight + (self._fragmented.weight if self._fragmented is not None else 0)

    # Another server.

    @property
    def is_movable(self) -> bool:
        """Whether another server could go on with this connection: `unread` is all that is under way."""
        return self.state in MOVABLE and (self._library is None or not self._library.has_rest)

    def unread(self) -> bytes:
        """What the client has sent and no event tells of yet, from the beginning of a message: bytes as they came."""
        begun = self._fragmented.frames if self._fragmented is not None else b""
        return begun + self._backlog.look() + self._readers.unreceived(self)

    def let_go(self) -> None:
        """Another server goes on with the connection: read and write it no more, and tell nobody of an end."""
        self._follow(Event.MOVED)
        self._stop_reading()
        self.wire.let_go()

    # Room, and turns.

    @property
    def note_room(self) -> Callable[[], object]:
        """The client's, called when something has gone out: the client tells all that wait for room, also this."""
        return self.client.note_room

    def try_to_go_on(self) -> None:
        """There may be room in the chain, or in the outbox, for what has been held back."""
        if self.state is State.CROWDED and not self.client.must_wait(self._backlog.wanted):
            if self._host.laggards.has_time:
                self._go_on_guarded()
            else:
                self._follow(Event.SLICE_OVER)
                self._host.laggards.add(self)
        elif self.wire.is_closing:  # what has been read is dealt with all the same
            self._let_go()
            self.resume()

    def _go_on_guarded(self) -> None:
        """Go on within what the chain has answered: an error of ours here must cost this client alone."""
        try:
            self._advance(Event.ROOM)
            self._feed.flush()
        except Exception as error:  # noqa: BLE001 - told, and then it is over for this client
            self._host.tell_error(error)
            self.wire.abort()

    def go_on(self) -> None:
        """It is this client's turn again."""
        self._advance(Event.TURN)

    def hold(self) -> None:
        """Read this client no more until `resume`: a filter asks for that. No-op for one that leaves or is closed.

        The bytes that have been read and are no events yet stay here. One that has ended its side is read to its end:
        there is no more of it than the kernel has, and only behind that its end shows.
        """
        if self.state in OVER or self.wire.is_closing or self.wire.transport.has_been_ended():
            return
        was_read = self.state is _READING
        self._follow(Event.HOLD)
        self._settle(was_read=was_read)

    def resume(self) -> None:
        """Let a client that is on hold go on in its turn. Idempotent."""
        if self.state in HOLDS:
            self._follow(Event.RESUME)
            self._settle(was_read=False)
            if self.meter is not None:
                self.meter.last_message = trio.current_time()  # it is not by itself that it has been idle

    # Frames.

    def _advance(self, event: Event) -> None:
        """Process whole frames as far as trio-websocket and the client's share allow; then read on, or pause.

        `event` is what allows that; a no-op when it comes too late.
        """
        was_read = self.state is _READING
        self._follow(event)
        backlog, client = self._backlog, self.client
        while self.state is _ADVANCING and backlog.size >= backlog.needed and not client.must_wait(backlog.wanted):
            before = backlog.size
            self._process()
            if backlog.size == before:
                break
        if self.state is _ADVANCING:
            self._follow(Event.NO_ROOM if client.must_wait(backlog.wanted) else Event.DEALT_WITH)
        if self.state not in OVER:
            self._settle(was_read=was_read)

    def _settle(self, *, was_read: bool) -> None:
        """Let the laggards and the readers know what this client waits for now."""
        if self.state is State.LAGGING:
            self._host.laggards.add(self)
        if self.state is _READING and not was_read:
            self.client.let_go()
            self.wire.waiting_since = trio.current_time()
            self._readers.resume(self)
        elif self.state is not _READING and was_read:
            self.client.hold(self)
            self.wire.waiting_since = None
            self._readers.pause(self)

    def _process(self) -> None:
        """Process whole frames, for one slice at most."""
        frames = _Pass(self._backlog.look())
        end = perf_counter() + SLICE_S
        while self.state is _ADVANCING and self._step(frames):
            if self.state is _ADVANCING and perf_counter() > end:
                self._follow(Event.SLICE_OVER)
        self._answer(frames)
        if frames.position and self._fragmented is None:
            self._sweeps_unfinished = 0  # what is unfinished now has begun since
        if self.state not in OVER:
            self._backlog.keep(frames.rest)
            self.appetite = READ_BYTES if self._backlog.needed < READ_BYTES else _READ_BYTES_INSIDE

    def _step(self, frames: _Pass) -> bool:
        """Process the next frame, or run of frames. Returns whether more may be processed now."""
        if self._library is not None and self._library.has_rest:
            self._hand_over_rest(frames)
            return False
        meter = self.meter
        if meter is not None and not meter.may_send(trio.current_time()):
            has_gone = not self._answer(frames)  # first: nothing follows the Close frame that may come now
            if has_gone or self._slows_down(frames, meter):
                return False
        if self._host.is_fast:
            if self._fragmented is None:
                has_put = self._put_plain(frames)
                if frames.is_done:
                    return False
                if has_put and self.meter is not None:
                    return True  # its rate may be used up now
            if self.meter is None and self._skip_controls(frames):
                return True
        return self._process_frame(frames)

    def _put_plain(self, frames: _Pass) -> bool:
        """Queue the plain messages that come next, if any do."""
        before = frames.position
        if self.meter is None:
            frames.position = self._feed.put_messages(self.client, frames.block, before, self._host.max_message)
        else:
            frames.position = self._put_measured(frames.block, before, self.meter)
        if frames.position == before:
            return False
        self._sweeps_unfinished = 0
        return True

    def _skip_controls(self, frames: _Pass) -> bool:
        """Skip the pings and pongs that come next, if any do."""
        before = frames.position
        frames.position, count, payloads = skip_controls(frames.block, before, _CONTROLS_AT_ONCE)
        if count:
            frames.add_pings(payloads, count)
        return frames.position > before

    def _process_frame(self, frames: _Pass) -> bool:
        """Process one frame of any kind. Returns whether more may be processed now."""
        block, position = frames.block, frames.position
        head = head_at(block, position)
        if problem := self._what_is_too_big(head):
            self._fail_too_big(*problem)
            return False
        if head.kind is Kind.NEED_MORE:
            self._backlog.need(max(head.end - position, 1))
            return False
        if head.kind is Kind.MESSAGE and self.client.must_wait(head.size):
            self._backlog.want(head.size)
            return False
        if self.meter is not None:
            self.meter.charge(1, max(head.end - position, 0))
        if self._host.is_fast and head.kind in (Kind.PING, Kind.PONG):
            if head.kind is Kind.PING:
                frames.add_pings([payload_of(block, head)], 1)
            frames.position = head.end
            return True
        if not self._answer(frames):
            return False
        self._handle(frames, head)
        return True

    def _answer(self, frames: _Pass) -> bool:
        """Answer all pings so far with one write. False when this shows that the client has gone."""
        if pongs := frames.pop_pongs():
            self.wire.send_control(pongs)
        return self.state is State.ADVANCING

    def _what_is_too_big(self, head: FrameHead) -> tuple[Count, str] | None:
        """The counter and the close reason for a message that is too big; None for any other."""
        if head.kind in _CONTROLS:
            return None
        size, fragments = (self._fragmented.size, self._fragmented.fragments) if self._fragmented else (0, 0)
        if size + head.size > self._host.max_message:
            return Count.MESSAGE_TOO_LARGE, f"a message may have {self._host.max_message} bytes"
        if head.kind is Kind.FRAGMENT and 0 < self._host.max_fragments <= fragments:
            # trio-websocket keeps them all in a list, which even empty ones make longer.
            return Count.TOO_MANY_FRAGMENTS, f"a message may have {self._host.max_fragments} fragments before its last"
        return None

    def _fail_too_big(self, counter: Count, reason: str) -> None:
        self._host.counters.add(counter)
        self.fail(TOO_BIG, reason)

    # A client's pace, where it is limited.

    def _put_measured(self, block: bytes, position: int, meter: Meter) -> int:
        """Queue the plain messages that the client's rate allows; returns where the rest begins."""
        now = trio.current_time()
        ends = [len(block)]
        if meter.is_limited:
            frames, size = meter.room(now)
            ends = ends_of_messages(block, position, min(frames, max(self.client.count_budget, 1)), size)
        if not ends:
            return position
        allowed = block[position : ends[-1]]  # a part only: a block of many small frames is not copied for each of them
        end = position + self._feed.put_messages(self.client, allowed, 0, self._host.max_message)
        meter.charge(bisect.bisect_right(ends, end), end - position)
        if end > position:
            meter.last_message = now
        return end

    def _slows_down(self, frames: _Pass, meter: Meter) -> bool:
        """Whether the client has sent more than its rate allows; then it is held back, or closed."""
        if self.wire.is_closing:
            return False
        if head_at(frames.block, frames.position).kind is Kind.NEED_MORE:
            return False
        if meter.policy is RatePolicy.CLOSE:
            self._host.counters.add(Count.TOO_FAST)
            self.wire.fail(POLICY_VIOLATION, "too fast: more than this server's rate allows")
        else:
            self._host.counters.add(Count.HELD_BACK)
            if self.wire.transport.has_been_reset():
                self._give_up()
            else:
                self._follow(Event.RATE_USED_UP)
                self.wire.run_beside(self._let_go_after, meter.wait_s())
        return True

    def lift_rate(self) -> None:
        """The server stops: what has been read goes to the chain as fast as it takes it."""
        self.meter = None
        self._has_shortcut = self._host.is_fast and not (self._library is not None and self._library.has_rest)
        self._let_go()

    async def _let_go_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._let_go()

    def _let_go(self) -> None:
        if self.state is State.HELD_BACK:
            self._advance(Event.RATE_ALLOWS)
            self._feed.flush()

    def _handle(self, frames: _Pass, head: FrameHead) -> None:
        """Process a frame that is neither a plain message nor a ping or pong."""
        kind = head.kind
        if kind is Kind.CLOSE and self._accepts_close(payload_of(frames.block, head)):
            frames.position = head.end
            return
        if kind is Kind.BROKEN:
            self._hand_over_rest(frames)
            return
        if kind is Kind.FRAGMENT:
            self._fragmented = self._fragmented or FragmentedMessage()
            self._fragmented.add(frames.block[frames.position : head.end], head.size)
        elif kind is Kind.LAST_FRAGMENT:
            self._fragmented = None
        ends_message = kind in (Kind.MESSAGE, Kind.LAST_FRAGMENT)
        if ends_message:
            self._sweeps_unfinished = 0
        self._hand_over().feed(frames.block[frames.position : head.end], ends_message=ends_message)
        frames.position = head.end

    # trio-websocket.

    def _hand_over(self) -> Library:
        """Let trio-websocket work, and wait for it; returns what is to be fed."""
        self._follow(Event.HANDED_OVER)
        if self._library is None:
            self._library = Library(self.wire, self._note_done)
            self.wire.run_beside(self._converse, self._library)
        return self._library

    def _hand_over_rest(self, frames: _Pass) -> None:
        """Behind an invalid frame the boundaries are unknown: trio-websocket gets everything, and closes there."""
        self._has_shortcut = False
        self._hand_over().feed_rest(frames.rest)
        frames.position = len(frames.block)

    async def _converse(self, library: Library) -> None:
        try:
            close = await library.converse(self._host.max_message, self._put_message)
            await self._finish(close or (ABNORMAL, ""), is_clean=library.has_sent_close)
        finally:
            self._library = None
            if self.state not in DEPARTED:
                self.wire.abort()  # an error of ours: the connection must not hang
                self._end((ABNORMAL, ""), lingers=False)

    async def _put_message(self, message: str | bytes) -> None:
        if self.state not in DEPARTED:
            await self._feed.put(message_event(self.client.id, message), self.client)
        if self.meter is not None:
            self.meter.last_message = trio.current_time()

    def _note_done(self) -> None:
        """trio-websocket has dealt with all that it was fed."""
        self._advance(Event.LIBRARY_DONE)
        self._feed.flush()

    # The end.

    def _accepts_close(self, payload: bytes) -> bool:
        """Answer a valid Close frame, unless it answers ours. False, and nothing done: it is for trio-websocket."""
        close = close_from(payload) if self._host.is_fast and self._library is None else None
        if close is None:
            return False
        # Departed first: a connection that is found broken by this write was closed in order all the same.
        if self._depart(close, is_clean=True):
            self.wire.send_close(encode_frame(CLOSE, payload), close)
            self._finish_soon(lingers=False)
        return True

    def _stop_reading(self) -> None:
        self.client.let_go()
        self.wire.waiting_since = None
        self._readers.remove(self)

    def fail(self, code: int, reason: str) -> None:
        """Close, and ignore what the client still sends; also after a Close frame of ours."""
        self.wire.fail(code, reason)
        self.note_failed()

    def note_failed(self) -> None:
        """The wire is being closed for the client's fault."""
        self._end((ABNORMAL, ""), lingers=True)

    def note_closed(self) -> None:
        """The wire has been closed, perhaps under us."""
        if self._library is not None and self.state not in DEPARTED:
            self._follow(Event.WIRE_CLOSED)
            self._stop_reading()
            self._library.end()
        else:
            self._end((ABNORMAL, ""), lingers=False)
            self._follow(Event.WIRE_CLOSED)
            self._leave_if_gone()

    def _leave_if_gone(self) -> None:
        if self.state is State.GONE:
            self._host.leave(self.client)

    def _end(self, close: CloseCode, *, lingers: bool) -> None:
        """The connection ends without an answered Close frame, with this code if we have sent none."""
        if self._depart(self.wire.close_sent or close, is_clean=False) and not self.wire.is_closed:
            self._finish_soon(lingers=lingers)

    def _finish_soon(self, *, lingers: bool) -> None:
        """Close the connection, at once where that takes no waiting: a task is a good part of what a client costs."""
        if lingers or not self.wire.finish_at_once():
            self.wire.run_beside(self._finish_wire, lingers)

    async def _finish(self, close: CloseCode, *, is_clean: bool) -> None:
        """trio-websocket has come to the end of the connection."""
        if not is_clean and close[0] == ABNORMAL:
            await self._wait_answered()
        elif not is_clean:
            self.wire.begin_close(*close)  # it has found a fault, and drops the connection without a word
        if not is_clean and self.wire.close_sent is not None:
            close = self.wire.close_sent
        if self._depart(close, is_clean=is_clean):
            await self._finish_wire(lingers=not is_clean and close[0] != ABNORMAL)

    async def _finish_wire(self, lingers: bool) -> None:
        await self._readers.wait_removed(self)
        await self.wire.finish(lingers=lingers)

    def _depart(self, close: CloseCode, *, is_clean: bool) -> bool:
        """Tell the chain that the client has gone. False when it has been told."""
        if self.state in DEPARTED:
            return False
        self._follow(Event.DEPARTED)
        self._stop_reading()
        self._backlog.keep(b"")
        if self._library is not None:
            self._library.end()  # it lets go of the fragments that it holds
        self._host.depart(self.client, *close, clean=is_clean)
        self._leave_if_gone()
        return True


_CONTROLS = (Kind.PING, Kind.PONG, Kind.CLOSE, Kind.BROKEN)
