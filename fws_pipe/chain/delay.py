"""How long events take through a chain, which stage they wait for, and when people are told. No I/O and no clock.

All clients wait for a stage that reads slowly, long before --stall-timeout ends a chain that hangs. So the stage is
named once events take a second, seldom again while they do, and people are told when it is over.
"""

from __future__ import annotations

from collections.abc import Sequence

CHECK_S = 0.25
"""How often a chain is looked at. Counted, not timed: while we are stopped ourselves the chain may be, too."""

TOLD_AFTER_S = 1.0
REPEAT_S = 10.0


class Delay:
    """How far one chain is behind, check by check: one tick after the other is followed until it is back."""

    def __init__(self) -> None:
        self._mark: int | None = None
        """The tick that is followed."""
        self._checks = 0
        """For how many checks it has been."""
        self._checks_since_told = int(REPEAT_S / CHECK_S)
        self._is_told_of = False
        self._is_over = False

    def begin(self) -> None:
        """Another run of the chain begins: what the last one owed is told in another way."""
        self._mark = None
        self._checks = 0
        self._is_told_of = self._is_over = False

    @property
    def seconds(self) -> float:
        """How long the tick that is followed has been under way."""
        return self._checks * CHECK_S

    @property
    def is_nearly_told_of(self) -> bool:
        """Whether the next check is the first at which people may be told."""
        return self.seconds == TOLD_AFTER_S - CHECK_S

    def check(self, awaited: int | None, written: int) -> None:
        """Note the oldest tick that is not back (None: all are), and the last one that was written."""
        self._checks_since_told += 1
        if awaited is not None and self._mark is not None and awaited <= self._mark:
            self._checks += 1
            return
        self._is_over = self._is_told_of and (awaited is None or self.seconds < TOLD_AFTER_S)
        self._mark = None if awaited is None else written
        self._checks = 0

    def take_beginning(self) -> bool:
        """Whether people are to be told now that events are late."""
        is_due = self.seconds >= TOLD_AFTER_S and self._checks_since_told * CHECK_S >= REPEAT_S
        if is_due:
            self._checks_since_told = 0
            self._is_told_of = True
        return is_due

    def take_end(self) -> bool:
        """Whether people are to be told now that it is over."""
        is_over = self._is_over
        if is_over:
            self._is_told_of = self._is_over = False
        return is_over


def stage_waited_for(samples: Sequence[Sequence[int]]) -> int | None:
    """The index of the stage that events wait for, by the bytes that waited before each stage at the last checks.

    It is the last one that leaves its input unread: those behind it have nothing to do, those before it can't go on.
    None where nothing waits: then one has taken all and answers nothing.
    """
    lasting = [min(column) for column in zip(*samples, strict=True)]
    for waiting in (lasting, samples[-1]):
        if any(waiting):
            return max(index for index, count in enumerate(waiting) if count)
    return None
