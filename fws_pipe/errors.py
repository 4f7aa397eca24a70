"""Every error that a user can meet, and the exit code that goes with it.

    FwsError                     5 (EXIT_SYSTEM) unless a subclass says otherwise
      UsageError                 2  an option, a chain or a file that makes no sense
        ChainError               2  the chain's text: carries the caret that points into it
      StageError                 3  a chain that could not start
      GaveUpError                4  a chain that kept failing, or that went away for good
      SystemRefusedError         5  a port, an address, a descriptor: the system said no
      UnfinishedError            6  the server had to stop before all was done
    SilenceError                 a process that should speak does not: it is started again
    FrameError                   a pipe carries something that is not a frame (the reader exits 1)

Each is shown as one line (a ChainError adds the chain and a caret), never as a traceback.
"""

from __future__ import annotations

from fws_pipe.terminal import one_line

EXIT_OK = 0
EXIT_BROKEN_PIPE = 1
EXIT_USAGE = 2
EXIT_STAGE = 3
EXIT_GAVE_UP = 4
EXIT_SYSTEM = 5
EXIT_UNFINISHED = 6

EXIT_CODES = {
    EXIT_OK: "asked to stop, and stopped",
    EXIT_BROKEN_PIPE: "a filter or tool read something that is not a frame",
    EXIT_USAGE: "an option or the chain makes no sense",
    EXIT_STAGE: "the chain could not start",
    EXIT_GAVE_UP: "the chain kept failing, or ended for good",
    EXIT_SYSTEM: "the system refused: port in use, no permission, bad host, Redis out of reach",
    EXIT_UNFINISHED: "asked to stop, and stopped before all was done, in a hurry or at the drain timeout",
}


class FwsError(Exception):
    """A mistake or mishap that is told in one line; `exit_code` is what the process ends with."""

    exit_code = EXIT_SYSTEM

    @property
    def lines(self) -> list[str]:
        """What to show: one line, safe for a terminal."""
        return [one_line(str(self))]


class UsageError(FwsError):
    """The user asked for something that makes no sense."""

    exit_code = EXIT_USAGE


class ChainError(UsageError):
    """The chain's text can't be cut or resolved.

    `chain` is the text, `position` the offset of the culprit in it (characters, from 0).
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
        """The message, the line of the chain with the culprit, and a caret under that."""
        start = self.chain.rfind("\n", 0, self.position) + 1
        end = self.chain.find("\n", self.position)
        before = one_line(self.chain[start : self.position].replace("\t", " "))
        behind = one_line(self.chain[self.position : end if end >= 0 else None].replace("\t", " "))
        return [one_line(self.message), f"  {before}{behind}", f"  {' ' * len(before)}^"]


class StageError(FwsError):
    """The chain could not start: a stage ended before the first tick had come through."""

    exit_code = EXIT_STAGE


class GaveUpError(FwsError):
    """The chain failed again and again, or is gone and nobody can restart it."""

    exit_code = EXIT_GAVE_UP


class SystemRefusedError(FwsError):
    """The operating system refused: port in use, no permission, unknown host."""

    exit_code = EXIT_SYSTEM


class UnfinishedError(FwsError):
    """The server was asked to stop, and something is left that nobody will do now."""

    exit_code = EXIT_UNFINISHED


class SilenceError(FwsError):
    """A process hangs: it does not answer."""


class FrameError(FwsError):
    """A pipe carries bytes that are not frames; nothing behind them can be trusted.

    `source` names who wrote them, `offset` is the byte at which the bad frame begins.
    """

    exit_code = EXIT_BROKEN_PIPE

    def __init__(self, problem: str, source: str, offset: int) -> None:
        super().__init__(f"broken frame from {source}, at byte {offset}: {problem}")
        self.problem = problem
        self.source = source
        self.offset = offset
