"""Lets a server be the first process of a container (PID 1): the server runs in a child, and the parent is its init.

The kernel hands orphans to the first process, which has to reap them, or they stay as zombies; and it drops each signal
that the first process has no handler for (pid_namespaces(7)). The parent does nothing but pass signals on and reap
orphans, so it never reaps a process of the server's own.
"""

from __future__ import annotations

import os
import signal
from typing import NoReturn

_PASSED_ON = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2})

_FATAL = 128
"""A shell's exit code for a process that a signal has ended is this plus the signal's number."""


def serve_as_child() -> None:
    """Return in a child process if this is PID 1; otherwise return at once. Call it before there are threads."""
    if os.getpid() != 1:
        return
    awaited = _PASSED_ON | {signal.SIGCHLD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if child:
        _be_init(child, awaited)
    # In a session of its own the child doesn't get a terminal's interrupt: the parent does, and passes it on once.
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for variable in ("LISTEN_PID", "WATCHDOG_PID"):  # sd_listen_fds(3): they name the process that serves
        if os.environ.get(variable) == "1":
            os.environ[variable] = str(os.getpid())


def _be_init(child: int, awaited: frozenset[signal.Signals]) -> NoReturn:
    """Pass signals on and reap processes until the child has ended; then exit with its code."""
    while True:
        number = signal.sigwait(awaited)
        if number != signal.SIGCHLD:
            os.kill(child, number)  # the child isn't reaped yet, so its pid can't belong to another process
            continue
        for pid, status in _ended():
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else _FATAL - code)


def _ended() -> list[tuple[int, int]]:
    """Reap the processes that have ended: (pid, status) of each (waitpid(2)); one SIGCHLD may stand for several."""
    ended = []
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended.append(found)
    except ChildProcessError:
        pass  # no child is left
    return ended
