"""A folder on a disk that is full."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[Path]:
    """A file system of one page, which is taken; for who may mount none, a path on which nothing can be made."""
    disk = folder / "full"
    disk.mkdir()
    # A namespace of our own would end with us, but the server must see it too.
    is_mounted = os.geteuid() == 0 and not _run("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(disk))
    if not is_mounted:
        yield Path("/dev/full/quarantine")
        return
    try:
        (disk / "ballast").write_bytes(bytes(os.sysconf("SC_PAGE_SIZE")))
        yield disk
    finally:
        _run("umount", str(disk))


def _run(*argv: str) -> int:
    try:
        return subprocess.run(argv, check=False, stderr=subprocess.DEVNULL).returncode
    except FileNotFoundError:
        return 127
