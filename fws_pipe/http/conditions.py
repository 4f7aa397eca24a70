"""Which part of a file answers a request: conditional and range requests (RFC 9110, sections 13 and 14). No I/O.

Only a single range of bytes is served. A request for several gets the whole file, as a server may answer (14.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus
from typing import NamedTuple


class Validators(NamedTuple):
    """What tells two versions of a file apart."""

    etag: str
    """With its quotes (RFC 9110, section 8.8.3)."""
    modified: datetime | None
    """In UTC, whole seconds; None: outside of the years 1 to 9999, which HTTP can't write."""

    @property
    def last_modified(self) -> str | None:
        """The value of Last-Modified; None: the response has no such header."""
        return None if self.modified is None else http_date(self.modified)


class Part(NamedTuple):
    """`length` bytes from `offset` on; the status is 200, 206, 304, 412 or 416."""

    status: HTTPStatus
    offset: int = 0
    length: int = 0


def validators_of(mtime_ns: int, size: int) -> Validators:
    """The validators of a file: its time of modification in nanoseconds since the epoch, and its size in bytes."""
    return Validators(f'"{mtime_ns:x}-{size:x}"', _moment(mtime_ns // 10**9))


def _moment(seconds: int) -> datetime | None:
    """A moment in seconds since the epoch, which `os.utime` may have set to anything; None: datetime can't hold it."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def http_date(moment: datetime) -> str:
    """A moment in UTC as HTTP writes it (RFC 9110, section 5.6.7)."""
    return format_datetime(moment, usegmt=True)


def part_for(method: str, fields: Mapping[str, str], validators: Validators, size: int) -> Part:
    """The part of a file of `size` bytes that answers a request. `fields` are its headers by lower-case name."""
    status = _precondition(fields, validators)
    if status is not None:
        return Part(status)
    if method == "GET" and "range" in fields and _range_counts(fields, validators):
        return _part_of_range(fields["range"], size)
    return Part(HTTPStatus.OK, 0, size)


def _precondition(fields: Mapping[str, str], validators: Validators) -> HTTPStatus | None:
    """304 or 412 where a precondition fails; None: none does. In the order of RFC 9110, section 13.2.2.

    Without a time of modification the headers with a date don't count (sections 13.1.3 and 13.1.4).
    """
    etag, modified = validators
    if "if-match" in fields:
        if not _names(fields["if-match"], etag, is_weak=False):
            return HTTPStatus.PRECONDITION_FAILED
    elif modified and (limit := _date(fields.get("if-unmodified-since"))) is not None and modified > limit:
        return HTTPStatus.PRECONDITION_FAILED
    if "if-none-match" in fields:
        return HTTPStatus.NOT_MODIFIED if _names(fields["if-none-match"], etag, is_weak=True) else None
    since = _date(fields.get("if-modified-since"))
    return HTTPStatus.NOT_MODIFIED if since is not None and modified and modified <= since else None


_ENTITY_TAG = re.compile(r'(W/)?("[^"]*")')


def _names(value: str, etag: str, *, is_weak: bool) -> bool:
    """Whether a list of entity tags, or `*`, names this one. `is_weak`: weak tags count too (section 8.8.3.2)."""
    tags = _ENTITY_TAG.findall(value)
    return value.strip() == "*" or any(tag == etag and (is_weak or not weak) for weak, tag in tags)


def _date(value: str | None) -> datetime | None:
    """A date in HTTP's form; None for any other text, which counts as no header at all (section 13.1.3)."""
    try:
        return parsedate_to_datetime(value or "").replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def _range_counts(fields: Mapping[str, str], validators: Validators) -> bool:
    """Whether If-Range lets the Range count. A date never does: within its second the file may have changed twice."""
    return fields.get("if-range", validators.etag) == validators.etag


_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,100})-([0-9]{0,100})[ \t]*", re.IGNORECASE)


def _part_of_range(value: str, size: int) -> Part:
    """The part that a Range header asks for; the whole file where it is no single range of bytes (section 14.2)."""
    whole = Part(HTTPStatus.OK, 0, size)
    found = _RANGE.fullmatch(value)
    if found is None:
        return whole
    first, last = found.groups()
    if not first:
        return _last_bytes(int(last), size) if last else whole
    begin, end = int(first), int(last) + 1 if last else size
    if end <= begin and last:
        return whole  # not a valid range (section 14.1.1)
    return Part(HTTPStatus.PARTIAL_CONTENT, begin, min(end, size) - begin) if begin < size else _UNSATISFIABLE


def _last_bytes(count: int, size: int) -> Part:
    if count == 0:
        return _UNSATISFIABLE
    length = min(count, size)
    return Part(HTTPStatus.PARTIAL_CONTENT if size else HTTPStatus.OK, size - length, length)


_UNSATISFIABLE = Part(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
