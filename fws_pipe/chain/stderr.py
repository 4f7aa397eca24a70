"""Relays a stage's stderr to the log, line by line, with the stage's name before each line.

What isn't printable is escaped, colours included: filters quote clients, and logs are read in terminals. Tabs stay.
"""

from __future__ import annotations

import codecs

import trio

from fws_pipe.log import Log
from fws_pipe.pipes.ends import PipeReader
from fws_pipe.terminal import one_line, one_line_with_tabs

LINE_LIMIT = 1024 * 1024
"""A line of more characters is passed on in pieces of this size: it must be drained without being held in memory."""

_LAST_WORDS = 1000


class StderrRelay:
    """Drains one stage's stderr. `label` is the stage's name as messages give it."""

    def __init__(self, reader: PipeReader, label: str, log: Log) -> None:
        self._reader = reader
        self._prefix = one_line(f"{label}: ")
        self._log = log
        self._parts: list[str] = []
        self._size = 0
        self.last_words = ""
        """The last line that wasn't empty."""
        self.ended = trio.Event()

    async def run(self) -> None:
        """Relay until the stage, and all that has inherited its stderr, have closed it."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
        while block := await self._reader.read():
            self._take(decoder.decode(block))
        self._take(decoder.decode(b"", final=True))
        if self._size:
            self._pass_on()
        self.ended.set()

    def _take(self, text: str) -> None:
        first, *rest = text.split("\n")
        self._add(first)
        for line in rest:
            self._pass_on()
            self._add(line)

    def _add(self, piece: str) -> None:
        # Each piece is escaped as it comes: a long line at once would hold up the clients.
        piece = one_line_with_tabs(piece)
        while self._size + len(piece) > LINE_LIMIT:
            room = LINE_LIMIT - self._size
            self._parts.append(piece[:room])
            self._pass_on()
            piece = piece[room:]
        if piece:
            self._parts.append(piece)
            self._size += len(piece)

    def _pass_on(self) -> None:
        line = "".join(self._parts)
        self._parts, self._size = [], 0
        if line.strip():
            self.last_words = line[:_LAST_WORDS]
        self._log.line(self._prefix + line)
