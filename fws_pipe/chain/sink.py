"""The sink: the last process of a chain.

Reads: frames on stdin. Writes: actions, checked, and ticks, as acknowledgements, on stdout. A tick goes out behind all
that came before it; where the broker has yet to confirm some of that it says so. The broker gets what is to be
published, and what is for other servers' clients as well. Never: passes on an event, or lets a wrong action through.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable

from fws_pipe.broker.broker import Broker, open_broker
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


class Sink:
    """Sorts frames into those that go to the front and those that end here. `source` names their writer in messages."""

    def __init__(self, source: str, broker: Broker) -> None:
        self._source = source
        self._broker = broker
        self._unknown_types: set[str | None] = set()
        self._end = 0
        """The offset at which the last frame ended, in bytes."""
        self.dropped = 0
        """How many actions with a wrong field were dropped."""

    def passes(self, frame: Frame, offset: int) -> bool:
        """Whether this frame goes on to the front. `offset` is where it ends in the stream, in bytes."""
        kind = type_of(frame)
        start, self._end = self._end, offset
        if kind == TICK:
            return True
        if kind in ACTION_TYPES:
            problem = check_action(frame)
            if problem is None:
                return self._is_for_the_front(frame)
            self.dropped += 1
            say(f"frame that came through {self._source}, at byte {start}: {problem}; dropped")
        elif kind not in EVENT_TYPES and not self._is_known_as_unknown(kind):
            say(
                f"frame that came through {self._source}, at byte {start}: unknown type {kind!r}; "
                "this type is dropped from now on"
            )
        return False

    def _is_for_the_front(self, action: Frame) -> bool:
        """Give the broker what is for it; returns whether the action is for the front as well."""
        if action["type"] == PUBLISH:
            return not self._broker.publish(action)
        if action["type"] == SEND and action.get("everywhere"):
            self._broker.relay(action)
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
    run_program("fws-sink", _sort_all)


def _sort_all() -> None:
    decoder = FrameDecoder(input_source())
    back = WayBack(decoder, block_writer_for_the_front(), functools.partial(open_broker, os.environ))
    back.broker.hurry_on_sigterm()
    sink = Sink(input_source(), back.broker)
    for frame in read_frames(decoder, back.flush):
        if sink.passes(frame, decoder.offset):
            back.pass_on(frame)
    back.finish()


class WayBack:
    """The way back to the front. Ticks don't wait, so that local service goes on while the broker is away.

    One that is ahead of what the broker has confirmed is marked, and a `confirm` follows: until then the front keeps
    what came before it. Written by the main thread and by the broker's.

    `open_broker` gets what the broker is to call while an action waits, and when it has got on.
    """

    def __init__(
        self,
        decoder: FrameDecoder,
        output: BlockWriter,
        open_broker: Callable[[Callable[[], object], Callable[[], object]], Broker],
    ) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._out = Outgoing(decoder, self._queue)
        self._marked: list[tuple[int, int]] = []
        """Marked ticks in `_out`: the messages accepted before each, and its number."""
        self._unconfirmed: deque[tuple[int, int]] = deque()
        """Marked ticks that have been written and not been confirmed, in the same form."""
        self._confirmed = 0
        """The number of the last tick that was confirmed."""
        self.broker = open_broker(self.show_life, self.confirm)

    def pass_on(self, frame: Frame) -> None:
        """Queue the current frame for the front."""
        if frame["type"] == TICK and type(frame.get("seq")) is int:
            self._pass_on_tick(frame, frame["seq"])
        else:
            self._out.pass_on()

    def _pass_on_tick(self, tick: Frame, seq: int) -> None:
        self.broker.note_tick(seq)
        accepted = self.broker.accepted
        if self.broker.finished < accepted:
            self._marked.append((accepted, seq))
            self._out.add(encode(unconfirmed(tick)))
        else:
            self._out.pass_on()

    def _queue(self, block: bytes) -> None:
        with self._lock:
            self._output.add(block)

    def flush(self) -> None:
        """Write what is queued, and a `count` action for each new count."""
        if counts := self.broker.take_counts():
            self._out.add_all({"type": COUNT, "name": name, "by": by} for name, by in counts.items())
        with self._lock:
            self._output.add(self._out.pop_all())
            if self._marked:
                self._unconfirmed.extend(self._marked)
                self._marked.clear()
            if self._unconfirmed:
                self._add_confirm()
            self._output.flush()

    def finish(self) -> None:
        """Wait for the broker, and write the last of it, with how many publishes will never be confirmed."""
        self.flush()
        self.broker.finish()
        if self.broker.lost:
            self._out.add(encode(lost_frame(self.broker.lost)))
        self.flush()

    def confirm(self) -> None:
        """Write a `confirm` if the broker has confirmed all before another tick. From any thread."""
        with self._lock:
            self._add_confirm()
            try:
                self._output.flush()
            except (OutputClosedError, SystemRefusedError):
                pass  # the main thread will find out, and end

    def show_life(self) -> None:
        """Show the front that this process waits for the broker, since a silent chain passes for one that hangs."""
        self.flush()
        with self._lock:
            self._output.add(encode(confirm_frame(self._confirmed)))
            self._output.flush()

    def _add_confirm(self) -> None:
        """Queue a `confirm` for the last tick that can be confirmed; it covers the ticks before it."""
        before = self._confirmed
        while self._unconfirmed and self._unconfirmed[0][0] <= self.broker.finished:
            _, self._confirmed = self._unconfirmed.popleft()
        if self._confirmed != before:
            self._output.add(encode(confirm_frame(self._confirmed)))


if __name__ == "__main__":
    main()
