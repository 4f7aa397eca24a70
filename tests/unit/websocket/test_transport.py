"""What an `open` event tells of a client's certificate."""

from __future__ import annotations

import pytest

from fws_pipe.websocket.transport import subject_as_map


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("alice", "alice"),
        ("Alice, Ltd", "Alice\\, Ltd"),
        ("alice,CN=root", "alice\\,CN\\=root"),
        ("a\\b", "a\\\\b"),
        (" #x ", "\\ #x\\ "),
        ("#x", "\\#x"),
        ("a\0b", "a\\00b"),
    ],
)
def test_special_characters_of_a_value_are_escaped(value: str, expected: str) -> None:
    assert subject_as_map(((("commonName", value),),)) == {"commonName": expected}


def test_two_values_are_not_one_with_a_comma() -> None:
    two = subject_as_map(((("organizationalUnitName", "a"),), (("organizationalUnitName", "b"),)))
    one = subject_as_map(((("organizationalUnitName", "a, b"),),))
    assert (two, one) == ({"organizationalUnitName": "a, b"}, {"organizationalUnitName": "a\\, b"})
