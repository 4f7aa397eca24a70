"""An event loop: one thread waits for descriptors, deadlines, signals and exiting children, and calls back for each.

An adapter is a process of its own that does little per message, so the loop is a thin layer over epoll(7), or over
poll(2) where there is no epoll.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import signal
import time
from collections.abc import Callable

READABLE = select.POLLIN
WRITABLE = select.POLLOUT

_NO_WAIT_S = 0.0


class Deadline:
    """A callback that is due at a point in time, unless it is cancelled."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Don't call back. Idempotent."""
        self.callback = None


class Loop:
    """Calls callbacks one after the other, until `stop`. A context manager; a process has at most one at a time.

    It owns the signal handlers, and takes the exit status of each child of the process.

    A callback may be called without cause, so it must not read or write in a way that may block.
    """

    def __init__(self) -> None:
        self._poller = _Poller()
        self._ready: dict[int, Callable[[], None]] = {}
        self._deadlines: list[tuple[float, int, Deadline]] = []
        self._order = itertools.count()
        """Orders deadlines of the same time."""
        self._signals: dict[int, Callable[[], None]] = {}
        self._handlers: dict[int, object] = {}
        """The handlers before this loop, by signal."""
        self._children: dict[int, Callable[[int], None]] = {}
        self._wakeup, self._waker = os.pipe()
        self._is_stopped = False

    def __enter__(self) -> Loop:
        for end in (self._wakeup, self._waker):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self.watch(self._wakeup, READABLE, self._take_signals)
        self.on_signal(signal.SIGCHLD, self._reap)
        return self

    def __exit__(self, *error: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # it is one that signal.signal has returned
        self._poller.close()
        os.close(self._wakeup)
        os.close(self._waker)

    def watch(self, descriptor: int, readiness: int, callback: Callable[[], None]) -> None:
        """Call back whenever a descriptor is READABLE or WRITABLE, or at its end. One watch per descriptor."""
        self._ready[descriptor] = callback
        self._poller.add(descriptor, readiness)

    def unwatch(self, descriptor: int) -> None:
        """Stop watching a descriptor, before it is closed. Idempotent."""
        if self._ready.pop(descriptor, None) is not None:
            self._poller.remove(descriptor)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Deadline:
        """Call back once, in `delay_s` seconds."""
        deadline = Deadline(callback)
        heapq.heappush(self._deadlines, (time.monotonic() + delay_s, next(self._order), deadline))
        return deadline

    def on_signal(self, number: signal.Signals, callback: Callable[[], None]) -> None:
        """Handle a signal with this callback, which the loop calls when the signal has come."""
        self._signals[number] = callback
        self._handlers.setdefault(number, signal.signal(number, _note))

    def on_exit(self, pid: int, callback: Callable[[int], None]) -> None:
        """Call back once when a child has exited, with its exit status, or with minus the signal that killed it."""
        self._children[pid] = callback

    def forget_child(self, pid: int) -> None:
        """Drop the callback of `on_exit`. Idempotent."""
        self._children.pop(pid, None)

    def stop(self) -> None:
        """Let `run` return after the current callback."""
        self._is_stopped = True

    def run(self, before_wait: Callable[[], None]) -> None:
        """Run until `stop` is called; `before_wait` is called before each wait."""
        while not self._is_stopped:
            before_wait()
            if self._is_stopped:
                break
            for descriptor in self._poller.wait(self._time_left()):
                callback = self._ready.get(descriptor)
                if callback is not None:  # an earlier callback may have unwatched it
                    callback()
            self._pass_deadlines()

    def _time_left(self) -> float | None:
        """Seconds to the next deadline; None: there is none."""
        while self._deadlines and self._deadlines[0][2].callback is None:
            heapq.heappop(self._deadlines)
        return max(self._deadlines[0][0] - time.monotonic(), _NO_WAIT_S) if self._deadlines else None

    def _pass_deadlines(self) -> None:
        now = time.monotonic() if self._deadlines else 0.0
        while self._deadlines and self._deadlines[0][0] <= now:
            callback = heapq.heappop(self._deadlines)[2].callback
            if callback is not None:
                callback()

    def _take_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in set(os.read(self._wakeup, select.PIPE_BUF)):
                if number in self._signals:
                    self._signals[number]()

    def _reap(self) -> None:
        """Take the status of each child that has exited; one SIGCHLD may stand for several (signal(7))."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                callback = self._children.pop(pid, None)
                if callback is not None:
                    callback(os.waitstatus_to_exitcode(status))


def _note(number: int, frame: object) -> None:
    """Do nothing: Python writes the number into the wake-up pipe before it calls this (signal.set_wakeup_fd)."""


class _Poller:
    """epoll where there is one, else poll; files that epoll takes for always ready are not its business."""

    def __init__(self) -> None:
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._poll = select.poll() if self._epoll is None else None
        self._always_ready: set[int] = set()
        """Regular files and the like, which epoll refuses (EPERM, epoll_ctl(2))."""

    def add(self, descriptor: int, readiness: int) -> None:
        if self._epoll is None:
            assert self._poll is not None
            self._poll.register(descriptor, readiness)
            return
        try:
            self._epoll.register(descriptor, readiness)  # POLLIN is EPOLLIN, and so on (epoll_ctl(2))
        except PermissionError:
            self._always_ready.add(descriptor)

    def remove(self, descriptor: int) -> None:
        if descriptor in self._always_ready:
            self._always_ready.remove(descriptor)
        elif self._epoll is not None:
            self._epoll.unregister(descriptor)
        else:
            assert self._poll is not None
            self._poll.unregister(descriptor)

    def close(self) -> None:
        if self._epoll is not None:
            self._epoll.close()

    def wait(self, timeout_s: float | None) -> list[int]:
        """The descriptors that are ready, after waiting for at most `timeout_s` seconds; None: without limit."""
        if self._always_ready:
            timeout_s = _NO_WAIT_S
        if self._epoll is not None:
            ready = self._epoll.poll(timeout_s)
        else:
            assert self._poll is not None
            ready = self._poll.poll(None if timeout_s is None else timeout_s * 1000)
        found = [descriptor for descriptor, _ in ready]
        return [*found, *self._always_ready] if self._always_ready else found
