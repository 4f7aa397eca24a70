"""Which pattern a path belongs to: the most specific one, however the client has written the path."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fws_pipe.http.routes import EVERY_PATH, RouteTable, normal_path, parse_pattern


def table_of(*patterns: str) -> RouteTable[str]:
    table: RouteTable[str] = RouteTable()
    for pattern in patterns:
        table.put(parse_pattern(pattern), pattern)
    return table


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/chat", "/chat"),
        ("/chat/", None),
        ("/chatter", None),
        ("/", "/"),
        ("/log", None),
        ("/log/", "/log/*"),
        ("/log/a/b", "/log/*"),
        ("/log/errors", "/log/errors"),
        ("/log/errors/now", "/log/errors/*"),
        ("/ch%61t", "/chat"),
        ("/%63hat", "/chat"),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%20b"),
        ("/caf%C3%A9", "/café"),
        ("/caf%c3%a9", "/café"),
        ("/log%2Ferrors", None),
        ("/star%2A", "/star%2A"),
        ("/star*", "/star%2A"),
        ("/a=b", "/a%3Db"),
        ("/a%3db", "/a%3Db"),
        ("/100%", "/100%25"),
        ("/CHAT", None),
    ],
)
def test_a_path_belongs_to_the_most_specific_pattern(path: str, found: str | None) -> None:
    patterns = [
        "/chat",
        "/",
        "/log/*",
        "/log/errors",
        "/log/errors/*",
        "/a%20b",
        "/café",
        "/star%2A",
        "/a%3Db",
        "/100%25",
    ]
    assert table_of(*patterns).find(path) == found
    assert table_of(*patterns, EVERY_PATH).find(path) == found or EVERY_PATH


@pytest.mark.parametrize(
    "text", ["", "chat", "*", "/*/a", "/a*", "/a/**", "/a?b", "/a#b", "/a b", "/a\n", "http://host/a", "/a/*?b"]
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a path such as /chat"):
        parse_pattern(text)


def test_a_pattern_that_is_removed_leaves_its_paths_to_a_shorter_one() -> None:
    table = table_of("/a/*", "/a/b/*", "/a/b/c")
    for pattern, left in (("/a/b/c", "/a/b/*"), ("/a/b/*", "/a/*"), ("/a/*", None)):
        table.remove(pattern)
        assert table.find("/a/b/c") == left
    assert not table


_PATHS = st.lists(st.binary(max_size=5)).map(lambda segments: "/" + "/".join(quote(part, safe="") for part in segments))


@given(_PATHS, st.data())
def test_every_spelling_of_a_path_is_the_same_path(path: str, data: st.DataObject) -> None:
    spelled = "/".join(
        "".join(
            f"%{byte:02x}" if data.draw(st.booleans()) or byte in b"/%" or byte >= 0x80 or byte <= 0x20 else chr(byte)
            for byte in unquote_to_bytes(segment)
        )
        for segment in path.split("/")
    )
    assert normal_path(spelled) == normal_path(path)
    assert normal_path(normal_path(path)) == normal_path(path)


@given(st.lists(_PATHS, min_size=1, unique_by=normal_path), _PATHS)
def test_the_longest_prefix_wins(folders: list[str], path: str) -> None:
    table = table_of(*(f"{folder.rstrip('/')}/*" for folder in folders))
    prefixes = [
        prefix for folder in folders if normal_path(path).startswith(prefix := f"{normal_path(folder).rstrip('/')}/")
    ]
    found = table.find(path)
    assert (found is None) == (not prefixes)
    if found is not None:
        assert normal_path(found.removesuffix("*")) == max(prefixes, key=len)
