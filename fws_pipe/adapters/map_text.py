"""map: the text of each message is replaced by what the program answers, line for line. No I/O.

A message of one line is answered by one line; with `keep` one of three lines by three, which are joined again. Frames
behind a message wait for its answer, ticks too, so all that is promised of filters is true of this one. What is no text
message passes on as it is.
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
    "a message of several lines: keep, one answer for each line; escape, one line with %0A; reject, close 1003",
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
    """`newline` is keep, escape or reject: what becomes of newlines in a message. `tell` complains."""

    def __init__(self, newline: str, tell: Callable[[str], None], decoder: FrameDecoder, out: Outgoing) -> None:
        self.promise = ""
        self._newline = newline
        self._tell = tell
        self._out = out
        self._pending: Pending[_Asked] = Pending(decoder, out)
        self._lines: list[bytes] = []

    @property
    def unanswered(self) -> int:
        """How many bytes of messages are unanswered, and of frames behind them."""
        return self._pending.size

    def take(self, frame: Frame) -> None:
        """A frame has come."""
        text = frame.get("data")
        if frame.get("type") != MESSAGE or type(text) is not str or "id" not in frame:
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
        """Drop a message of several lines, and its client."""
        close = {"type": CLOSE, "to": message["id"], "code": UNACCEPTABLE, "reason": "one line a message"}
        self._pending.add(encode({**close, "seq": message["seq"]} if "seq" in message else close))

    def end(self) -> None:
        """No-op: the answers come all the same."""

    def take_lines(self, lines: list[bytes]) -> None:
        """The program has answered with these. Raises ProgramError for one that nobody has asked for."""
        for line in lines:
            asked = self._pending.oldest
            if asked is None:
                raise ProgramError(
                    f"a line that answers no message: {describe(line)}; expected one for each of its lines"
                )
            # A line that was sent with a CR comes back with it; others only from a program that writes CR LF.
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
            self._tell(f"an answer that is not UTF-8: {describe(answer)}; sent with replacement characters")
            return answer.decode(errors="replace")

    def note_dropped(self, count: int) -> None:
        """An answer that is left out leaves a message unanswered for ever. Raises ProgramError."""
        raise ProgramError(f"a line of the program is over the limit of {LINE_LIMIT_BYTES} bytes")

    def lines(self) -> bytes:
        """The text of messages that the program has not been asked about."""
        lines, self._lines = self._lines, []
        return b"".join(lines)

    def missing(self) -> str:
        """How many messages are unanswered."""
        return f"{counted(len(self._pending), 'message')} unanswered" if self._pending else ""


def make(words: Words, tell: Callable[[str], None], decoder: FrameDecoder, out: Outgoing) -> MapText:
    """For the filter map."""
    return MapText(words.value(NEWLINE), tell, decoder, out)
