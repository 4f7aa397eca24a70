"""The sink: the last process of a chain.

Reads: frames on stdin. Writes: actions, checked, and ticks, as acknowledgements, on stdout. A tick goes out
behind all that came before it. With Redis it publishes what is to be published, and passes other servers what is for
their clients as well. Never: passes on an event, or lets a wrong action through.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Protocol

from fws_pipe.protocol.actions import ACTION_TYPES, COUNT, PUBLISH, SEND, check_action
from fws_pipe.protocol.blocks import BlockWriter, block_writer_for_the_front, input_source, read_frames, run_program
from fws_pipe.protocol.codec import Frame, FrameDecoder, encode, type_of
from fws_pipe.protocol.events import EVENT_TYPES, TICK


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
            self._say(f"frame that came through {self._source}, at byte {start}: {problem}; dropped")
        elif kind not in EVENT_TYPES and not self._is_known_as_unknown(kind):
            self._say(
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

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


_REMEMBERED_TYPES = 1000


def main() -> None:
    """Run fws-sink: frames in, actions and ticks out."""
    run_program("fws-sink", _relay_to_redis if "FWS_REDIS" in os.environ else _relay)


def _relay() -> None:
    output = block_writer_for_the_front()
    _relay_all(Sink(input_source()), output, output.flush)


def _relay_to_redis() -> None:
    output = block_writer_for_the_front()

    def after_block() -> None:
        for name, by in abroad.take_counts().items():
            output.add(encode({"type": COUNT, "name": name, "by": by}))
        output.flush()

    # Loaded here: redis takes longer to load than all the rest, and most servers do without.
    abroad = importlib.import_module("fws_pipe.abroad").RedisAbroad(after_block)
    signal.signal(signal.SIGTERM, lambda number, frame: abroad.hurry())
    _relay_all(Sink(input_source(), abroad), output, after_block)
    abroad.finish()
    after_block()


def _relay_all(sink: Sink, output: BlockWriter, after_block: Callable[[], None]) -> None:
    decoder = FrameDecoder(input_source())
    for frame in read_frames(decoder, after_block):
        if sink.take(frame, decoder.offset):
            output.add(decoder.raw())
    after_block()


if __name__ == "__main__":
    main()
