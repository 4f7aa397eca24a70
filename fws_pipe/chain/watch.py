"""Notices that the files behind a chain have changed: its filters, the modules that they host, the config file.

By looking, now and then, at a handful of files: any file system can do that, and nobody waits for it.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable

import trio

LOOK_EVERY_S = 0.5

_RIGHT_AFTER_S = 3.0
"""A file that has changed so soon after a reload may have been changed by it,"""

_OFTEN = 3
"""and has been when that happens so many times in a row."""

_Signature = tuple[int, int, int] | None
"""Inode, size and time of change; None: there is no such file."""


def files_named_in(text: str) -> list[str]:
    """The files that a stage's text names, but for those that it redirects its output to."""
    files: list[str] = []
    before = command = ""
    for word in _words(text):
        if _is_operator(word):
            command = ""
        elif not _writes_to(before):
            command = command or word
            candidates = _files_of_module(word) if command == "fws-filter" else [word]
            files += [path for path in candidates if os.path.isfile(path)]
        before = word
    return files


def programs_named_in(text: str) -> list[str]:
    """Those of them that are programs, scripts or modules, as in `fws-filter ./chat.py`.

    Not what a stage reads or writes: one that starts may write its files, and that must not start the next one.
    """
    return [path for path in files_named_in(text) if path.endswith(".py") or os.access(path, os.X_OK)]


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:  # a shell may understand what shlex doesn't
        return text.split()


def _is_operator(word: str) -> bool:
    return bool(word) and set(word) <= set("();<>|&")


def _writes_to(word: str) -> bool:
    return _is_operator(word) and ">" in word and "(" not in word


def _files_of_module(name: str) -> list[str]:
    """A module is named as a file, or with dots from the current folder on."""
    path = name.replace(".", "/")
    return [name, f"{path}.py", f"{path}/__init__.py"]


class Watch:
    """Some files, and how they were when they were last taken for settled."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = sorted(set(paths))
        self._settled = self._seen = self._look()

    def _look(self) -> list[_Signature]:
        return [_signature(path) for path in self._paths]

    def changed(self) -> list[str]:
        """The files that are not as they were.

        Once all have been as they are now for two looks: half a file is nobody's wish.
        """
        before, self._seen = self._seen, self._look()
        if self._seen == self._settled or self._seen != before:
            return []
        compared = zip(self._paths, self._settled, self._seen, strict=True)
        changed = [path for path, settled, seen in compared if settled != seen]
        self._settled = self._seen
        return changed

    async def wait_changed(self) -> list[str]:
        """Wait until files have changed; returns which."""
        while not (changed := self.changed()):
            await trio.sleep(LOOK_EVERY_S)
        return changed


class RestlessFiles:
    """Finds the files that every reload changes, which would go on for ever. Times are in seconds, by any clock."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        """Files that are watched no more."""
        self._in_a_row: Counter[str] = Counter()
        self._reloaded = float("-inf")

    def note_reload(self, now: float) -> None:
        """There is a reload now."""
        self._reloaded = now

    def note_changed(self, paths: Iterable[str], now: float) -> list[str]:
        """Files have been seen to have changed; returns those that are restless, as is known from now on."""
        is_right_after = now - self._reloaded <= _RIGHT_AFTER_S
        self._in_a_row = Counter({path: self._in_a_row[path] + 1 for path in paths if is_right_after})
        restless = [path for path, times in self._in_a_row.items() if times >= _OFTEN]
        self.found.update(restless)
        return restless


def signatures_of(paths: Iterable[str]) -> tuple[object, ...]:
    """How these files are now: equal as long as none has changed."""
    return tuple(_signature(path) for path in paths)


def _signature(path: str) -> _Signature:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
