"""What is wrong with a script's first line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.chain.first_line import START_BYTES, problem_of


def exists(name: str) -> bool:
    return name in {"/bin/sh", "/usr/bin/env", "python3", "gawk"}


@pytest.mark.parametrize(
    ("name", "start", "problem"),
    [
        ("./a.sh", b"#!/bin/sh\r\ncat\r\n", "its lines end with CR LF, as on Windows"),
        ("./a b.sh", b"#!/bin/sh\r\n", "sed -i 's/\\\\r$//' './a b.sh'"),
        ("./a", b"#!\n", "names no interpreter"),
        ("./a", b"#!/bin/perl6\n", "names /bin/perl6, and there is no such program"),
        ("./a", b"#!/usr/bin/env pyton3\n", "names pyton3, which is not on PATH"),
        ("./a", b"#!/usr/bin/env -S X=1 awk -f\n", "names awk, which"),
        ("./a.py", b"print(1)\n", "put #!/usr/bin/env fws-python above all else"),
        ("./a", b"from fws_pipe.sdk import on\n", "put #!/usr/bin/env fws-python above"),
        ("./a.js", b"let x\n", "put #!/usr/bin/env node"),
        ("./a", b"echo no first line\n", "put #!/bin/sh above all else, or the program that it is for"),
        ("../x.d/a", b"while read x; do echo; done\n", "put #!/bin/sh above all else, or"),
        ("./a.sh", b"while read x; do echo; done\n", "put #!/bin/sh above all else"),
    ],
)
def test_named_with_its_mend(name: str, start: bytes, problem: str) -> None:
    assert problem.replace("\\\\", "\\") in (problem_of(name, start, exists) or "")


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("./a.sh", b"#!/bin/sh\ncat\n"),
        ("./a", b"#! /bin/sh -e\n"),
        ("./a", b"#!/bin/sh"),
        ("./a.py", b"#!/usr/bin/env -S python3 -u\n"),
        ("./a", b"\x7fELF\0\0"),
        ("./a", b"\xcf\xfa\xed\xfe\0"),
        ("./a", b""),
        ("./a", b"#!" + b"/long" * 100),
    ],
)
def test_nothing_is_wrong(name: str, start: bytes) -> None:
    assert problem_of(name, start[:START_BYTES], exists) is None


@given(st.text(max_size=20), st.binary(max_size=START_BYTES), st.booleans())
def test_any_bytes_will_do(name: str, start: bytes, is_there: bool) -> None:
    problem_of(name, start, lambda name: is_there)
