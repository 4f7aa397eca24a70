"""Writes each event that kills the chain to a file of frames, so that `cat FILE | FILTER` reproduces the crash.

Never: hurts the server. A full disk, or a folder that can't be written to, costs the file and nothing else.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from fws_pipe.errors import SystemRefusedError, UsageError

LIMIT_BYTES = 256 * 1024 * 1024
"""The most that one run of the server writes for a route: a client that sends such events on purpose must not fill the
disk.
"""


class Fate(NamedTuple):
    """What has become of an event."""

    is_kept: bool
    text: str
    """For the log."""


def check_folder(folder: str) -> None:
    """Check that a folder could keep events, without making it. Raises UsageError, SystemRefusedError."""
    path = os.path.abspath(folder)
    if not os.path.lexists(path):
        path = os.path.dirname(path)
        if not os.path.isdir(path):
            raise UsageError(f"--quarantine {folder}: {path}, where the server would make it, is not a folder")
    elif not os.path.isdir(path):
        raise UsageError(f"--quarantine {folder}: it is not a folder")
    if not os.access(path, os.W_OK | os.X_OK):
        raise SystemRefusedError(f"--quarantine {folder}: this user may not write in {path}")


class Quarantine:
    """Keeps events in `folder`, which is made when it is needed; None: keeps nothing.

    `name` is the part of the file names that tells the server and its route.
    """

    def __init__(self, folder: str | None, name: str) -> None:
        self._folder = folder
        self._name = name
        self._room = LIMIT_BYTES

    def keep(self, seq: int, frames: bytes) -> Fate:
        """Write the frames that kill the chain, of which the last is the event `seq`. Blocks while the disk is slow."""
        if self._folder is None:
            return Fate(False, "it is not kept (--quarantine DIR keeps such events)")
        if len(frames) > self._room:
            return Fate(False, f"it is not kept: the quarantine has reached its limit of {LIMIT_BYTES} bytes")
        path = os.path.join(self._folder, f"{time.strftime('%Y%m%dT%H%M%S')}-{self._name}-{seq}.mp")
        try:
            os.makedirs(self._folder, exist_ok=True)
            _write(path, frames)
        except OSError as error:
            return Fate(False, f"it is not kept: {path}: {error.strerror}")
        self._room -= len(frames)
        return Fate(True, f"it is kept in {path}")


def _write(path: str, data: bytes) -> None:
    """Write a file that only this user may read, since it holds a client's data. A partial file is deleted."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError:
        os.unlink(path)
        raise
