"""Where events go that kill the chain: a file each, as frames, so that `cat FILE | FILTER` shows the crash.

Never: hurts the server. A disk that is full, or a folder that nobody may write, costs the file, no more.
"""

from __future__ import annotations

import os
import time

LIMIT_BYTES = 256 * 1024 * 1024
"""How much one run of the server writes: whoever sends such events on purpose must not fill the disk."""


class Quarantine:
    """A folder, which is made when it is needed; None: nothing is kept. `name` is the server's."""

    def __init__(self, folder: str | None, name: str) -> None:
        self._folder = folder
        self._name = name
        self._room = LIMIT_BYTES

    def keep(self, seq: int, frames: bytes) -> str:
        """Write the frames that kill the chain, of which the last is the event `seq`. Returns what has become of them.

        Takes as long as the disk does.
        """
        if self._folder is None:
            return "it is not kept (--quarantine DIR keeps such events)"
        if len(frames) > self._room:
            return f"it is not kept: {LIMIT_BYTES} bytes are in quarantine, and more may not be"
        path = os.path.join(self._folder, f"{time.strftime('%Y%m%dT%H%M%S')}-{self._name}-{seq}.mp")
        try:
            os.makedirs(self._folder, exist_ok=True)
            _write(path, frames)
        except OSError as error:
            return f"it could not be kept in {path}: {error.strerror}"
        self._room -= len(frames)
        return f"it is kept in {path}"


def _write(path: str, data: bytes) -> None:
    """Write a file that only we may read: it holds what a client has sent. A part of it helps nobody."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError:
        os.unlink(path)
        raise
