"""The sink: the last process of a chain.

Reads: frames on stdin. Writes: checked actions, and ticks as acknowledgements, on stdout. A tick goes out behind all
actions that came before it, and is marked while Redis has yet to confirm one of them. With Redis it also publishes
`publish` actions, and relays `send` actions with `everywhere` to the other servers. Never: passes on an event, or lets
a wrong action through.
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


class Broker(Protocol):
    """What joins this server to others and to their programs: takes actions that are not only for its own clients."""

    def publish(self, action: Frame) -> None:
        """Publish a `publish` action."""

    def relay(self, action: Frame) -> None:
        """Send a `send` action to the other servers as well."""


class Sink:
    """Sorts frames into those that go to the front and those that end here. `source` names their writer in messages."""

    def __init__(self, source: str, broker: Broker | None = None) -> None:
        self._source = source
        self._broker = broker
        self._unknown_types: set[str | None] = set()
        self._end = 0
        """The offset at which the last frame ended, in bytes."""
        self.dropped = 0
        """How many actions with a wrong field were dropped."""

    def handle(self, frame: Frame, offset: int) -> bool:
        """Check a frame, and publish it where it is for others; returns whether it goes to the front.

        `offset` is where it ends in the stream, in bytes.
        """
        kind = type_of(frame)
        start, self._end = self._end, offset
        if kind == TICK:
            return True
        if kind in ACTION_TYPES:
            problem = check_action(frame)
            if problem is None:
                return self._broker is None or self._give_to_broker(frame, self._broker)
            self.dropped += 1
            say(f"frame that came through {self._source}, at byte {start}: {problem}; dropped")
        elif kind not in EVENT_TYPES and not self._is_known_as_unknown(kind):
            say(
                f"frame that came through {self._source}, at byte {start}: unknown type {kind!r}; "
                "this type is dropped from now on"
            )
        return False

    def _give_to_broker(self, action: Frame, broker: Broker) -> bool:
        """Publish or relay an action that is for others; returns whether it is for this server's clients as well."""
        if action["type"] == PUBLISH:
            broker.publish(action)
            return False
        if action["type"] == SEND and action.get("everywhere"):
            broker.relay(action)
        return True

    def _is_known_as_unknown(self, kind: str | None) -> bool:
        if kind in self._unknown_types:
            return True
        # A chain that invents a new type for each frame must not fill our memory.
        if len(self._unknown_types) < _REMEMBERED_TYPES:
            self._unknown_types.add(kind)
            return False
        return True


_REMEMBERED_TYPES = 1000


def main() -> None:
    """Run fws-sink: frames in, actions and ticks out."""
    run_program("fws-sink", _run_with_redis if "FWS_REDIS" in os.environ else _run_alone)


def _run_alone() -> None:
    output = block_writer_for_the_front()
    decoder = FrameDecoder(input_source())
    out = Outgoing(decoder, output.add)

    def write() -> None:
        output.add(out.take())
        output.flush()

    _handle_all(Sink(input_source()), decoder, lambda frame: out.pass_on(), write)


def _run_with_redis() -> None:
    decoder = FrameDecoder(input_source())
    back = WayBack(decoder, block_writer_for_the_front())
    # Loaded here: redis takes longer to load than all the rest, and most servers do without.
    broker = importlib.import_module("fws_pipe.broker.redis_broker").RedisBroker(back.show_life, back.confirm)
    back.publishing = broker
    signal.signal(signal.SIGTERM, lambda number, frame: broker.hurry())
    _handle_all(Sink(input_source(), broker), decoder, back.pass_on, back.flush)
    broker.finish()
    back.finish(broker.lost)


class Publishing(Protocol):
    """The progress of publishing."""

    accepted: int
    """How many messages have been queued so far."""
    finished: int
    """How many of them, the oldest ones, Redis has confirmed or refused."""

    def note_tick(self, seq: int) -> None:
        """Record that the tick of this number has come through the chain."""

    def take_counts(self) -> Mapping[str, int]:
        """The counts since the last call, by name."""


class WayBack:
    """The output to the front with Redis. Ticks never wait, so that local service goes on while Redis is away.

    A tick that comes back before Redis has confirmed what was published before it is marked, and a `confirm` follows
    later: until then the front keeps the events before it. The main thread and the publisher's thread both write.
    """

    publishing: Publishing

    def __init__(self, decoder: FrameDecoder, output: BlockWriter) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._out = Outgoing(decoder, self._queue)
        self._marked: list[tuple[int, int]] = []
        """Marked ticks in `_out`: the messages accepted before each, and its number."""
        self._unconfirmed: deque[tuple[int, int]] = deque()
        """Marked ticks that have been written and not been confirmed, in the same form."""
        self._confirmed = 0
        """The number of the last tick that was confirmed."""

    def pass_on(self, frame: Frame) -> None:
        """Queue the current frame for the front."""
        is_tick = frame["type"] == TICK and type(frame.get("seq")) is int
        if is_tick:
            self.publishing.note_tick(frame["seq"])
        if is_tick and self.publishing.finished < self.publishing.accepted:
            self._marked.append((self.publishing.accepted, frame["seq"]))
            self._out.add(encode(unconfirmed(frame)))
        else:
            self._out.pass_on()

    def _queue(self, block: bytes) -> None:
        with self._lock:
            self._output.add(block)

    def flush(self) -> None:
        """Write what is queued, and a `count` action for each new count."""
        self._out.add_all({"type": COUNT, "name": name, "by": by} for name, by in self.publishing.take_counts().items())
        with self._lock:
            self._output.add(self._out.take())
            self._unconfirmed.extend(self._marked)
            self._marked.clear()
            self._add_confirm()
            self._output.flush()

    def finish(self, lost: int) -> None:
        """Write what is queued, and that `lost` publishes will never be confirmed."""
        if lost:
            self._out.add(encode(lost_frame(lost)))
        self.flush()

    def confirm(self) -> None:
        """Write a `confirm` if Redis has confirmed all before another tick. From any thread."""
        with self._lock:
            self._add_confirm()
            try:
                self._output.flush()
            except (OutputClosedError, SystemRefusedError):
                pass  # the main thread will notice, and end

    def show_life(self) -> None:
        """Show the front that this process waits for Redis: otherwise it takes the silent chain for one that hangs."""
        self.flush()
        with self._lock:
            self._output.add(encode(confirm_frame(self._confirmed)))
            self._output.flush()

    def _add_confirm(self) -> None:
        """Queue a `confirm` for the last tick that can be confirmed; it covers the ticks before it."""
        before = self._confirmed
        while self._unconfirmed and self._unconfirmed[0][0] <= self.publishing.finished:
            _, self._confirmed = self._unconfirmed.popleft()
        if self._confirmed != before:
            self._output.add(encode(confirm_frame(self._confirmed)))


def _handle_all(
    sink: Sink, decoder: FrameDecoder, pass_on: Callable[[Frame], None], after_block: Callable[[], None]
) -> None:
    for frame in read_frames(decoder, after_block):
        if sink.handle(frame, decoder.offset):
            pass_on(frame)
    after_block()


if __name__ == "__main__":
    main()
