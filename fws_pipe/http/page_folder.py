"""--page: the files of a folder as pages.

    path -> names -> open, a component at a time -> conditions -> FileResponse, 304, a redirect, or a Refusal

No link is followed below the folder, at any component, and what is opened is looked at again: so no race with a change
of the folder leads out of it, or to a device. System calls that may have to wait for a disk run in threads.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import NamedTuple

import trio

from fws_pipe.errors import UsageError
from fws_pipe.http.conditions import Validators, http_date, part_for, validators_of
from fws_pipe.http.handshake import PlainRequest
from fws_pipe.http.media_types import media_type_of
from fws_pipe.http.page_path import names_of
from fws_pipe.http.responses import Fields, FileResponse, Page, Refusal, Response
from fws_pipe.log import Log

_THREADS = 8
"""How many system calls may wait for a disk at once: one that hangs must not take all of trio's threads."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

NOT_FOUND = Refusal(404, "This server has no file at this path.", reason="--page has no file at its path")
_NOT_READABLE = Refusal(403, "This server may not read the file at this path.", reason="--page: the file is unreadable")
_BUSY = Refusal(503, "The server has no descriptor left. Try again later.", (("Retry-After", "5"),))
NOT_ALLOWED = Refusal(405, "A file can only be read: GET or HEAD.", (("Allow", "GET, HEAD"),))
_FAILED = Refusal(500, "The server can't read the file at this path.")

_REFUSALS = {
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO), NOT_FOUND),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _NOT_READABLE),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM), _BUSY),
}


class _Opened(NamedTuple):
    """A regular file, which its receiver closes."""

    descriptor: int
    status: os.stat_result


class _FolderGoneError(Exception):
    """The folder of pages itself can't be opened; the cause is the OSError."""


class PageFolder:
    """Answers requests with the files of a folder. Raises UsageError for what is no folder that can be read."""

    def __init__(self, path: str, log: Log) -> None:
        self._path = os.path.abspath(path)
        self._shown = path
        self._log = log
        self._threads = trio.CapacityLimiter(_THREADS)
        self._is_gone = False
        """Whether the folder could not be opened the last time, which has been told."""
        try:
            os.close(os.open(self._path, _FOLDER))
        except OSError as error:
            raise UsageError(f"--page {path}: {error.strerror}; it must be a folder that the server may read") from None

    async def answer_to(self, request: PlainRequest) -> Response:
        """The file at the request's path, or the reason why there is none."""
        if not request.is_read:
            return NOT_ALLOWED
        names = names_of(request.path)
        if names is None:
            return NOT_FOUND
        try:
            opened = await trio.to_thread.run_sync(_open_below, self._path, names, limiter=self._threads)
        except _FolderGoneError as error:
            self._note_gone(error.__cause__)
            return NOT_FOUND
        except IsADirectoryError:
            return _redirect(request)
        except OSError as error:
            return _REFUSALS.get(error.errno or 0, _FAILED)
        self._is_gone = False
        content = FileContent(opened.descriptor, self._threads)
        try:
            answer = self._answer_with(content, opened.status, names[-1], request)
        except BaseException:
            content.close()
            raise
        if not isinstance(answer, FileResponse):
            content.close()
        return answer

    def _note_gone(self, cause: BaseException | None) -> None:
        """Tell it once, until the folder is back."""
        if not self._is_gone:
            reason = cause.strerror if isinstance(cause, OSError) else cause
            self._log.always(f"--page {self._shown}: {reason}; its files are 404 until the folder is back")
        self._is_gone = True

    def _answer_with(
        self, content: FileContent, status: os.stat_result, name: bytes, request: PlainRequest
    ) -> Response:
        size = status.st_size
        validators = validators_of(status.st_mtime_ns, size)
        part = part_for(request.method, request.fields, validators, size)
        headers = _headers_of(validators)
        if part.status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            headers += (("Content-Type", media_type_of(name)), ("Accept-Ranges", "bytes"))
            if part.status == HTTPStatus.PARTIAL_CONTENT:
                headers += (("Content-Range", f"bytes {part.offset}-{part.offset + part.length - 1}/{size}"),)
            return FileResponse(part.status, content, part.offset, part.length, headers)
        if part.status == HTTPStatus.NOT_MODIFIED:
            return Page(304, None, headers=headers)
        if part.status == HTTPStatus.PRECONDITION_FAILED:
            return Refusal(412, "The file has changed.")
        return Refusal(416, f"The file has {size} bytes, none of them in this range.", _extent(size))


def _extent(size: int) -> Fields:
    return (("Content-Range", f"bytes */{size}"),)


def _headers_of(validators: Validators) -> Fields:
    """The headers of a file's 200, 206 and 304 (RFC 9110, section 15.4.5)."""
    modified = () if validators.last_modified is None else (("Last-Modified", validators.last_modified),)
    return (
        ("Date", http_date(datetime.now(UTC))),
        ("ETag", validators.etag),
        *modified,
        ("Cache-Control", "no-cache"),  # a browser asks each time whether its copy is current
        ("Referrer-Policy", "strict-origin-when-cross-origin"),  # a token in a query stays on this site
    )


def _redirect(request: PlainRequest) -> Page:
    """To the same path with a slash at its end, relative to it: a proxy may have taken a part off its beginning."""
    query = f"?{request.query}" if request.query else ""
    return Page(301, b"", headers=(("Location", f"./{request.path.rpartition('/')[2]}/{query}"),))


def _open_below(root: str, names: Sequence[bytes]) -> _Opened:
    """Open a file below a folder. Raises OSError, IsADirectoryError for a folder, _FolderGoneError."""
    try:
        folder = os.open(root, _FOLDER)
    except OSError as error:
        raise _FolderGoneError from error
    try:
        for name in names[:-1]:
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return _open_file(names[-1], folder)
    finally:
        os.close(folder)


def _open_file(name: bytes, folder: int) -> _Opened:
    """Open a regular file of a folder. Raises OSError."""
    _check_regular(os.stat(name, dir_fd=folder, follow_symlinks=False))  # to open a device may do something
    descriptor = os.open(name, _FILE, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        _check_regular(found)  # another file may have taken the name
    except BaseException:
        os.close(descriptor)
        raise
    return _Opened(descriptor, found)


def _check_regular(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


class FileContent:
    """An open file, which owns its descriptor."""

    def __init__(self, descriptor: int, threads: trio.CapacityLimiter) -> None:
        self._descriptor: int | None = descriptor
        self._threads = threads

    async def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset` on; b"" behind the file's end. Raises OSError."""
        assert self._descriptor is not None
        block = _read_cached(self._descriptor, offset, size)
        if block is not None:
            return block
        return await trio.to_thread.run_sync(os.pread, self._descriptor, size, offset, limiter=self._threads)

    def close(self) -> None:
        """Close the descriptor. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
"""preadv(2): read only what the kernel has in memory; Linux 4.14 and later."""


def _read_cached(descriptor: int, offset: int, size: int) -> bytes | None:
    """What can be read without waiting for a disk; None: nothing, or the system can't tell."""
    if _NOWAIT is None:
        return None
    block = bytearray(size)
    try:
        count = os.preadv(descriptor, [block], offset, _NOWAIT)
    except OSError:  # EAGAIN, or a file system that doesn't know the flag; a real error comes again in the thread
        return None
    return bytes(memoryview(block)[:count])
