"""Notices that events take long to pass through a chain, and finds the stage that they wait for. No I/O and no clock.

A stage that reads slowly makes all clients wait, long before --stall-timeout ends a chain that hangs. So the log names
the stage once events take a second, again every ten seconds while they do, and says when the delay is over.
"""

from __future__ import annotations

from collections.abc import Sequence

CHECK_S = 0.25
"""The interval between checks. They are counted, not timed: while this process is stopped, the chain may be too."""

TOLD_AFTER_S = 1.0
REPEAT_S = 10.0


class Delay:
    """Measures how far a chain is behind, check by check: it follows one tick until it is back, then the next one."""

    def __init__(self) -> None:
        self._mark: int | None = None
        """The number of the tick that is followed; None: no tick is under way."""
        self._checks = 0
        """How many checks that tick has been under way."""
        self._checks_since_told = int(REPEAT_S / CHECK_S)
        self._is_told_of = False
        self._is_over = False

    def begin(self) -> None:
        """Start anew: another run of the chain begins, and the log says otherwise why the last one ended."""
        self._mark = None
        self._checks = 0
        self._is_told_of = self._is_over = False

    @property
    def seconds(self) -> float:
        """How long the followed tick has been under way, in seconds."""
        return self._checks * CHECK_S

    @property
    def is_nearly_told_of(self) -> bool:
        """Whether the next check is the first that may report a delay."""
        return self.seconds == TOLD_AFTER_S - CHECK_S

    def check(self, awaited: int | None, written: int) -> None:
        """Record the numbers of the oldest tick that is not back (None: all are), and of the last one written."""
        self._checks_since_told += 1
        if awaited is not None and self._mark is not None and awaited <= self._mark:
            self._checks += 1
            return
        self._is_over = self._is_told_of and (awaited is None or self.seconds < TOLD_AFTER_S)
        self._mark = None if awaited is None else written
        self._checks = 0

    def take_beginning(self) -> bool:
        """Whether to report now that events are late; true once for each report."""
        is_due = self.seconds >= TOLD_AFTER_S and self._checks_since_told * CHECK_S >= REPEAT_S
        if is_due:
            self._checks_since_told = 0
            self._is_told_of = True
        return is_due

    def take_end(self) -> bool:
        """Whether to report now that the delay is over; true once."""
        is_over = self._is_over
        if is_over:
            self._is_told_of = self._is_over = False
        return is_over


def brake_of(shares: Sequence[float]) -> int | None:
    """The index of the process that the others of its ring wait for; None where none leaves its input unread.

    `shares` tells how full the input of each has lastingly been, the front's first. Back-pressure fills the pipes
    before the brake and empties those behind it, so it is the last process whose input is about as full as the fullest.
    """
    fullest = max(shares)
    if not fullest:
        return None
    filled = [index for index, share in enumerate(shares) if share >= fullest / 2]
    return 0 if 0 in filled else filled[-1]  # what comes out at the end is the front's input


def stage_waited_for(samples: Sequence[Sequence[int]]) -> int | None:
    """The index of the stage that events wait for; None where no stage leaves its input unread.

    Each sample holds the bytes that wait before each stage at one check. The stage is the last one with unread input:
    the stages behind it have nothing to read, and those before it can't write. Where no input waits, one of the stages
    has read everything and does not answer.
    """
    lasting = [min(column) for column in zip(*samples, strict=True)]
    for waiting in (lasting, samples[-1]):
        if any(waiting):
            return max(index for index, count in enumerate(waiting) if count)
    return None
