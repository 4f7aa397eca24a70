"""Where events go that kill the chain: a file each, as frames, so that `cat FILE | FILTER` shows the crash.

Never: hurts the server. A disk that is full, or a folder without permission to write, costs the file, no more.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from fws_pipe.errors import SystemRefusedError, UsageError

LIMIT_BYTES = 256 * 1024 * 1024
"""How much one run writes for a route: a client that sends such events on purpose must not fill the disk."""


class Fate(NamedTuple):
    """What has become of an event, and how people are told."""

    is_kept: bool
    text: str


def check_folder(folder: str) -> None:
    """See whether events could be kept there, and make nothing. Raises UsageError, SystemRefusedError."""
    path = os.path.abspath(folder)
    if not os.path.lexists(path):
        path = os.path.dirname(path)
        if not os.path.isdir(path):
            raise UsageError(f"--quarantine {folder}: {path}, where the server would make it, is no folder")
    elif not os.path.isdir(path):
        raise UsageError(f"--quarantine {folder}: expected a folder, and that is none")
    if not os.access(path, os.W_OK | os.X_OK):
        raise SystemRefusedError(f"--quarantine {folder}: this user may not write in {path}")


class Quarantine:
    """A folder, which is made when it is needed; None: nothing is kept. `name` is the server's, and its route's."""

    def __init__(self, folder: str | None, name: str) -> None:
        self._folder = folder
        self._name = name
        self._room = LIMIT_BYTES

    def keep(self, seq: int, frames: bytes) -> Fate:
        """Write the frames that kill the chain, the last of them the event `seq`. Takes as long as the disk does."""
        if self._folder is None:
            return Fate(False, "it is not kept (--quarantine DIR keeps such events)")
        if len(frames) > self._room:
            return Fate(False, f"it is not kept: {LIMIT_BYTES} bytes are in quarantine, and more may not be")
        path = os.path.join(self._folder, f"{time.strftime('%Y%m%dT%H%M%S')}-{self._name}-{seq}.mp")
        try:
            os.makedirs(self._folder, exist_ok=True)
            _write(path, frames)
        except OSError as error:
            return Fate(False, f"it is not kept: {path}: {error.strerror}")
        self._room -= len(frames)
        return Fate(True, f"it is kept in {path}")


def _write(path: str, data: bytes) -> None:
    """Write a file that only we may read: it holds what a client has sent. A part of it is of no use."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError:
        os.unlink(path)
        raise
