"""A wire that goes nowhere, for the tests of clients."""

from __future__ import annotations

from fws_pipe.websocket.outbox import Outbox


class Wire:
    """Records what is posted."""

    def __init__(self) -> None:
        self.outbox = Outbox(10**6)
        self.posted: list[bytes] = []
        self.own: list[bytes] = []
        self.flushed = 0
        self.closed: list[tuple[int, str]] = []
        self.has_room = True

    @property
    def is_closing(self) -> bool:
        return bool(self.closed)

    def post(self, frame: bytes, weight: int = 0) -> bool:
        if self.has_room and not self.closed:
            self.posted.append(frame)
            return True
        return False

    def post_behind(self, frame: bytes, weight: int = 0, *, is_own: bool) -> bool:
        if is_own and not self.closed:
            self.own.append(frame)
            return True
        return self.post(frame)

    def write(self, frame: bytes, weight: int = 0) -> bool:
        is_taken = self.post(frame)
        self.flush()
        return is_taken

    def flush(self) -> None:
        self.flushed += 1

    def begin_close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))

    fail = begin_close
