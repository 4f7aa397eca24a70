"""Frames in their order, of which some wait for the program's answer, and those behind them for theirs. No I/O."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from fws_pipe.protocol.codec import FrameDecoder
from fws_pipe.protocol.outgoing import Outgoing

Asked = TypeVar("Asked")


class Pending(Generic[Asked]):
    """Passes frames on to `out`, or keeps them until what stands before them is answered.

    So a tick tells the front that all before it is answered, as it does behind any filter.
    """

    def __init__(self, decoder: FrameDecoder, out: Outgoing) -> None:
        self._decoder = decoder
        self._out = out
        self._asked: deque[tuple[Asked, int, list[bytes]]] = deque()
        """What waits for an answer, its size, and the frames behind it as bytes."""
        self.size = 0
        """How many bytes are kept."""

    def __len__(self) -> int:
        return len(self._asked)

    def pass_on(self) -> None:
        """The frame that the decoder has at hand passes on, in its turn."""
        if not self._asked:
            self._out.pass_on()
            return
        self._keep(self._decoder.raw())

    def add(self, frame: bytes) -> None:
        """A new frame goes out, in its turn."""
        if self._asked:
            self._keep(frame)
        else:
            self._out.add(frame)

    def _keep(self, frame: bytes) -> None:
        self._asked[-1][2].append(frame)
        self.size += len(frame)

    def ask(self, asked: Asked, size: int) -> None:
        """The program has been asked, in so many bytes: frames from here on wait for its answer."""
        self._asked.append((asked, size, []))
        self.size += size

    @property
    def oldest(self) -> Asked | None:
        """What waits for the next answer; None: nothing does."""
        return self._asked[0][0] if self._asked else None

    def settle(self) -> None:
        """The oldest has been answered: what stands behind it passes on."""
        _, size, behind = self._asked.popleft()
        self.size -= size
        for raw in behind:
            self._out.add(raw)
            self.size -= len(raw)
