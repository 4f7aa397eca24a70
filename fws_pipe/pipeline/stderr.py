"""Relays a stage's stderr to the log, line by line, with the stage's name before each line."""

from __future__ import annotations

import trio

from fws_pipe.log import Log
from fws_pipe.pipes import PipeReader

LINE_LIMIT_BYTES = 1024 * 1024
"""A longer line is passed on in pieces of this size: it must be drained without being held in memory."""

_LAST_WORDS_BYTES = 1000


class StderrRelay:
    """Drains one stage's stderr. `label` is the stage's name as messages give it."""

    def __init__(self, reader: PipeReader, label: str, log: Log) -> None:
        self._reader = reader
        self._prefix = f"{label}: ".encode()
        self._log = log
        self._parts: list[bytes] = []
        self._size = 0
        self.last_words = ""
        """The last line that wasn't empty."""
        self.ended = trio.Event()

    async def run(self) -> None:
        """Relay until the stage, and all that has inherited its stderr, have closed it."""
        while block := await self._reader.read():
            first, *rest = block.split(b"\n")
            self._add(first)
            for line in rest:
                self._pass_on()
                self._add(line)
        if self._size:
            self._pass_on()
        self.ended.set()

    def _add(self, piece: bytes) -> None:
        while self._size + len(piece) > LINE_LIMIT_BYTES:
            room = LINE_LIMIT_BYTES - self._size
            self._parts.append(piece[:room])
            self._pass_on()
            piece = piece[room:]
        if piece:
            self._parts.append(piece)
            self._size += len(piece)

    def _pass_on(self) -> None:
        line = b"".join(self._parts)
        self._parts, self._size = [], 0
        if line.strip():
            self.last_words = line[:_LAST_WORDS_BYTES].decode(errors="replace")
        self._log.line(self._prefix + line)
