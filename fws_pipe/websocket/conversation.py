"""What one client sends, from the end of its handshake to the end of its connection.

    bytes -> plain messages: events at once (frames.py)
          -> pings: a few are answered here, of many the last; pongs: a sign of life, no more
          -> a Close frame that is right: echoed here, and the end
          -> everything else: trio-websocket (library.py), and nothing is read until it is done with it

So the order in which a client sends is the order of its events, whichever way they took. A client that has sent many
small frames is dealt with for SLICE_S at a time, and goes on in its turn: others don't wait for all of them.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

import trio

from fws_pipe.counters import Count, Counters
from fws_pipe.protocol.codec import Frame
from fws_pipe.protocol.events import data_event, message_event
from fws_pipe.websocket.frames import PONGS_AT_ONCE, Judgement, Kind, close_from, judge_frame, payload_of, skip_controls
from fws_pipe.websocket.library import Library
from fws_pipe.websocket.meter import Meter, ends_of_messages
from fws_pipe.websocket.outbox import OBJECT_BYTES
from fws_pipe.websocket.rfc6455 import ABNORMAL, CLOSE, POLICY_VIOLATION, PONG, TOO_BIG, encode_frame
from fws_pipe.websocket.wire import CloseCode, Wire

READ_BYTES = 64 * 1024
"""How much is read of one client at a time: some hundred small messages, so that nobody waits long for its turn."""

_READ_BYTES_INSIDE = 256 * 1024
"""How much, while a frame is under way that is larger than that."""

SLICE_S = 0.000_3
"""How long what one client has sent is dealt with in a row."""

_CONTROLS_AT_ONCE = 1024
"""How many pings and pongs are skipped before the clock is looked at: a fraction of a millisecond."""


class Sender(Protocol):
    """What a conversation needs to know of its client, and tells it."""

    id: str
    is_held: bool
    """Whether what it sends is not read for want of room; then"""
    on_room: Callable[[], object]
    """is called when there may be some."""

    @property
    def count_budget(self) -> int:
        """How many messages it may send now; 0 or less: none."""

    def must_wait(self, size: int) -> bool:
        """Whether its next event, of so many bytes, must wait for its earlier ones and their replies."""


SenderT = TypeVar("SenderT", bound=Sender)
SenderT_contra = TypeVar("SenderT_contra", bound=Sender, contravariant=True)


class Intake(Protocol[SenderT_contra]):
    """What takes the events of clients: see ledger/feed.py."""

    def put_messages(self, client: SenderT_contra, block: bytes, position: int, limit: int) -> int:
        """Queue the plain messages at a position of a block; returns where the rest begins."""

    async def put(self, event: Frame, client: SenderT_contra) -> None:
        """Queue an event; waits while there is no room."""

    def put_at_once(self, event: Frame, client: SenderT_contra) -> None:
        """Queue an event that can't wait."""

    def flush(self) -> None:
        """Write what waits, if the chain takes it at once."""


class Laggards(Protocol):
    """The clients that have sent more than is dealt with in a row: see readers.py."""

    @property
    def has_time(self) -> bool:
        """Whether a client that finds room may go on at once."""

    def add(self, conversation: Conversation[Any]) -> None:
        """Let a client go on when it is its turn."""


class Readers(Protocol):
    """What reads the clients' connections: see readers.py."""

    def add(self, conversation: Conversation[Any]) -> None:
        """Read a client from now on."""

    def pause(self, conversation: Conversation[Any]) -> None:
        """Read it no more for a while."""

    def resume(self, conversation: Conversation[Any]) -> None:
        """Read it again."""

    def remove(self, conversation: Conversation[Any]) -> None:
        """Read it no more. Idempotent."""

    async def wait_removed(self, conversation: Conversation[Any]) -> None:
        """Wait until somebody else may read the connection."""


class Host(Protocol[SenderT_contra]):
    """What a conversation needs of the front."""

    readers: Readers
    max_message: int
    max_fragments: int
    counters: Counters
    is_fast: bool
    """Whether plain messages and control frames take the fast path, and not trio-websocket's."""

    @property
    def laggards(self) -> Laggards:
        """Where clients go that have sent more than is dealt with in a row."""

    def depart(self, client: SenderT_contra, code: int, reason: str, *, clean: bool) -> None:
        """Forget a client and tell the chain, once."""


class Conversation(Generic[SenderT]):
    """One client's side of what is said. Everything that it holds back is bounded by the largest message and a read."""

    __slots__ = (
        "_blocks",
        "_expected",
        "_feed",
        "_fragment_count",
        "_fragments",
        "_has_shortcut",
        "_have",
        "_host",
        "_is_advancing",
        "_is_busy",
        "_is_deserted",
        "_is_gone",
        "_is_held_back",
        "_is_lagging",
        "_is_reading",
        "_is_raw",
        "_library",
        "_need",
        "_on_closed",
        "_taken",
        "_wanted",
        "appetite",
        "client",
        "has_ended",
        "is_tapped",
        "meter",
        "sweeps_unfinished",
        "wire",
    )

    def __init__(
        self,
        client: SenderT,
        wire: Wire,
        feed: Intake[SenderT],
        host: Host[SenderT],
        meter: Meter | None = None,
    ) -> None:
        self.client = client
        self.wire = wire
        self._feed = feed
        self._host = host
        self.meter = meter
        """What holds the client to a rate and knows how long it has been idle; None where nobody wants that."""
        self._has_shortcut = host.is_fast and meter is None
        """Whether plain messages need nothing but the feed."""
        self._blocks: list[bytes] = []
        self._have = 0
        self._need = 0
        self._fragments = -1
        """Bytes of the fragmented message that is under way; -1 when there is none."""
        self._fragment_count = 0
        """and how many fragments they are in."""
        self.sweeps_unfinished = 0
        """How many sweeps (holdings.py) have found the message unfinished that is under way, and the client read."""
        self._library: Library | None = None
        self._expected = 0
        """Messages that trio-websocket has been fed the end of,"""
        self._taken = 0
        """and those that have come out."""
        self._is_advancing = False
        self._is_busy = False
        """Whether trio-websocket has been fed something that it is not done with, or the client is held back."""
        self._is_held_back = False
        """Whether it has used up its rate."""
        self._is_lagging = False
        """Whether what it has sent takes longer than a slice, and it waits for its next one."""
        self._wanted = 1
        """How many bytes its next message has that waits for room."""
        self._is_raw = False
        """Whether the client has sent what no client may: from there on only trio-websocket knows what is what."""
        self._is_reading = True
        self.has_ended = False
        self._is_deserted = False
        """Whether the wire was closed under trio-websocket, which may be at work on what the client had said before."""
        self._is_gone = False
        """Whether the client has reset the connection while it was not read."""
        self.is_tapped = False
        """Whether the chain wants `data` events."""
        self.appetite = READ_BYTES
        """How many bytes to read at once."""

    def start(self, early: bytes, *, early_is_tapped: bool) -> None:
        """The client is open; `early` came with its request."""
        now = trio.current_time()
        self.wire.on_failed = self._stop
        self._on_closed = self.wire.on_closed
        self.wire.on_closed = self._lose
        self.client.on_room = self._note_room
        self.wire.waiting_since = now
        self._host.readers.add(self)
        self.is_tapped = early_is_tapped
        if early:
            self.take(early, now)

    def _note_room(self) -> None:
        """There may be room in the chain, or in the outbox, for what has been held back."""
        if self._is_held_back and self.wire.is_closing:
            self._let_go()  # what has been read is dealt with all the same
        elif not self._is_reading and self._may_go_on:
            if self._host.laggards.has_time:
                self._advance()
                self._feed.flush()
            else:
                self._is_lagging = True
                self._host.laggards.add(self)

    def go_on(self) -> None:
        """It is this client's turn again."""
        self._is_lagging = False
        self._advance()

    # What a reader calls.

    def take(self, block: bytes, now: float) -> None:
        """Bytes have arrived; `now` is trio's time."""
        self.wire.waiting_since = now
        if self.is_tapped:
            self._feed.put_at_once(data_event(self.client.id, block), self.client)
        if self._is_plain:
            # Nothing is held back, so whole messages at the beginning need not wait for what `_advance` looks at.
            position = self._feed.put_messages(self.client, block, 0, self._host.max_message)
            block = block[position:]
        if block:
            self._keep_for_later(block)
            self._advance()
        elif self.client.must_wait(1):
            self._advance()

    def lose(self) -> None:
        """The client has gone without a word, or ended its side."""
        if self._library is not None and not self.has_ended:
            self._stop_reading()
            self._is_busy = True
            self._expected += 1  # for a message that will never come: nothing is read any more
            self._library.end()  # it may be at work on the client's last words
        else:
            self._end((ABNORMAL, ""), lingers=False)

    def note_gone(self) -> None:
        """The client has reset the connection while it is not read: what its rate holds back is given up.

        What only waits for room still goes to the chain, and then the end is read.
        """
        self._is_gone = True
        if self._is_held_back:
            self._is_busy = self._is_held_back = False
            self._blocks = []
            self._have = 0
            self.lose()

    @property
    def is_unfinished(self) -> bool:
        """Whether the client has begun something that it has yet to send the end of, and is read."""
        return self._is_reading and (self._have > 0 or self._fragments >= 0)

    @property
    def weight(self) -> int:
        """About how much memory it takes what the client has sent of a message, or has been held back with."""
        objects = len(self._blocks) + self._fragment_count
        return self._have + max(self._fragments, 0) + objects * OBJECT_BYTES if objects else 0

    # Frames.

    @property
    def _is_plain(self) -> bool:
        """Whether what comes next may be a plain message, with nothing before it."""
        return (
            self._is_reading
            and not self._have
            and self._fragments < 0
            and not self._is_busy
            and not self._is_raw
            and self._has_shortcut
        )

    def _keep_for_later(self, block: bytes) -> None:
        if self._is_raw:
            self._hand_over(block)
        else:
            self._blocks.append(block)
            self._have += len(block)

    def _advance(self) -> None:
        """Deal with what is whole, as far as trio-websocket and the client's share allow; read on, or don't."""
        if self._is_advancing:
            return  # a pong that went out has made room: we are here already
        self._is_advancing = True
        try:
            while self._may_go_on and self._have and self._have >= self._need:
                before = self._have
                self._process()
                if self._have == before:
                    break
            if self._is_lagging and not self.has_ended:
                self._host.laggards.add(self)
        finally:
            self._is_advancing = False
        if self._may_go_on != self._is_reading and not self.has_ended:
            self._is_reading = not self._is_reading
            self.client.is_held = not self._is_reading
            self.wire.waiting_since = trio.current_time() if self._is_reading else None
            (self._host.readers.resume if self._is_reading else self._host.readers.pause)(self)

    @property
    def _may_go_on(self) -> bool:
        is_free = not self._is_busy and not self._is_lagging and not self.has_ended
        return is_free and not self.client.must_wait(self._wanted)

    def _process(self) -> None:
        """Deal with the frames that are whole, for no longer than a slice."""
        block = self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)
        position = self._need = 0
        self._wanted = 1
        pings: list[bytes] = []
        count = 0
        end = perf_counter() + SLICE_S
        is_first = True
        while not self._is_busy and not self.has_ended:
            if not is_first and perf_counter() > end:
                self._is_lagging = True
                break
            is_first = False
            if self.meter is not None and not self.meter.may_send(trio.current_time()):
                self._answer(pings)  # nothing follows the Close frame that may come now
                pings, count = [], 0
                if self._slows_down(block, position, self.meter):
                    break
            if self._fragments < 0 and self._host.is_fast:
                before = position
                if self.meter is None:
                    position = self._feed.put_messages(self.client, block, position, self._host.max_message)
                else:
                    position = self._put_measured(block, position, self.meter)
                if position > before:
                    self.sweeps_unfinished = 0
                if position == len(block):
                    break
                if self.meter is not None and position > before:
                    continue
            if self.meter is None and self._host.is_fast:
                before = position
                position, found, payloads = skip_controls(block, position, _CONTROLS_AT_ONCE)
                count += found
                pings = [*pings, *payloads][-1 if count > PONGS_AT_ONCE else 0 :]
                if position > before:
                    continue
            judgement = judge_frame(block, position)
            if problem := self._what_is_too_big(judgement):
                self._fail_too_big(*problem)
                return
            if judgement.kind is Kind.NEED_MORE:
                self._need = judgement.end - position
                break
            if judgement.kind is Kind.MESSAGE and self.client.must_wait(judgement.size):
                self._wanted = judgement.size
                break
            if self.meter is not None:
                self.meter.charge(1, max(judgement.end - position, 0))
            if self._host.is_fast and judgement.kind in (Kind.PING, Kind.PONG):
                if judgement.kind is Kind.PING:
                    count += 1
                    pings = [*pings, payload_of(block, judgement)][-1 if count > PONGS_AT_ONCE else 0 :]
                position = judgement.end
                continue
            self._answer(pings)
            pings, count = [], 0
            position = self._handle(block, position, judgement)
        self._answer(pings)
        if position and self._fragments < 0:
            self.sweeps_unfinished = 0  # what is unfinished now has begun since
        self._keep(block[position:] if position else block)

    def _answer(self, pings: Sequence[bytes]) -> None:
        """Answer pings that have come together, with one write (RFC 6455, section 5.5.3)."""
        if pings:
            self.wire.send_control(b"".join(encode_frame(PONG, payload) for payload in pings))

    def _keep(self, rest: bytes) -> None:
        self._blocks = [rest] if rest else []
        self._have = len(rest)
        self.appetite = READ_BYTES if self._need < READ_BYTES else _READ_BYTES_INSIDE

    def _what_is_too_big(self, judgement: Judgement) -> tuple[Count, str] | None:
        """How a message that is too big is counted, and what its client is told."""
        if judgement.kind in _CONTROLS:
            return None
        if max(self._fragments, 0) + judgement.size > self._host.max_message:
            return Count.MESSAGE_TOO_LARGE, f"a message may have {self._host.max_message} bytes"
        if judgement.kind is Kind.FRAGMENT and 0 < self._host.max_fragments <= self._fragment_count:
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

    def _slows_down(self, block: bytes, position: int, meter: Meter) -> bool:
        """Whether the client's rate is used up and it has sent more; then it is held back, or closed."""
        if self.wire.is_closing:
            return False
        if judge_frame(block, position).kind is Kind.NEED_MORE:
            return False
        if meter.closes:
            self._host.counters.add(Count.TOO_FAST)
            self.wire.fail(POLICY_VIOLATION, "too fast: more than this server's rate allows")
        else:
            self._host.counters.add(Count.HELD_BACK)
            self._is_busy = self._is_held_back = True
            if self._is_gone:
                self.note_gone()
            else:
                self.wire.run_beside(self._let_go_after, meter.wait_s())
        return True

    def lift_rate(self) -> None:
        """The server stops: what has been read goes to the chain as fast as it takes it."""
        self.meter = None
        self._has_shortcut = self._host.is_fast
        self._let_go()

    async def _let_go_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._let_go()

    def _let_go(self) -> None:
        if self._is_held_back and not self.has_ended:
            self._is_busy = self._is_held_back = False
            self._advance()
            self._feed.flush()

    def _handle(self, block: bytes, position: int, judgement: Judgement) -> int:
        """Deal with a frame that is no plain message; returns where the next one begins."""
        kind = judgement.kind
        if kind is Kind.CLOSE and self._host.is_fast and self._library is None:
            payload = payload_of(block, judgement)
            close = close_from(payload)
            if close is not None:
                self._take_close(close, encode_frame(CLOSE, payload))
                return judgement.end
        if kind is Kind.FRAGMENT:
            self._fragments = max(self._fragments, 0) + judgement.size
            self._fragment_count += 1
        elif kind is Kind.LAST_FRAGMENT:
            self._fragments = -1
            self._fragment_count = 0
        if kind in (Kind.MESSAGE, Kind.LAST_FRAGMENT):
            self._expected += 1
            self.sweeps_unfinished = 0
        # Behind what no client may send nobody knows where a frame begins; trio-websocket closes there.
        self._is_raw = kind is Kind.BROKEN
        end = len(block) if self._is_raw else judgement.end
        self._hand_over(block[position:end])
        return end

    # trio-websocket.

    def _hand_over(self, frame: bytes) -> None:
        self._is_busy = True
        if self._library is None:
            self._library = Library(self.wire, self._note_idle)
            self.wire.run_beside(self._converse, self._library)
        self._library.feed(frame)

    async def _converse(self, library: Library) -> None:
        try:
            close = await library.converse(self._host.max_message, self._take_message)
            await self._finish(close or (ABNORMAL, ""), is_clean=library.has_sent_close)
        finally:
            self._library = None
            if not self.has_ended:
                self.wire.abort()  # an error of ours: the connection must not hang
                self._end((ABNORMAL, ""), lingers=False)
            if self._is_deserted:
                self._on_closed()

    async def _take_message(self, message: str | bytes) -> None:
        if not self.wire.has_failed:
            await self._feed.put(message_event(self.client.id, message), self.client)
        if self.meter is not None:
            self.meter.last_message = trio.current_time()
        self._taken += 1
        if self._library is not None and self._library.is_idle:
            self._note_idle()

    def _note_idle(self) -> None:
        """trio-websocket has nothing left; its last message may still be on its way into the feed."""
        if self._is_busy and self._taken >= self._expected and not self.has_ended:
            self._is_busy = False
            self._advance()
            self._feed.flush()

    # The end.

    def _take_close(self, close: CloseCode, echo: bytes) -> None:
        """The client has sent a Close frame that is right, or answers ours with it."""
        # Departed first: a connection that is found broken by this write was closed in order all the same.
        if self._depart(close, is_clean=True):
            self.wire.send_close(echo, close)
            self._finish_soon(lingers=False)

    def _stop_reading(self) -> None:
        self._is_reading = False
        self.wire.waiting_since = None
        self._host.readers.remove(self)

    def fail(self, code: int, reason: str) -> None:
        """Close, and take no more of what the client sends, also when a Close of ours has gone before."""
        self.wire.fail(code, reason)
        self._stop()

    def _stop(self) -> None:
        """We have closed for the client's fault."""
        self._end(self.wire.close_sent or (ABNORMAL, ""), lingers=True)

    def _lose(self) -> None:
        """The wire has been closed, perhaps under us."""
        if self._library is not None and not self.has_ended:
            self._is_deserted = True
            self.lose()
        else:
            self._end(self.wire.close_sent or (ABNORMAL, ""), lingers=False)
            self._on_closed()

    def _end(self, close: CloseCode, *, lingers: bool) -> None:
        if self._depart(self.wire.close_sent or close, is_clean=False) and not self.wire.is_closed:
            self._finish_soon(lingers=lingers)

    def _finish_soon(self, *, lingers: bool) -> None:
        """Close the connection, at once where that takes no waiting: a task is a good part of what a client costs."""
        if lingers or not self.wire.finish_at_once():
            self.wire.run_beside(self._finish_wire, lingers)

    async def _finish(self, close: CloseCode, *, is_clean: bool) -> None:
        """trio-websocket has come to the end of the connection."""
        if not is_clean and close[0] != ABNORMAL:
            self.wire.begin_close(*close)  # it has found a fault, and drops the connection without a word
        if not is_clean and self.wire.close_sent is not None:
            close = self.wire.close_sent
        if self._depart(close, is_clean=is_clean):
            await self._finish_wire(lingers=not is_clean and close[0] != ABNORMAL)

    async def _finish_wire(self, lingers: bool) -> None:
        await self._host.readers.wait_removed(self)
        await self.wire.finish(lingers=lingers)

    def _depart(self, close: CloseCode, *, is_clean: bool) -> bool:
        if self.has_ended:
            return False
        self.has_ended = True
        self._stop_reading()
        self._blocks = []
        self._have = 0
        if self._library is not None:
            self._library.end()  # it lets go of the fragments that it holds
        self._host.depart(self.client, *close, clean=is_clean)
        return True


_CONTROLS = (Kind.PING, Kind.PONG, Kind.CLOSE, Kind.BROKEN)
