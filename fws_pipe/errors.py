"""Every error that a user can meet, and the exit code of each.

    FwsError                     5 (EXIT_SYSTEM) unless a subclass says otherwise
      UsageError                 2  an option, a chain or a file is invalid
        ChainError               2  the chain's text is invalid: a caret points to the place
      StageError                 3  the chain could not start
      GaveUpError                4  the chain kept failing, or ended for good
      SystemRefusedError         5  the system refused a port, an address, a descriptor
      UnfinishedError            6  the server had to stop with work left
      SilenceError               5  a process hangs: the server restarts it
      ProgramError               1  a program that an adapter runs: it has ended, or can't be understood
      FrameError                 1  a pipe carries something that is not a frame

Each is shown as one line (a ChainError adds the chain and a caret), never as a traceback.
"""

from __future__ import annotations

from typing import TypeVar

from fws_pipe.terminal import one_line

ErrorT = TypeVar("ErrorT", bound=Exception)

EXIT_OK = 0
EXIT_BROKEN_PIPE = 1
EXIT_USAGE = 2
EXIT_STAGE = 3
EXIT_GAVE_UP = 4
EXIT_SYSTEM = 5
EXIT_UNFINISHED = 6

EXIT_CODES = {
    EXIT_OK: "asked to stop, and stopped",
    EXIT_BROKEN_PIPE: "a filter or tool read something that is not a frame, or an adapter's program failed",
    EXIT_USAGE: "an option or the chain is invalid",
    EXIT_STAGE: "the chain could not start",
    EXIT_GAVE_UP: "the chain kept failing, or ended for good",
    EXIT_SYSTEM: "the system refused: port in use, no permission, bad host, Redis out of reach",
    EXIT_UNFINISHED: "asked to stop, and stopped with work left: at a second signal or at the drain timeout",
}


class FwsError(Exception):
    """An error that the user sees as one line, without a traceback; the process ends with `exit_code`."""

    exit_code = EXIT_SYSTEM

    @property
    def lines(self) -> list[str]:
        """The lines to print, safe for a terminal: one, unless a subclass says otherwise."""
        return [one_line(str(self))]


class UsageError(FwsError):
    """The user gave an invalid option, chain or file."""

    exit_code = EXIT_USAGE


class ChainError(UsageError):
    """The chain's text can't be cut into stages, or a stage's command isn't found.

    `chain` is the text, `position` the offset of the faulty part in characters, from 0.
    """

    def __init__(self, message: str, chain: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.chain = chain
        self.position = position

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        """The message, the line of the chain with the faulty part, and a caret below that part."""
        start = self.chain.rfind("\n", 0, self.position) + 1
        end = self.chain.find("\n", self.position)
        before = one_line(self.chain[start : self.position].replace("\t", " "))
        behind = one_line(self.chain[self.position : end if end >= 0 else None].replace("\t", " "))
        return [one_line(self.message), f"  {before}{behind}", f"  {' ' * len(before)}^"]


class StageError(FwsError):
    """The chain could not start: a stage ended before the first tick had passed the chain.

    `last_words` is the last line that the stage has written on stderr. The log has it already, so `lines` does without.
    """

    exit_code = EXIT_STAGE

    def __init__(self, problem: str, last_words: str = "") -> None:
        super().__init__(f"{problem}; its last words: {last_words}" if last_words else problem)
        self.problem = problem

    @property
    def lines(self) -> list[str]:
        """How it has ended."""
        return [one_line(self.problem)]


class GaveUpError(FwsError):
    """The chain failed again and again, or has ended and can't be restarted."""

    exit_code = EXIT_GAVE_UP


class SystemRefusedError(FwsError):
    """The operating system refused: port in use, no permission, unknown host."""

    exit_code = EXIT_SYSTEM


class UnfinishedError(FwsError):
    """The server was asked to stop, and ended with work left undone."""

    exit_code = EXIT_UNFINISHED


class SilenceError(FwsError):
    """A process doesn't answer: it hangs, and the server restarts it."""


class ProgramError(FwsError):
    """The program of an adapter has ended, or has written what can't be answered to any message."""

    exit_code = EXIT_BROKEN_PIPE


class FrameError(FwsError):
    """A pipe carries bytes that are not frames; after them the boundaries of frames are unknown.

    `source` names the program that wrote them; `offset` is the bad frame's first byte, counted from the stream's start.
    """

    exit_code = EXIT_BROKEN_PIPE

    def __init__(self, problem: str, source: str, offset: int, *, is_text: bool = False) -> None:
        super().__init__(f"broken frame from {source}, at byte {offset}: {problem}")
        self.problem = problem
        self.source = source
        self.offset = offset
        self.is_text = is_text
        """Whether it is text that stands where a frame should be."""


def first_error(group: BaseExceptionGroup[ErrorT]) -> ErrorT:
    """The error to tell of several: the first, however deep the groups are."""
    error: ErrorT | BaseExceptionGroup[ErrorT] = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
