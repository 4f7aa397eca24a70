"""Talks to a service manager: takes over listening sockets, and tells when the server is ready, reloads, lives, stops.

The protocols are systemd's, which other managers speak too: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).
Their variables are removed from the environment, so that no stage takes them for its own.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from fws_pipe.errors import SystemRefusedError

VARIABLES = (
    "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
)  # fmt: skip

_FIRST = 3
_MOVED_TO = 10
"""Inherited sockets are moved to this number or above: `$FWS_STDOUT_FD` needs a low one."""


@dataclass(frozen=True)
class Handover:
    """What the service manager has handed over: listening sockets, and the address for notifications."""

    listeners: Sequence[socket.socket]
    notifier: Notifier


def take_over(environment: MutableMapping[str, str]) -> Handover:
    """Take the inherited sockets and the notifier, and remove their variables from `environment`.

    Call it early, before other files are opened: the inherited descriptors begin with 3. Raises SystemRefusedError.
    """
    handover = Handover(inherited_listeners(environment), Notifier(environment))
    for name in VARIABLES:
        environment.pop(name, None)
    return handover


def inherited_listeners(environment: Mapping[str, str]) -> list[socket.socket]:
    """The listening sockets that this process has inherited, from descriptor 3 on; each is closed on exec.

    The list is empty where LISTEN_PID is another process's, for which they were meant. Raises SystemRefusedError for a
    descriptor that is no listening socket.
    """
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID", "") != str(os.getpid()):
        return []
    if not count.isascii() or not count.isdecimal():
        raise SystemRefusedError(f"LISTEN_FDS: expected the number of inherited sockets, got {count!r}")
    # One by one: where the number is too large, the first missing socket raises.
    return [_adopt(descriptor) for descriptor in range(_FIRST, _FIRST + int(count))]


def _adopt(descriptor: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _MOVED_TO))
        is_listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise SystemRefusedError(f"LISTEN_FDS: descriptor {descriptor} is no socket ({error.strerror})") from None
    os.close(descriptor)
    if not is_listening or listener.type != socket.SOCK_STREAM or listener.family not in _FAMILIES:
        raise SystemRefusedError(f"LISTEN_FDS: descriptor {descriptor} is no listening TCP or Unix stream socket")
    listener.setblocking(False)
    return listener


_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


class Notifier:
    """Tells the service manager what the server does (sd_notify(3)); a no-op where NOTIFY_SOCKET is empty."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = _watchdog_of(environment) if address else 0.0
        """The watchdog's timeout: the manager ends a server that hasn't called `alive` for it; 0: there is none."""

    def ready(self, status: str = "") -> None:
        """Tell that clients are served, also after a reload; `status` is a line that the manager shows."""
        self._tell(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Tell that a reload begins; `ready` tells its end. Type=notify-reload wants to know since when."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def become_main(self) -> None:
        """Tell that this process is the service's main one from now on: it has taken over from another."""
        self._tell(f"MAINPID={os.getpid()}")

    def alive(self) -> None:
        """Tell the manager's watchdog that the server is at work."""
        self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """Tell that the server has begun to stop."""
        self._tell("STOPPING=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(state.encode(), self._address)
        except OSError:
            pass  # sd_notify(3) advises to ignore failures; the manager has a timeout of its own


def _watchdog_of(environment: Mapping[str, str]) -> float:
    """The watchdog's timeout in seconds; 0 where there is none, or it watches another process."""
    timeout = environment.get("WATCHDOG_USEC", "")
    is_ours = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    return int(timeout) / 1_000_000 if is_ours and timeout.isascii() and timeout.isdecimal() else 0.0
