"""Notices that the files behind a chain have changed: its filters, what they are told to read, the config file.

By looking, now and then, at a handful of files: any file system can do that, and nobody waits for it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable

import trio

LOOK_EVERY_S = 0.5

_Signature = tuple[int, int, int] | None
"""Inode, size and time of change; None: there is no such file."""


def files_named_in(text: str) -> list[str]:
    """The files that a stage's text names, as `fws-filter ./chat.py` does."""
    try:
        words = shlex.split(text)
    except ValueError:  # a shell may understand what shlex doesn't
        words = text.split()
    return [word for word in words if os.path.isfile(word)]


class Watch:
    """Some files, and how they were when they were last taken for settled."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = sorted(set(paths))
        self._settled = self._seen = self._look()

    def _look(self) -> list[_Signature]:
        return [_signature(path) for path in self._paths]

    def has_changed(self) -> bool:
        """Whether a file is not as it was, and has been as it is now for two looks: half a file is nobody's wish."""
        before, self._seen = self._seen, self._look()
        if self._seen == self._settled or self._seen != before:
            return False
        self._settled = self._seen
        return True

    async def wait_changed(self) -> None:
        """Wait until a file has changed."""
        while not self.has_changed():
            await trio.sleep(LOOK_EVERY_S)


def signatures_of(paths: Iterable[str]) -> tuple[object, ...]:
    """How these files are now: equal as long as none has changed."""
    return tuple(_signature(path) for path in paths)


def _signature(path: str) -> _Signature:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
