"""Which file a URL path names; that no path whatever leads out of the folder is in test_page_folder.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.http.page_path import names_of

PIECES = st.sampled_from(["/", ".", "..", "%2e", "%2E", "%2f", "%5c", "\\", "%00", "%25", "a", "b%", "\xff"])


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/", [b"index.html"]),
        ("/a.js", [b"a.js"]),
        ("/a/b/", [b"a", b"b", b"index.html"]),
        ("/a%20b/%C3%BC", [b"a b", "\u00fc".encode()]),
        ("/%252e%252e/x", [b"%2e%2e", b"x"]),
        ("/a..b/c.", [b"a..b", b"c."]),
    ],
)
def test_names(path: str, names: list[bytes]) -> None:
    assert names_of(path) == names


@pytest.mark.parametrize(
    "path",
    [
        "", "a", "//", "/a//b", "/..", "/../a", "/a/../b", "/.", "/%2e", "/%2e%2e/a", "/.%2e/a", "/.git/config",
        "/a/.env", "/%2eenv", "/a%2fb", "/%2fetc/passwd", "/a%5cb", "/..\\a", "/a%00.html", "/a%", "/a%4", "/a%zz",
    ],
)  # fmt: skip
def test_what_names_nothing(path: str) -> None:
    assert names_of(path) is None


@given(st.lists(PIECES).map(lambda pieces: "/" + "".join(pieces)))
def test_no_name_leads_elsewhere(path: str) -> None:
    for name in names_of(path) or []:
        assert name
        assert not name.startswith(b".")
        assert not set(name) & set(b"/\\\0")
