"""Keeps frames in order while the program has yet to answer one of them. No I/O."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from fws_pipe.protocol.codec import FrameDecoder
from fws_pipe.protocol.outgoing import Outgoing

Asked = TypeVar("Asked")


class Pending(Generic[Asked]):
    """Passes frames on to `out`, or keeps them until all questions before them are answered.

    So a tick tells the front that everything before it is answered, as it does behind any filter.
    """

    def __init__(self, decoder: FrameDecoder, out: Outgoing) -> None:
        self._decoder = decoder
        self._out = out
        self._asked: deque[tuple[Asked, int, list[bytes]]] = deque()
        """Each unanswered question, its size in bytes, and the encoded frames behind it."""
        self.size = 0
        """The bytes of all of these."""

    def __len__(self) -> int:
        return len(self._asked)

    def pass_on(self) -> None:
        """Pass on the frame that the decoder has at hand, in its turn."""
        if not self._asked:
            self._out.pass_on()
            return
        self._keep(self._decoder.raw())

    def add(self, frame: bytes) -> None:
        """Send out a new, encoded frame in its turn."""
        if self._asked:
            self._keep(frame)
        else:
            self._out.add(frame)

    def _keep(self, frame: bytes) -> None:
        self._asked[-1][2].append(frame)
        self.size += len(frame)

    def ask(self, asked: Asked, size: int) -> None:
        """Add a question of `size` bytes: the frames behind it wait for its answer."""
        self._asked.append((asked, size, []))
        self.size += size

    @property
    def oldest(self) -> Asked | None:
        """The oldest unanswered question; None: there is none."""
        return self._asked[0][0] if self._asked else None

    def settle(self) -> None:
        """Note that the oldest question is answered: the frames behind it pass on."""
        _, size, behind = self._asked.popleft()
        self.size -= size
        for raw in behind:
            self._out.add(raw)
            self.size -= len(raw)
