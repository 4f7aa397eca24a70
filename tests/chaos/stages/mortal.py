"""Ways for a filter to die when it is told to.

SIGUSR1: at once, with half a frame written. SIGUSR2: by an exit with status 1 in the handler of the next message.
"""

from __future__ import annotations

import os
import signal
import sys

# A copy of its own: the SDK moves the pipe to where nobody else looks.
_PIPE = os.dup(1)

HALF_A_FRAME = bytes.fromhex("83") + b"\xa4type\xa4send\xa2to\xa1*\xa4data\xd9\x40half a fra"

_shall_exit = False


def _tear(number: int, frame: object) -> None:
    os.write(_PIPE, HALF_A_FRAME)
    os._exit(1)


def _note_exit(number: int, frame: object) -> None:
    global _shall_exit
    _shall_exit = True


def exit_if_told() -> None:
    """Exit with status 1, if somebody has asked for it."""
    if _shall_exit:
        sys.exit(1)


signal.signal(signal.SIGUSR1, _tear)
signal.signal(signal.SIGUSR2, _note_exit)
