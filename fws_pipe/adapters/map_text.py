"""map: replaces the text of each message by the program's answer, line for line. No I/O.

A message of one line is answered by one line. With `keep` a message of three lines is answered by three, which are
joined again. Frames behind a message, ticks included, wait for its answer; so map keeps every promise of a filter.
Anything but a text message passes on unchanged.
"""

from __future__ import annotations

from collections.abc import Callable

from fws_pipe.adapters.arguments import NEWLINES, Option, Words, one_of
from fws_pipe.adapters.lines import LINE_LIMIT_BYTES, escape, unescape, without_return
from fws_pipe.adapters.pending import Pending
from fws_pipe.errors import ProgramError
from fws_pipe.protocol.actions import CLOSE
from fws_pipe.protocol.codec import Frame, FrameDecoder, describe, encode
from fws_pipe.protocol.events import MESSAGE
from fws_pipe.protocol.outgoing import Outgoing
from fws_pipe.wording import counted

UNACCEPTABLE = 1003
"""The close code for a message of a kind that is not taken (RFC 6455, section 7.4.1)."""

NEWLINE = Option(
    "--newline",
    "for messages of several lines: keep (one answer per line), escape (one line with %0A) or reject (close 1003)",
    "|".join(NEWLINES), "keep", one_of(*NEWLINES),
)  # fmt: skip


class _Asked:
    """A message and its lines: how many the program still has to answer, and what it has."""

    __slots__ = ("answers", "has_returns", "message", "missing")

    def __init__(self, message: Frame, lines: int, has_returns: bool) -> None:
        self.message = message
        self.missing = lines
        self.has_returns = has_returns
        self.answers: list[bytes] = []


class MapText:
    """The translator of map. `newline`: keep, escape or reject newlines in a message. `tell` logs complaints."""

    handles = (MESSAGE,)

    def __init__(self, newline: str, tell: Callable[[str], None], decoder: FrameDecoder, out: Outgoing) -> None:
        self.promise = ""
        self._newline = newline
        self._tell = tell
        self._out = out
        self._pending: Pending[_Asked] = Pending(decoder, out)
        self._lines: list[bytes] = []

    @property
    def unanswered(self) -> int:
        """Bytes of the unanswered messages, and of the frames that wait behind them."""
        return self._pending.size

    def take(self, frame: Frame, handled: str) -> None:
        """Take a frame from stdin."""
        text = frame.get("data")
        if handled != MESSAGE or type(text) is not str:
            self._pending.pass_on()
        elif self._newline == "reject" and "\n" in text:
            self._reject(frame)
        else:
            self._ask(frame, escape(text) if self._newline == "escape" else text)

    def _ask(self, message: Frame, text: str) -> None:
        line = text.encode(errors="surrogateescape") + b"\n"
        self._lines.append(line)
        self._pending.ask(_Asked(message, line.count(b"\n"), b"\r" in line), len(line))

    def _reject(self, message: Frame) -> None:
        """Drop a message of several lines, and close its client."""
        close = {"type": CLOSE, "to": message["id"], "code": UNACCEPTABLE, "reason": "a message must be a single line"}
        self._pending.add(encode({**close, "seq": message["seq"]} if "seq" in message else close))

    def end(self) -> None:
        """No-op: the answers still come."""

    def take_lines(self, lines: list[bytes]) -> None:
        """Take lines of answers. Raises ProgramError for a line that answers no message."""
        for line in lines:
            asked = self._pending.oldest
            if asked is None:
                raise ProgramError(
                    f"a line that answers no message: {describe(line)}; expected one line for each line it reads"
                )
            # If the message has no CR, one at the end of a line comes from a program that writes CR LF.
            asked.answers.append(line if asked.has_returns else without_return(line))
            asked.missing -= 1
            if not asked.missing:
                self._answer(asked)

    def _answer(self, asked: _Asked) -> None:
        text = self._text_of(b"\n".join(asked.answers))
        asked.message["data"] = unescape(text) if self._newline == "escape" else text
        self._out.add(encode(asked.message))
        self._pending.settle()

    def _text_of(self, answer: bytes) -> str:
        try:
            return answer.decode()
        except UnicodeDecodeError:
            self._tell(f"an answer is not UTF-8: {describe(answer)}; sent with replacement characters")
            return answer.decode(errors="replace")

    def note_dropped(self, count: int) -> None:
        """Raise ProgramError: without the dropped answer its message would stay unanswered for ever."""
        raise ProgramError(f"a line of the program is over the limit of {LINE_LIMIT_BYTES} bytes")

    def lines(self) -> bytes:
        """Take the lines that the program is to read now."""
        lines, self._lines = self._lines, []
        return b"".join(lines)

    def missing(self) -> str:
        """For the log: the number of unanswered messages; empty: none."""
        return f"{counted(len(self._pending), 'message')} unanswered" if self._pending else ""


def make(words: Words, tell: Callable[[str], None], decoder: FrameDecoder, out: Outgoing) -> MapText:
    """Make the translator of the filter map."""
    return MapText(words.value(NEWLINE), tell, decoder, out)
