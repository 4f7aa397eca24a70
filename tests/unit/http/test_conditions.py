"""Conditional and range requests, as RFC 9110 says in sections 13 and 14."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.http.conditions import part_for, validators_of

FILE = validators_of(1_700_000_000_500_000_000, 10)
TAG = FILE.etag
THEN, BEFORE, LATER = str(FILE.last_modified), "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:21 GMT"


def test_what_validators_look_like() -> None:
    assert (TAG, THEN) == ('"17979cfe53f76500-a"', "Tue, 14 Nov 2023 22:13:20 GMT")


@pytest.mark.parametrize("seconds", [2**40, -(2**40), 253_402_300_800, -62_135_596_801, 2**63])
def test_a_time_that_http_can_not_write_is_none(seconds: int) -> None:
    odd = validators_of(seconds * 10**9, 10)
    assert (odd.modified, odd.last_modified) == (None, None)
    for name in ("if-modified-since", "if-unmodified-since"):
        assert part_for("GET", {name: THEN}, odd, 10).status == 200
    assert part_for("GET", {"if-none-match": odd.etag}, odd, 10).status == 304


@given(st.integers(-62_135_596_800, 253_402_300_799))
def test_all_times_of_four_digits_are_written(seconds: int) -> None:
    assert validators_of(seconds * 10**9, 10).last_modified


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"if-none-match": TAG}, 304),
        ({"if-none-match": f'"x", W/{TAG}'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"x"'}, 200),
        ({"if-none-match": '"x"', "if-modified-since": THEN}, 200),
        ({"if-modified-since": THEN}, 304),
        ({"if-modified-since": LATER}, 304),
        ({"if-modified-since": BEFORE}, 200),
        ({"if-modified-since": "yesterday"}, 200),
        ({"if-modified-since": "Tue, 14 Nov 99999999999 22:13:20 GMT"}, 200),
        ({"if-match": TAG}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": f"W/{TAG}"}, 412),
        ({"if-match": '"x"'}, 412),
        ({"if-match": TAG, "if-none-match": TAG}, 304),
        ({"if-unmodified-since": THEN}, 200),
        ({"if-unmodified-since": BEFORE}, 412),
    ],
)
def test_preconditions(fields: dict[str, str], status: int) -> None:
    assert part_for("GET", fields, FILE, 10).status == status
    assert part_for("HEAD", fields, FILE, 10).status == status


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("bytes=0-0", (206, 0, 1)),
        ("bytes=2-5", (206, 2, 4)),
        ("Bytes=2-5", (206, 2, 4)),
        ("bytes=2-", (206, 2, 8)),
        ("bytes=2-99", (206, 2, 8)),
        (f"bytes=2-{'9' * 90}", (206, 2, 8)),
        ("bytes=-3", (206, 7, 3)),
        ("bytes=-99", (206, 0, 10)),
        ("bytes=-0", (416, 0, 0)),
        ("bytes=10-", (416, 0, 0)),
        ("bytes=10-12", (416, 0, 0)),
        (f"bytes={'9' * 90}-", (416, 0, 0)),
        # None of these is a single range of bytes.
        ("bytes=5-2", (200, 0, 10)),
        ("bytes=0-1,4-5", (200, 0, 10)),
        ("bytes=-", (200, 0, 10)),
        ("bytes=", (200, 0, 10)),
        ("bytes=a-b", (200, 0, 10)),
        ("lines=0-1", (200, 0, 10)),
        (f"bytes=0-{'9' * 5000}", (200, 0, 10)),
        ("bytes=\u0661-", (200, 0, 10)),
    ],
)
def test_ranges(value: str, part: tuple[int, int, int]) -> None:
    assert part_for("GET", {"range": value}, FILE, 10) == part
    assert part_for("HEAD", {"range": value}, FILE, 10) == (200, 0, 10)


@pytest.mark.parametrize(("condition", "status"), [(TAG, 206), ('"x"', 200), (f"W/{TAG}", 200), (THEN, 200)])
def test_a_range_of_another_version_gets_the_whole_file(condition: str, status: int) -> None:
    assert part_for("GET", {"range": "bytes=1-2", "if-range": condition}, FILE, 10).status == status


def test_an_empty_file_has_no_part() -> None:
    assert part_for("GET", {"range": "bytes=0-"}, FILE, 0).status == 416
    assert part_for("GET", {"range": "bytes=-5"}, FILE, 0) == (200, 0, 0)


@given(st.from_regex(r"bytes=[0-9]{0,4}-[0-9]{0,4}", fullmatch=True), st.integers(0, 2000))
def test_a_part_lies_in_its_file(value: str, size: int) -> None:
    status, offset, length = part_for("GET", {"range": value}, FILE, size)
    assert 0 <= offset <= offset + length <= size
    assert (status == 206) <= (length > 0)
    assert status in (200, 206, 416)


CONDITIONS = st.sampled_from(["range", "if-range", "if-match", "if-none-match", "if-modified-since"])


@given(st.dictionaries(CONDITIONS, st.text()))
def test_no_header_is_too_strange(fields: dict[str, str]) -> None:
    assert part_for("GET", fields, FILE, 10).status in (200, 206, 304, 412, 416)
