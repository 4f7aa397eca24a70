"""What signals do to our processes before a server minds them itself: signal(7).

A signal that was ignored when we were started stays ignored: that is how `nohup` (SIGHUP) and a script's `&` (SIGINT)
say that it is not for us.
"""

from __future__ import annotations

import signal


def is_ignored(number: signal.Signals) -> bool:
    """Whether this process ignores a signal, as it does when its parent did."""
    return signal.getsignal(number) is signal.SIG_IGN


def die_of_interrupts() -> None:
    """Let SIGINT end this process without a traceback, as it ends `cat`; unless it is ignored."""
    if not is_ignored(signal.SIGINT):
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def write_to_any_terminal() -> None:
    """Let no process stop, from here on down, because it writes to a terminal, or reads it, in the background.

    Each stage leads a process group of its own, so to its terminal it is in the background: after `stty tostop` a
    stage that writes there would be stopped, and with it all clients. Ignored, SIGTTOU lets it write, and SIGTTIN
    makes reading an error (termios(3), tcsetattr and "tostop").
    """
    for number in (signal.SIGTTOU, signal.SIGTTIN):
        signal.signal(number, signal.SIG_IGN)
