"""Notices changes of the files behind a chain: its filters, the modules that they host, the config file.

It polls the few files with stat(2): that works on any file system, and a reload may come half a second late.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable

import trio

LOOK_EVERY_S = 0.5

_RIGHT_AFTER_S = 3.0
"""A file that changes this soon after a reload may have been written by the new chain."""

_OFTEN = 3
"""If that happens this many times in a row, the chain is taken to write the file."""

_Signature = tuple[int, int, int] | None
"""Inode, size in bytes, and time of modification in ns; None: there is no such file."""


def files_named_in(text: str) -> list[str]:
    """The existing files that a stage's text names, except those that its output is redirected to."""
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
    """The programs, scripts and modules among the files that a stage's text names, as in `fws-filter ./chat.py`.

    Data files are left out: a stage that starts may write its own, which must not cause another reload.
    """
    return [path for path in files_named_in(text) if path.endswith(".py") or os.access(path, os.X_OK)]


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:  # the shell may accept text that shlex does not
        return text.split()


def _is_operator(word: str) -> bool:
    return bool(word) and set(word) <= set("();<>|&")


def _writes_to(word: str) -> bool:
    return _is_operator(word) and ">" in word and "(" not in word


def _files_of_module(name: str) -> list[str]:
    """The files that a MODULE of fws-filter may mean: a path, or a dotted name below the current folder."""
    path = name.replace(".", "/")
    return [name, f"{path}.py", f"{path}/__init__.py"]


class Watch:
    """Some files, and their signatures when they had last settled."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = sorted(set(paths))
        self._settled = self._seen = self._look()

    def _look(self) -> list[_Signature]:
        return [_signature(path) for path in self._paths]

    def changed(self) -> list[str]:
        """The files that have changed since the last call that returned any.

        A change is reported once two calls in a row have seen the same signatures: no file is used half-written.
        """
        before, self._seen = self._seen, self._look()
        if self._seen == self._settled or self._seen != before:
            return []
        compared = zip(self._paths, self._settled, self._seen, strict=True)
        changed = [path for path, settled, seen in compared if settled != seen]
        self._settled = self._seen
        return changed

    async def wait_changed(self) -> list[str]:
        """Wait until files have changed and settled; returns their paths."""
        while not (changed := self.changed()):
            await trio.sleep(LOOK_EVERY_S)
        return changed


class RestlessFiles:
    """Finds files that each reload changes: watching them would reload for ever. Times are in seconds of one clock."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        """The restless files so far; they need not be watched."""
        self._in_a_row: Counter[str] = Counter()
        self._reloaded = float("-inf")

    def note_reload(self, now: float) -> None:
        """Record that a reload begins."""
        self._reloaded = now

    def note_changed(self, paths: Iterable[str], now: float) -> list[str]:
        """Record that files have changed; returns those that are now known to be restless."""
        is_right_after = now - self._reloaded <= _RIGHT_AFTER_S
        self._in_a_row = Counter({path: self._in_a_row[path] + 1 for path in paths if is_right_after})
        restless = [path for path, times in self._in_a_row.items() if times >= _OFTEN]
        self.found.update(restless)
        return restless


def signatures_of(paths: Iterable[str]) -> tuple[object, ...]:
    """The files' current signatures; two results are equal as long as no file has changed."""
    return tuple(_signature(path) for path in paths)


def _signature(path: str) -> _Signature:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
