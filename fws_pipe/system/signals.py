"""The effects of signals on a process before it handles them itself (signal(7)).

A SIGHUP or SIGINT that is ignored at the start stays ignored, in the server and in its stages: `nohup` ignores SIGHUP
for its command, and a script's `&` ignores SIGINT. A signal that the server handles has its default effect in stages
(execve(2)). Stages lead process groups of their own, so a terminal's interrupt reaches only the server.
"""

from __future__ import annotations

import signal


def is_ignored(number: signal.Signals) -> bool:
    """Whether this process ignores a signal; it inherits that from its parent."""
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
    """Let SIGINT end this process without a traceback, as it ends `cat`, unless it is ignored."""
    if not is_ignored(signal.SIGINT):
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def restore_what_a_server_needs() -> None:
    """Undo, for this process and its children, signal settings of a parent with which no server can work.

    While SIGTERM is blocked it ends neither the server nor a stage. While SIGCHLD is ignored the kernel drops the exit
    status of children, so a killed stage would seem to have exited with status 0 (waitpid(2)).
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def write_to_any_terminal() -> None:
    """Keep this process and its children from being stopped because they use a terminal from the background.

    Each stage leads a process group of its own, and so is in its terminal's background: after `stty tostop` a stage
    that writes there would be stopped, and with it all clients. With SIGTTOU ignored it may write; with SIGTTIN ignored
    reading is an error (termios(3), "tostop").
    """
    for number in (signal.SIGTTOU, signal.SIGTTIN):
        signal.signal(number, signal.SIG_IGN)
