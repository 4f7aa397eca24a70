"""What signals do to our processes before a server minds them itself: signal(7).

SIGHUP or SIGINT that was ignored when we were started stays ignored, for us and for the stages that we start: that is
how `nohup` (SIGHUP) and a script's `&` (SIGINT) say that it is not for us. A signal that we handle has its default
effect in stages (execve(2)); they lead process groups of their own, so a terminal's interrupt reaches us alone.
"""

from __future__ import annotations

import signal


def is_ignored(number: signal.Signals) -> bool:
    """Whether this process ignores a signal, as it does when its parent did."""
    return signal.getsignal(number) is signal.SIG_IGN


def name_of(number: int) -> str:
    """A signal's name, such as SIGTERM; the real-time signals have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def ending_of(status: int) -> str:
    """How a process has ended, by its status in `subprocess`: `exited with status 3`, `was killed by SIGTERM`."""
    return f"exited with status {status}" if status >= 0 else f"was killed by {name_of(-status)}"


def die_of_interrupts() -> None:
    """Let SIGINT end this process without a traceback, as it ends `cat`; unless it is ignored."""
    if not is_ignored(signal.SIGINT):
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def restore_what_a_server_needs() -> None:
    """Take back, from here on down, what a parent has done to signals without which no server can work.

    While SIGTERM is blocked it ends neither us nor a stage. While SIGCHLD is ignored the kernel forgets how a process
    has ended, so a killed stage would seem to have exited with status 0 (waitpid(2)).
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def write_to_any_terminal() -> None:
    """Let no process stop, from here on down, because it writes to a terminal, or reads it, in the background.

    Each stage leads a process group of its own, so to its terminal it is in the background: after `stty tostop` a
    stage that writes there would be stopped, and with it all clients. Ignored, SIGTTOU lets it write, and SIGTTIN
    makes reading an error (termios(3), tcsetattr and "tostop").
    """
    for number in (signal.SIGTTOU, signal.SIGTTIN):
        signal.signal(number, signal.SIG_IGN)
