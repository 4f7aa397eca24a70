"""The sink: the last process of a chain.

Reads: frames on stdin. Writes: actions, checked, and ticks, as acknowledgements, on stdout. A tick goes out behind all
that came before it; where Redis has yet to confirm some of that it says so. With Redis it publishes what is to be
published, and passes other servers what is for their clients as well. Never: passes on an event, or lets a wrong action
through.
"""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from fws_pipe.errors import SystemRefusedError
from fws_pipe.pipes.blocks import (
    BlockWriter,
    OutputClosedError,
    block_writer_for_the_front,
    input_source,
    read_frames,
    run_program,
    say,
)
from fws_pipe.protocol.actions import ACTION_TYPES, COUNT, PUBLISH, SEND, check_action
from fws_pipe.protocol.codec import Frame, FrameDecoder, encode, type_of
from fws_pipe.protocol.events import EVENT_TYPES, TICK, confirm_frame, lost_frame, unconfirmed
from fws_pipe.protocol.outgoing import Outgoing


class Abroad(Protocol):
    """Where actions go that are not, or not only, for this server's clients."""

    def publish(self, action: Frame) -> None:
        """Publish a `publish` action."""

    def relay(self, action: Frame) -> None:
        """Pass an action on to the other servers."""


class Sink:
    """Sorts frames into those that go back to the front, and those that end here."""

    def __init__(self, source: str, abroad: Abroad | None = None) -> None:
        self._source = source
        self._abroad = abroad
        self._unknown_types: set[str | None] = set()
        self._end = 0
        """Where the last frame ended."""
        self.dropped = 0
        """Actions with a wrong field."""

    def take(self, frame: Frame, offset: int) -> bool:
        """Whether this frame goes on to the front. `offset` is where it ends in the stream, in bytes."""
        kind = type_of(frame)
        start, self._end = self._end, offset
        if kind == TICK:
            return True
        if kind in ACTION_TYPES:
            problem = check_action(frame)
            if problem is None:
                return self._abroad is None or self._send_abroad(frame, self._abroad)
            self.dropped += 1
            say(f"frame that came through {self._source}, at byte {start}: {problem}; dropped")
        elif kind not in EVENT_TYPES and not self._is_known_as_unknown(kind):
            say(
                f"frame that came through {self._source}, at byte {start}: unknown type {kind!r}; "
                "this type is dropped from now on"
            )
        return False

    def _send_abroad(self, action: Frame, abroad: Abroad) -> bool:
        """Whether the action is for the front as well."""
        if action["type"] == PUBLISH:
            abroad.publish(action)
            return False
        if action["type"] == SEND and action.get("everywhere"):
            abroad.relay(action)
        return True

    def _is_known_as_unknown(self, kind: str | None) -> bool:
        if kind in self._unknown_types:
            return True
        # A chain that makes up a new type for each frame must not fill our memory.
        if len(self._unknown_types) < _REMEMBERED_TYPES:
            self._unknown_types.add(kind)
            return False
        return True


_REMEMBERED_TYPES = 1000


def main() -> None:
    """Run fws-sink: frames in, actions and ticks out."""
    run_program("fws-sink", _relay_to_redis if "FWS_REDIS" in os.environ else _relay)


def _relay() -> None:
    output = block_writer_for_the_front()
    decoder = FrameDecoder(input_source())
    out = Outgoing(decoder, output.add)

    def write() -> None:
        output.add(out.take())
        output.flush()

    _relay_all(Sink(input_source()), decoder, lambda frame: out.pass_on(), write)


def _relay_to_redis() -> None:
    decoder = FrameDecoder(input_source())
    back = WayBack(decoder, block_writer_for_the_front())
    # Loaded here: redis takes longer to load than all the rest, and most servers do without.
    abroad = importlib.import_module("fws_pipe.broker.redis_broker").RedisAbroad(back.show_life, back.confirm)
    back.abroad = abroad
    signal.signal(signal.SIGTERM, lambda number, frame: abroad.hurry())
    _relay_all(Sink(input_source(), abroad), decoder, back.pass_on, back.flush)
    abroad.finish()
    back.finish(abroad.lost)


class Publishing(Protocol):
    """How far what has been published is."""

    accepted: int
    """How many messages there have been,"""
    finished: int
    """and how many of them are done: the oldest ones."""

    def note_tick(self, seq: int) -> None:
        """A tick has come through the chain."""

    def take_counts(self) -> Mapping[str, int]:
        """What has been counted since the last time."""


class WayBack:
    """The way to the front, with Redis. Ticks don't wait, so that local service goes on while Redis is away.

    One that is ahead of what Redis has confirmed is marked, and a `confirm` follows: until then the front keeps what
    came before it. Written by the main thread and by the publisher's.
    """

    abroad: Publishing

    def __init__(self, decoder: FrameDecoder, output: BlockWriter) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._out = Outgoing(decoder, self._queue)
        self._marked: list[tuple[int, int]] = []
        """Ticks in `_out`: how many messages had been accepted then, and the tick's number."""
        self._unconfirmed: deque[tuple[int, int]] = deque()
        """Those that have been written."""
        self._confirmed = 0

    def pass_on(self, frame: Frame) -> None:
        """Queue the frame at hand for the front."""
        is_tick = frame["type"] == TICK and type(frame.get("seq")) is int
        if is_tick:
            self.abroad.note_tick(frame["seq"])
        if is_tick and self.abroad.finished < self.abroad.accepted:
            self._marked.append((self.abroad.accepted, frame["seq"]))
            self._out.add(encode(unconfirmed(frame)))
        else:
            self._out.pass_on()

    def _queue(self, block: bytes) -> None:
        with self._lock:
            self._output.add(block)

    def flush(self) -> None:
        """Write what is queued, and what has been counted."""
        self._out.add_all({"type": COUNT, "name": name, "by": by} for name, by in self.abroad.take_counts().items())
        with self._lock:
            self._output.add(self._out.take())
            self._unconfirmed.extend(self._marked)
            self._marked.clear()
            self._add_confirm()
            self._output.flush()

    def finish(self, lost: int) -> None:
        """Write the last of it, and how many publishes will never be confirmed."""
        if lost:
            self._out.add(encode(lost_frame(lost)))
        self.flush()

    def confirm(self) -> None:
        """Redis has got on. From any thread."""
        with self._lock:
            self._add_confirm()
            try:
                self._output.flush()
            except (OutputClosedError, SystemRefusedError):
                pass  # the main thread will find out, and end

    def show_life(self) -> None:
        """Tell the front that it is Redis that we wait for: it takes a chain that is silent for one that hangs."""
        self.flush()
        with self._lock:
            self._output.add(encode(confirm_frame(self._confirmed)))
            self._output.flush()

    def _add_confirm(self) -> None:
        """Confirm the last tick that can be: that covers those before it."""
        before = self._confirmed
        while self._unconfirmed and self._unconfirmed[0][0] <= self.abroad.finished:
            _, self._confirmed = self._unconfirmed.popleft()
        if self._confirmed != before:
            self._output.add(encode(confirm_frame(self._confirmed)))


def _relay_all(
    sink: Sink, decoder: FrameDecoder, pass_on: Callable[[Frame], None], after_block: Callable[[], None]
) -> None:
    for frame in read_frames(decoder, after_block):
        if sink.take(frame, decoder.offset):
            pass_on(frame)
    after_block()


if __name__ == "__main__":
    main()
