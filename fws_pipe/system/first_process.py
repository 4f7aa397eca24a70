"""What a server does as the first process of a container (PID 1): it serves in a child, and is its own init.

The kernel hands orphans to the first process, which has to wait for them or they stay as zombies; and a signal that the
first process has no handler for is lost (pid_namespaces(7)). So a parent that does nothing else passes signals on and
reaps: it never takes from the server the end of one of its own processes.
"""

from __future__ import annotations

import os
import signal
from typing import NoReturn

_PASSED_ON = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2})

_FATAL = 128
"""A shell's exit code for a process that a signal has ended, less the signal's number."""


def serve_as_child() -> None:
    """Return at once, or, if this is PID 1, in a child of it. To be called before there are threads."""
    if os.getpid() != 1:
        return
    awaited = _PASSED_ON | {signal.SIGCHLD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if child:
        _be_init(child, awaited)
    # A session of its own: a terminal's interrupt reaches the parent alone, which passes it on once.
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if os.environ.get("LISTEN_PID") == "1":  # sd_listen_fds(3): the sockets are meant for whoever serves
        os.environ["LISTEN_PID"] = str(os.getpid())


def _be_init(child: int, awaited: frozenset[signal.Signals]) -> NoReturn:
    """Pass signals on and reap, until the child has ended; then end as it did."""
    while True:
        number = signal.sigwait(awaited)
        if number != signal.SIGCHLD:
            os.kill(child, number)  # it is not reaped yet, so the number is still its own
            continue
        for pid, status in _ended():
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else _FATAL - code)


def _ended() -> list[tuple[int, int]]:
    """The processes that have ended, and how (waitpid(2)): one SIGCHLD may stand for several."""
    ended = []
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(found)
    except ChildProcessError:
        pass  # that was the last
    return ended
