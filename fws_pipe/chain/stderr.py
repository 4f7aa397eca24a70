"""Copies a stage's stderr to the log, line by line, each with the stage's name.

In text, unprintable characters are escaped, colours included: filters quote clients, and people read logs in terminals.
Tabs stay. The other forms of the log keep each character.
"""

from __future__ import annotations

import codecs

import trio

from fws_pipe.log import Log, Subject
from fws_pipe.log_form import LogFormat
from fws_pipe.pipes.ends import PipeReader
from fws_pipe.terminal import one_line_with_tabs

LINE_LIMIT = 1024 * 1024
"""In characters. A longer line is logged in pieces of this size, so that memory stays bounded."""

_LAST_WORDS = 1000


class StderrCopier:
    """Reads one stage's stderr to its end. `label` is the stage's name in messages, `pid` its process."""

    def __init__(self, reader: PipeReader, label: str, pid: int, log: Log) -> None:
        self._reader = reader
        self._label = label
        self._pid = pid
        self._log = log.about(Subject.STAGE)
        self._escapes = log.form is LogFormat.TEXT
        self._parts: list[str] = []
        self._size = 0
        self.last_words = ""
        """The last line that wasn't blank, or its first 1000 characters."""
        self.ended = trio.Event()
        """Set when stderr has come to its end."""

    async def run(self) -> None:
        """Copy until the stage, and each process that inherited its stderr, has closed it."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")
        while block := await self._reader.read():
            self._feed(decoder.decode(block))
        self._feed(decoder.decode(b"", final=True))
        if self._size:
            self._end_line()
        self.ended.set()

    def _feed(self, text: str) -> None:
        first, *rest = text.split("\n")
        self._add(first)
        for line in rest:
            self._end_line()
            self._add(line)

    def _add(self, piece: str) -> None:
        # Each piece is escaped when it arrives: escaping a long line at its end would hold up the clients.
        if self._escapes:
            piece = one_line_with_tabs(piece)
        while self._size + len(piece) > LINE_LIMIT:
            room = LINE_LIMIT - self._size
            self._parts.append(piece[:room])
            self._end_line()
            piece = piece[room:]
        if piece:
            self._parts.append(piece)
            self._size += len(piece)

    def _end_line(self) -> None:
        line = "".join(self._parts)
        self._parts, self._size = [], 0
        if line.strip():
            self.last_words = line[:_LAST_WORDS]
        self._log.stage_line(self._label, self._pid, line)
