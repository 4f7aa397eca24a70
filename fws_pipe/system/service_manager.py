"""What a service manager hands over and is told: inherited listening sockets, and when we are ready.

The protocols are those of systemd, which others speak too: sd_listen_fds(3), sd_notify(3). Reads: LISTEN_FDS,
LISTEN_PID and NOTIFY_SOCKET of the environment, and takes them out, so that no stage takes them for its own. Writes:
datagrams.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from fws_pipe.errors import SystemRefusedError

VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "NOTIFY_SOCKET")

_FIRST = 3
_MOVED_TO = 10
"""Inherited sockets go up here: the low numbers are wanted, see `$FWS_STDOUT_FD`."""


@dataclass(frozen=True)
class Handover:
    """What we have got from the service manager."""

    listeners: Sequence[socket.socket]
    notifier: Notifier


def take_over(environment: MutableMapping[str, str]) -> Handover:
    """Take all that is meant for us alone out of an environment, and from the descriptors.

    To be called early: the descriptors that are handed over are the first ones. Raises SystemRefusedError.
    """
    handover = Handover(inherited_listeners(environment), Notifier(environment))
    for name in VARIABLES:
        environment.pop(name, None)
    return handover


def inherited_listeners(environment: Mapping[str, str]) -> list[socket.socket]:
    """The listening sockets that whoever started us has left open for us, from descriptor 3 on; each is closed on exec.

    None where LISTEN_PID is another's: then they were meant for a parent. Raises SystemRefusedError for what is no
    listening socket.
    """
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID", "") != str(os.getpid()):
        return []
    if not count.isascii() or not count.isdecimal():
        raise SystemRefusedError(f"LISTEN_FDS: expected how many sockets were handed over, got {count!r}")
    # One by one: of a made-up number the first that isn't there ends it.
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
    """Tells the service manager how far we are. Without one (NOTIFY_SOCKET is empty) it does nothing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def ready(self) -> None:
        """Clients are served."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """We have begun to end."""
        self._tell("STOPPING=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(state.encode(), self._address)
        except OSError:
            pass  # sd_notify(3): whether anybody listens is not to matter; the manager has a timeout of its own
