"""The sink's way back to the front: ticks at once, confirmations when Redis has got so far."""

from __future__ import annotations

import os
from collections import Counter

from fws_pipe.chain.sink import WayBack
from fws_pipe.pipes.blocks import BlockWriter
from fws_pipe.protocol.codec import Frame, FrameDecoder, encode


class Queue:
    """As much of the way to Redis as the way back looks at."""

    def __init__(self) -> None:
        self.accepted = self.finished = 0
        self.counts: Counter[str] = Counter()

    def note_tick(self, seq: int) -> None:
        self.last_tick = seq

    def take_counts(self) -> Counter[str]:
        counts, self.counts = self.counts, Counter()
        return counts


class Back(WayBack):
    """A way back into a pipe that the test reads."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        self._arriving = FrameDecoder()
        super().__init__(self._arriving, BlockWriter(self._write_end))
        self.queue = self.publishing = Queue()
        self._decoder = FrameDecoder()

    def take(self, *frames: Frame) -> None:
        """A block of frames has arrived."""
        self._arriving.feed(b"".join(map(encode, frames)))
        for frame in self._arriving.frames():
            self.pass_on(frame)

    def written(self) -> list[Frame]:
        """What has been written since the last time."""
        os.set_blocking(self._read_end, False)
        try:
            self._decoder.feed(os.read(self._read_end, 65536))
        except BlockingIOError:
            return []
        return list(self._decoder.frames())

    def close(self) -> None:
        os.close(self._read_end)
        os.close(self._write_end)


def tick(seq: int) -> Frame:
    return {"type": "tick", "seq": seq, "time": 0.0}


def test_ticks_pass_and_those_ahead_of_redis_are_marked_and_confirmed_later() -> None:
    back = Back()
    back.take(tick(1))
    back.flush()
    back.queue.accepted = 2
    back.take(tick(2))
    back.flush()
    assert back.written() == [tick(1), {**tick(2), "unconfirmed": True}]
    back.queue.accepted = 3
    back.take({"type": "send", "to": "a", "data": "x"}, tick(3))
    back.flush()
    back.queue.accepted = 4
    back.take(tick(4))
    back.flush()
    assert [frame["type"] for frame in back.written()] == ["send", "tick", "tick"]
    back.queue.finished = 1
    back.confirm()
    assert back.written() == []
    back.queue.finished = 3
    back.confirm()
    assert back.written() == [{"type": "confirm", "seq": 3}]
    back.queue.finished = 4
    back.confirm()
    assert back.written() == [{"type": "confirm", "seq": 4}]
    back.close()


def test_what_is_confirmed_before_its_tick_is_written_comes_behind_it() -> None:
    back = Back()
    back.queue.accepted = 1
    back.take(tick(1))
    back.queue.finished = 1
    back.confirm()
    assert back.written() == []
    back.flush()
    assert back.written() == [{**tick(1), "unconfirmed": True}, {"type": "confirm", "seq": 1}]
    back.close()


def test_while_it_waits_it_confirms_again_and_nobody_minds_a_front_that_has_gone() -> None:
    back = Back()
    back.queue.counts["redis lost by the sink"] = 1
    back.show_life()
    back.show_life()
    count, *confirms = back.written()
    assert count == {"type": "count", "name": "redis lost by the sink", "by": 1}
    assert confirms == [{"type": "confirm", "seq": 0}] * 2
    back.queue.accepted = 1
    back.take(tick(1))
    back.flush()
    os.close(back._read_end)
    back.queue.finished = 1
    back.confirm()
    os.close(back._write_end)
