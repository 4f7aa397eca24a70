"""A folder on a disk that is full."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SHORTEST_NAME = "20260101T000000-x-1.mp"
"""Of an event in quarantine."""


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[Path]:
    """A file system of one page, which is taken; without mounts a folder whose path leaves no room for one."""
    disk = folder / "full"
    disk.mkdir()
    # A namespace of our own would end with us, but the server must see it too.
    is_mounted = os.geteuid() == 0 and not _run("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(disk))
    if not is_mounted:
        yield _deepest(disk)
        return
    try:
        (disk / "ballast").write_bytes(bytes(os.sysconf("SC_PAGE_SIZE")))
        yield disk
    finally:
        _run("umount", str(disk))


def _deepest(folder: Path) -> Path:
    """A folder in there, in folders of its own, whose path is nearly as long as a path may be (pathconf(3))."""
    room = os.pathconf(folder, "PC_PATH_MAX") - len(_SHORTEST_NAME) - len(str(folder))
    while room > 1:
        folder /= "x" * min(room - 1, 200)
        room -= 201
    folder.mkdir(parents=True)
    return folder


def _run(*argv: str) -> int:
    try:
        return subprocess.run(argv, check=False, stderr=subprocess.DEVNULL).returncode
    except FileNotFoundError:
        return 127
